"""CPU time per request, in process, of several subjects in turn.

The subjects take turns within each round, in an order that is shuffled anew, so whatever else the machine does meets all
of them. Every request is a task of its own, and a hundred of them are open at once, as under a server that has work to do: what a
layer keeps for a request does not stay in the processor's nearest cache while the others have their turn. What is
measured is the CPU time of the process, threads included: a sink that writes from a thread hides nothing, and a
neighbour who takes the CPU away costs nothing.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import quantiles
from time import process_time
from typing import Any

import uvloop

from asgi_resilience.logs.sink import default_sink

__all__ = ("LOOPS", "Effort", "Request", "Samples", "per_request", "quartiles", "serve")

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

    rounds: int = 101
    requests: int = 1000
    warm_up: int = 2000
    quick: bool = False

    @classmethod
    def of(cls, *, quick: bool) -> "Effort":
        """The effort for a gate, or for the record."""
        return cls(rounds=7, requests=200, warm_up=400, quick=True) if quick else cls()

    @property
    def loops(self) -> Sequence[str]:
        """The event loops to measure on."""
        return ("asyncio",) if self.quick else tuple(LOOPS)

    def scaled(self, factor: float) -> "Effort":
        """The same for requests that are so many times shorter."""
        sizes = (round(size * factor) for size in (self.requests, self.warm_up))
        return replace(self, **dict(zip(("requests", "warm_up"), sizes, strict=True)))


async def serve(request: Request, count: int, burst: int = BURST) -> None:
    """Make so many requests, and wait until the log lines of all of them are written."""
    create_task = asyncio.get_running_loop().create_task
    for _ in range(count // burst):
        tasks = [create_task(request()) for _ in range(burst)]
        for task in tasks:
            await task
    default_sink().flush()


def per_request(
    subjects: Mapping[str, Request],
    loop: str,
    effort: Effort,
    progress: Callable[[], None] = lambda: None,
    burst: int = BURST,
) -> Samples:
    """Measure on one event loop, with the garbage collector on as it is under a server."""
    requests = max(effort.requests, burst)
    samples: Samples = {name: [] for name in subjects}

    async def run() -> None:
        for request in subjects.values():
            await serve(request, max(effort.warm_up, burst), burst)
        order = list(subjects)
        for _ in range(effort.rounds):
            random.shuffle(order)
            for name in order:
                gc.collect()  # everybody starts with the same heap
                began = process_time()
                await serve(subjects[name], requests, burst)
                samples[name].append((process_time() - began) / (requests // burst * burst))
            progress()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
    return samples


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper quartile."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high
