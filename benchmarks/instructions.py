"""Instructions per request, counted by callgrind: a number that repeats to a percent where the clock is too noisy.

One process under valgrind serves every subject in turn, two lengths of run each; the lengths are subtracted, so what a
run costs once does not count. The hash seed is fixed and the garbage collector is off.
Callgrind writes a dump whenever the process calls `getloadavg`, a function that nothing else here calls: that is the
mark between two runs.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from benchmarks.timing import BURST, LOOPS, Request, serve

__all__ = ("count", "why_not")

RUN = 100
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
_mark = os.getloadavg


def why_not() -> str | None:
    """Why nothing can be counted here; None where it can."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def count(subjects: str, loop: str, run: int = RUN, burst: int = BURST) -> dict[str, float]:
    """Instructions per request of each subject.

    Args:
        subjects: `module:function`; the function returns the requests by name.
        loop: Name of the event loop.
        run: How many requests the shorter run has.
        burst: How many are open at once.
    """
    module, _, function = subjects.partition(":")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--dump-before=getloadavg",
                "--compress-strings=no",
                f"--callgrind-out-file={directory}/out",
                "-q",
                sys.executable,
                "-m",
                "benchmarks.instructions",
                subjects,
                loop,
                str(run),
                str(burst),
            ],
            check=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        totals = [_total(path) for path in sorted(Path(directory).glob("out.*"), key=_place)]
    names = list(getattr(import_module(module), function)())
    # Before each subject its warm-up, which is not counted; then a run, and one twice as long.
    return {name: (totals[3 * at + 2] - totals[3 * at + 1]) / run for at, name in enumerate(names)}


def _place(path: Path) -> int:
    return int(path.suffix[1:])


def _total(path: Path) -> int:
    found = _TOTAL.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError(f"{path} has no total")
    return int(found[1])


def _run(subjects: Callable[[], Mapping[str, Request]], loop: str, length: int, burst: int) -> None:
    import gc

    gc.disable()

    async def run() -> None:
        for request in subjects().values():
            await serve(request, 2 * length, burst)
            _mark()
            await serve(request, length, burst)
            _mark()
            await serve(request, 2 * length, burst)
            _mark()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


if __name__ == "__main__":
    _module, _, _function = sys.argv[1].partition(":")
    _run(getattr(import_module(_module), _function), sys.argv[2], *map(int, sys.argv[3:]))
