"""Does the stack change anything? Starlette's own test suite, once wrapped by nothing and once by the stack.

    python -m tests.transparency [--wrapper wrap|copy] [--cache DIRECTORY]

The suite comes from Starlette's source distribution and runs in an environment of its own (dependency group
`transparency`), because python-multipart, which it needs, takes the place of the `multipart` that Litestar needs.
Exits 1 unless both runs fail exactly the same tests, or when fewer than 1,400 tests have run.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENOUGH_TESTS = 1400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.transparency", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--wrapper", choices=("wrap", "copy"), default="wrap", help="what is compared with nothing"
    )
    parser.add_argument("--cache", type=Path, default=_user_cache(), help="for the environment and the suite")
    options = parser.parse_args()
    version = "{}.{}.{}".format(*sys.version_info)
    python = _environment(options.cache / f"python-{version}")
    suite = _suite(options.cache, python)
    expected = _run(suite, python, "nothing")
    found = _run(suite, python, options.wrapper)
    return _compare(expected, found, options.wrapper)


def _user_cache() -> Path:
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asgi-resilience" / "transparency"
    )


def _environment(directory: Path) -> Path:
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True, clear=True)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    _call(python, "-m", "pip", "install", "--quiet", "--editable", ROOT, *groups["transparency"])
    return python


def _suite(cache: Path, python: Path) -> Path:
    asked = _call(python, "-c", "import starlette; print(starlette.__version__)")
    version = asked.strip()
    if not version.startswith("1.10."):
        sys.exit(f"starlette {version} is installed: this comparison is for 1.10")
    directory = cache / f"starlette-{version}"
    if not directory.exists():
        archive = cache / f"starlette-{version}.tar.gz"
        _call(
            python,
            *("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", cache),
            f"starlette=={version}",
        )
        with tarfile.open(archive) as packed:
            packed.extractall(cache, filter="data")
    return directory


def _run(suite: Path, python: Path, wrapper: str) -> dict[str, list[str]]:
    report = suite.parent / f"report-{wrapper}.json"
    report.unlink(missing_ok=True)
    started = time.perf_counter()
    environment = {
        **os.environ,
        "TRANSPARENCY_WRAPPER": wrapper,
        "TRANSPARENCY_REPORT": str(report),
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    pytest = [
        "-m",
        "pytest",
        "-p",
        "wrap_test_client",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "-q",
        "--tb=short",
    ]
    process = subprocess.run(
        [python, *pytest, "tests"], cwd=suite, env=environment, check=False, capture_output=True, text=True
    )
    (suite.parent / f"output-{wrapper}.txt").write_text(process.stdout + process.stderr)
    if not report.exists():
        sys.exit(f"the suite did not run:\n{process.stdout}\n{process.stderr}")
    result: dict[str, list[str]] = json.loads(report.read_text())
    seconds = time.perf_counter() - started
    print(f"wrapped by {wrapper}: {len(result['ran'])} ran, {len(result['failed'])} failed, {seconds:.0f} s")
    return result


def _compare(expected: dict[str, list[str]], found: dict[str, list[str]], wrapper: str) -> int:
    worse = sorted(set(found["failed"]) - set(expected["failed"]))
    better = sorted(set(expected["failed"]) - set(found["failed"]))
    for test in worse:
        print(f"fails only when wrapped by {wrapper}: {test}")
    for test in better:
        print(f"fails only when wrapped by nothing: {test}")
    missing = set(expected["ran"]) ^ set(found["ran"])
    for test in sorted(missing):
        print(f"ran only once: {test}")
    enough = min(len(expected["ran"]), len(found["ran"])) >= ENOUGH_TESTS
    if not enough:
        print(f"fewer than {ENOUGH_TESTS} tests ran")
    print(f"difference: {len(worse) + len(better) + len(missing)} tests")
    return 0 if enough and not (worse or better or missing) else 1


def _call(*command: str | Path) -> str:
    process = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return process.stdout


if __name__ == "__main__":
    sys.exit(main())
