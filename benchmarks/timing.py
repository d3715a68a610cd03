"""CPU time per request, in process, of several subjects in turn.

The subjects take turns within each round, in an order that is shuffled anew, so whatever else the machine does meets all
of them. Every request is a task of its own, and a few of them share a turn of the event loop, as under a server. What is
measured is the CPU time of the process, threads included: a sink that writes from a thread hides nothing, and a
neighbour who takes the CPU away costs nothing.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from time import process_time

import uvloop

from asgi_resilience.context import ASGIApp
from asgi_resilience.logs.sink import default_sink
from benchmarks.subject import http_scope, receive, send

__all__ = ("LOOPS", "Effort", "Samples", "per_request", "quartiles", "serve")

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
BURST = 10
"""Requests that share a turn of the event loop."""


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
        return cls(rounds=25, requests=400, warm_up=500, quick=True) if quick else cls()


Samples = dict[str, list[float]]
"""Seconds per request of each subject, one number a round; equal places belong to the same round."""


async def serve(app: ASGIApp, requests: int) -> None:
    """Have `app` answer so many requests, and wait until the log lines of all of them are written."""
    create_task = asyncio.get_running_loop().create_task
    for _ in range(requests // BURST):
        tasks = [create_task(app(http_scope(), receive, send)) for _ in range(BURST)]
        for task in tasks:
            await task
    default_sink().flush()


def per_request(
    subjects: Mapping[str, ASGIApp], loop: str, effort: Effort, progress: Callable[[], None] = lambda: None
) -> Samples:
    """Measure on one event loop, with the garbage collector on as it is under a server."""
    samples: Samples = {name: [] for name in subjects}

    async def run() -> None:
        for app in subjects.values():
            await serve(app, effort.warm_up)
        order = list(subjects)
        for _ in range(effort.rounds):
            random.shuffle(order)
            for name in order:
                gc.collect()  # everybody starts with the same heap
                began = process_time()
                await serve(subjects[name], effort.requests)
                samples[name].append((process_time() - began) / effort.requests)
            progress()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
    return samples


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper quartile."""
    low, _, high = quantiles(values, n=4)
    return low, median(values), high
