"""CPU time per request, in process, of several subjects in turn.

Each subject lives in a process of its own, as it would in production: the interpreter adapts its bytecode to what runs, and
subjects that share functions would spoil that for one another. The processes take turns within each round, in an order that
is shuffled anew, so whatever else the machine does meets all of them. What is measured is the CPU time of the process,
threads included: a sink that writes from a thread hides nothing, and a neighbour who takes the CPU away costs nothing.

Every request is a task of its own, and a hundred of them are open at once, as under a server that has work to do: what a
layer keeps for a request does not stay in the processor's nearest cache while the others have their turn.

`python -m benchmarks.timing SUBJECTS NAME LOOP BURST` is such a process: for each number on its standard input it serves so
many requests, and prints the CPU seconds that they took.
"""

import asyncio
import gc
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import quantiles
from time import process_time
from types import TracebackType
from typing import IO, Any, Self, cast

import uvloop

from asgi_resilience.logs.sink import default_sink

__all__ = (
    "BURST",
    "LOOPS",
    "Effort",
    "Request",
    "Samples",
    "found",
    "per_request",
    "quartiles",
    "serve",
)

Request = Callable[[], Coroutine[Any, Any, None]]
"""Makes one request of an app, from its scope to its end."""

Samples = dict[str, list[float]]
"""Seconds per request of each subject, one number a round; equal places belong to the same round."""

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
BURST = 100
"""Requests that are open at once."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: In each, every subject has one turn.
        requests: Of one subject in one turn.
        warm_up: Requests of each subject before the first round.
        quick: For a gate rather than for the record.
    """

    rounds: int = 31
    requests: int = 1000
    warm_up: int = 2000
    quick: bool = False

    @classmethod
    def of(cls, *, quick: bool, rounds: int | None = None) -> "Effort":
        """The effort for a gate, or for the record; with more or fewer rounds, if asked for."""
        effort = cls(rounds=7, requests=200, warm_up=400, quick=True) if quick else cls()
        return effort if rounds is None else replace(effort, rounds=rounds)

    @property
    def loops(self) -> Sequence[str]:
        """The event loops to measure on."""
        return ("asyncio",) if self.quick else tuple(LOOPS)

    def scaled(self, factor: float) -> "Effort":
        """The same for requests that are so many times shorter."""
        sizes = (round(size * factor) for size in (self.requests, self.warm_up))
        return replace(self, **dict(zip(("requests", "warm_up"), sizes, strict=True)))


def found(subjects: str) -> Mapping[str, Request]:
    """The subjects by name.

    Args:
        subjects: `module:function`, the function that makes them; with `:argument` behind it, when it takes one.
    """
    module, function, *argument = subjects.split(":")
    return getattr(import_module(module), function)(*map(int, argument))


async def serve(request: Request, count: int, burst: int = BURST) -> None:
    """Make so many requests, and wait until the log lines of all of them are written."""
    create_task = asyncio.get_running_loop().create_task
    for _ in range(count // burst):
        tasks = [create_task(request()) for _ in range(burst)]
        for task in tasks:
            await task
    default_sink().flush()


def per_request(
    subjects: str,
    loop: str,
    effort: Effort,
    progress: Callable[[], None] = lambda: None,
    burst: int = BURST,
    names: Iterable[str] | None = None,
) -> Samples:
    """Measure on one event loop; for `subjects` see `found`. Without names, all of them are measured."""
    requests = max(effort.requests, burst) // burst * burst
    names = [*(found(subjects) if names is None else names)]
    samples: Samples = {name: [] for name in names}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(subjects, name, loop, burst)) for name in names}
        for worker in workers.values():
            worker.turn(max(effort.warm_up, burst))
        for _ in range(effort.rounds):
            random.shuffle(names)
            for name in names:
                samples[name].append(workers[name].turn(requests) / requests)
            progress()
    return samples


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper quartile; of a single value, that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


class _Worker:
    """The process of one subject."""

    def __init__(self, subjects: str, name: str, loop: str, burst: int) -> None:
        self._command = [sys.executable, "-m", "benchmarks.timing", subjects, name, loop, str(burst)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        return self

    def turn(self, requests: int) -> float:
        """CPU seconds for so many requests."""
        asked = cast("IO[str]", self._process.stdin)
        asked.write(f"{requests}\n")
        asked.flush()
        told = cast("IO[str]", self._process.stdout).readline()
        if not told:
            raise RuntimeError(f"{' '.join(self._command)} has ended")
        return float(told)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def _work(subjects: str, name: str, loop: str, burst: int, turns: Iterable[str]) -> None:
    request = found(subjects)[name]

    async def run() -> None:
        for requests in turns:
            gc.collect()  # every turn begins with the same heap
            began = process_time()
            await serve(request, int(requests), burst)
            print(process_time() - began, flush=True)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


if __name__ == "__main__":
    _work(*sys.argv[1:4], int(sys.argv[4]), sys.stdin)
