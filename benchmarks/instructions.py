"""Instructions per request, counted by callgrind: a number that repeats to a percent where the clock is too noisy.

Each subject is served by a process of its own under valgrind, in two lengths of run; the lengths are subtracted, so what a
run costs once does not count. The hash seed is fixed and the garbage collector is off.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import callgrind
from benchmarks.timing import BURST, LOOPS, Request, found, serve

__all__ = ("RUN", "count")

RUN = 200


def count(
    subjects: str,
    names: Iterable[str] | None = None,
    *,
    loop: str = "asyncio",
    run: int = RUN,
    burst: int = BURST,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Instructions per request.

    Args:
        subjects: As `timing.found` takes them.
        names: Of the subjects; None: of all.
        loop: Name of the event loop.
        run: How many requests the shorter run has.
        burst: How many are open at once.
        progress: Told of each subject.
    """

    def one(name: str) -> float:
        number = _count([subjects, name, loop, str(run), str(burst)]) / run
        progress()
        return number

    asked = [*(found(subjects) if names is None else names)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a count does not mind its neighbours
        return dict(zip(asked, pool.map(one, asked), strict=True))


def _count(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [*callgrind.command(directory), sys.executable, "-m", "benchmarks.instructions", *arguments],
            check=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **callgrind.ENVIRONMENT},
        )
        return callgrind.between(directory)["Ir"]


def _run(request: Request, loop: str, length: int, burst: int) -> None:
    gc.disable()

    async def run() -> None:
        callgrind.begin()
        await serve(request, 2 * length, burst)
        callgrind.mark()
        await serve(request, length, burst)
        callgrind.mark()
        await serve(request, 2 * length, burst)
        callgrind.mark()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


if __name__ == "__main__":
    _run(found(sys.argv[1])[sys.argv[2]], sys.argv[3], *map(int, sys.argv[4:]))
