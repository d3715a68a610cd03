"""Does the stack change anything? Starlette's own test suite, wrapped by nothing and by the stack.

    python -m tests.transparency [--wrapper wrap] [--wrapper quiet] [--wrapper copy] [--cache DIRECTORY]

The suite comes from Starlette's source distribution and runs in an environment of its own (dependency group
`transparency`), because python-multipart, which it needs, takes the place of the `multipart` that Litestar needs.
Exits 1 unless both runs fail exactly the same tests but for those in `BY_DESIGN`, or when fewer than 1,400 have run.
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

ID = "it counts the headers of a websocket's acceptance, and every acceptance carries the request id"
ANSWERED = "it expects an HTTPException to leave the app, and the envelope answers it"
BY_DESIGN = {
    "wrap": {
        "tests/test_websockets.py::test_additional_headers": ID,
        "tests/test_websockets.py::test_no_additional_headers": ID,
        "tests/test_routing.py::test_websocket_route_middleware": ID,
        "tests/test_staticfiles.py::test_staticfiles_config_check_occurs_only_once": ANSWERED,
        "tests/test_staticfiles.py::test_staticfiles_html_only_files": ANSWERED,
        "tests/test_staticfiles.py::test_staticfiles_html_without_404": ANSWERED,
        "tests/test_exceptions.py::test_force_500_response": "it expects the 500 for an exception to be empty",
        "tests/test_testclient.py::test_invalid_trailer_sequence": "it expects no answer when the app gives none",
    },
    "quiet": {},
    "copy": {},
}
"""What the stack is there to change, so that the tests which rule it out fail; by wrapper, for every parametrisation."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.transparency", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--wrapper",
        choices=tuple(BY_DESIGN),
        action="append",
        help="what is compared with nothing; by default wrap, and quiet: the stack without request ids and envelope",
    )
    parser.add_argument("--cache", type=Path, default=_user_cache(), help="for the environment and the suite")
    options = parser.parse_args()
    version = "{}.{}.{}".format(*sys.version_info)
    python = _environment(options.cache / f"python-{version}")
    suite = _suite(options.cache, python)
    expected = _run(suite, python, "nothing")
    wrappers = options.wrapper or ("wrap", "quiet")
    return max(_compare(expected, _run(suite, python, wrapper), wrapper) for wrapper in wrappers)


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
    print(
        f"wrapped by {wrapper}: {len(result['ran'])} ran, {len(result['failed'])} failed, {seconds:.0f} s",
        flush=True,
    )
    return result


def _compare(expected: dict[str, list[str]], found: dict[str, list[str]], wrapper: str) -> int:
    differing = set(expected["failed"]) ^ set(found["failed"])
    missing = set(expected["ran"]) ^ set(found["ran"])
    by_design = {test for test in differing & set(found["failed"]) if _function(test) in BY_DESIGN[wrapper]}
    outdated = BY_DESIGN[wrapper].keys() - {_function(test) for test in by_design}
    for test in sorted(by_design):
        print(f"  fails by design: {test} ({BY_DESIGN[wrapper][_function(test)]})")
    for test in sorted(differing - by_design):
        print(
            f"  DIFFERS: {test} fails only when wrapped by {'nothing' if test in expected['failed'] else wrapper}"
        )
    for test in sorted(missing):
        print(f"  DIFFERS: {test} did not run in both")
    for test in sorted(outdated):
        print(f"  OUTDATED: {test} no longer differs by design")
    enough = min(len(expected["ran"]), len(found["ran"])) >= ENOUGH_TESTS
    if not enough:
        print(f"  fewer than {ENOUGH_TESTS} tests ran")
    unexplained = len(differing - by_design) + len(missing)
    print(f"  difference between nothing and {wrapper}: {unexplained} tests, and {len(by_design)} by design")
    return 0 if enough and not unexplained and not outdated else 1


def _function(test: str) -> str:
    return test.partition("[")[0]


def _call(*command: str | Path) -> str:
    process = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return process.stdout


if __name__ == "__main__":
    sys.exit(main())
