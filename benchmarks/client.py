"""What does an outbound call through a `Dependency` cost, beside what else there is?

The unit is the plain `await` of the same function: every number is what a subject costs on top of that. All subjects take
turns within each round, and a ratio is that of two costs of the same round, so a neighbour who takes the processor away
moves both. The median over the rounds is told. Times are CPU times.
"""

import asyncio
import gc
import importlib
import logging
import random
import traceback
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from statistics import median
from time import process_time_ns
from typing import Any

import aiobreaker
import backoff

from asgi_resilience.client import CircuitOpen, Dependency, set_metric_sink
from asgi_resilience.context import RequestContext, request_scope
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.telemetry.pipeline import Pipeline
from benchmarks.answer import Answer, Table
from benchmarks.timing import Effort, quartiles

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "What does an outbound call cost on top of a plain await?"
Subject = Callable[[], Awaitable[Any]]

PLAIN, OURS, STOCK, TENACITY = "plain await", "Dependency.call", "aiobreaker", "tenacity"
IN_REQUEST, MEASURED = "Dependency.call in a request", "Dependency.call, with metrics"
REJECTED, STOCK_REJECTED = "rejected by us", "rejected by aiobreaker"
MEASURED_REJECTED = "rejected by us, with metrics"
PEERS = ("tenacity", "stamina", "purgatory", "nopanic", "interlock")
CALLS = 10_000


async def succeed() -> int:
    return 1


def tenacity() -> Subject:
    from tenacity import AsyncRetrying, stop_after_attempt, wait_random_exponential

    retrying = AsyncRetrying(stop=stop_after_attempt(4), wait=wait_random_exponential(0.1, 5.0), reraise=True)
    return lambda: retrying(succeed)


def stamina() -> Subject:
    import stamina as package

    return package.retry(on=ConnectionError, attempts=4, timeout=None)(succeed)


def purgatory() -> Subject:
    from purgatory import AsyncCircuitBreakerFactory

    return AsyncCircuitBreakerFactory()("db")(succeed)


def nopanic() -> Subject:
    from nopanic import circuit_breaker, retry

    return retry(attempts=4, on=ConnectionError)(
        circuit_breaker(failure_threshold=0.5, reset_timeout=30.0)(succeed)
    )


def interlock() -> Subject:
    from interlock import CircuitBreaker, Config

    breaker = CircuitBreaker(name="db", config=Config(failure_rate_threshold=0.5, minimum_number_of_calls=10))
    return lambda: breaker.call(succeed)


def subjects(found: Answer) -> dict[str, Subject]:
    """Every subject whose packages are there, by name."""
    dependency = Dependency("db", timeout=10.0)
    stock = aiobreaker.CircuitBreaker()
    retrying = backoff.on_exception(backoff.expo, ConnectionError, max_tries=4, logger=None)(succeed)
    named: dict[str, Subject] = {
        PLAIN: succeed,
        OURS: _of(dependency),
        IN_REQUEST: _of(dependency),
        MEASURED: _of(Dependency("measured", timeout=10.0, metrics=Pipeline())),
        "… without retries": _of(Dependency("without-retries", retry=None)),
        "… without a timeout": _of(Dependency("without-a-timeout", timeout=None)),
        "… without a breaker": _of(Dependency("without-a-breaker", breaker=None)),
        STOCK: lambda: stock.call_async(succeed),
        "backoff": retrying,
    }
    for name in PEERS:
        try:
            importlib.import_module(name)
        except ImportError:
            found.notes.append(f"{name} is not installed")
            continue
        named[name] = globals()[name]()
    return named


def rejected() -> dict[str, Subject]:
    """Calls that an open circuit turns away."""
    stock = aiobreaker.CircuitBreaker(timeout_duration=timedelta(days=1))
    stock.open()

    def ours(sink: MetricSink) -> Subject:
        dependency = Dependency("rejecting", retry=None, metrics=sink)
        assert dependency.breaker is not None
        dependency.breaker.force_open()

        async def call() -> None:
            try:
                await dependency.call(succeed)
            except CircuitOpen:
                return

        return call

    async def theirs() -> None:
        try:
            await stock.call_async(succeed)
        except aiobreaker.CircuitBreakerError:
            return

    return {
        PLAIN: succeed,
        REJECTED: ours(NULL),
        MEASURED_REJECTED: ours(Pipeline()),
        STOCK_REJECTED: theirs,
    }


def _of(dependency: Dependency) -> Subject:
    return lambda: dependency.call(succeed)


def _request() -> RequestContext:
    record = RequestContext({"type": "http", "method": "GET", "path": "/", "headers": []})
    record.deadline = float("inf")
    return record


def measure(
    named: dict[str, Subject], effort: Effort, progress: Callable[[], None]
) -> dict[str, list[float]]:
    """Nanoseconds per call of each subject, one number a round."""
    samples: dict[str, list[float]] = {name: [] for name in named}
    request = _request()

    async def turn(name: str) -> float:
        subject, count = named[name], effort.requests
        with request_scope(request if name == IN_REQUEST else None):
            gc.collect()  # everybody starts with the same heap
            began = process_time_ns()
            for _ in range(count):
                await subject()
            return (process_time_ns() - began) / count

    async def run() -> None:
        order = list(named)
        for name in order:
            await turn(name)
        for _ in range(effort.rounds):
            random.shuffle(order)
            for name in order:
                samples[name].append(await turn(name))
            progress()

    asyncio.run(run())
    return samples


def cost(samples: dict[str, list[float]], name: str) -> float:
    """Nanoseconds on top of the plain await: the median over the rounds."""
    return median(mine - plain for mine, plain in zip(samples[name], samples[PLAIN], strict=True))


def ratio(samples: dict[str, list[float]], name: str, other: str) -> float:
    """How many times the cost of another subject: the median over the rounds."""
    rounds = zip(samples[name], samples[other], samples[PLAIN], strict=True)
    return median((mine - plain) / max(theirs - plain, 1e-9) for mine, theirs, plain in rounds)


def growth() -> int:
    """By how many entries the traceback of a rejection, and of its cause, grows over a thousand of them."""

    async def run() -> int:
        dependency = Dependency("growing", retry=None)

        async def fail() -> None:
            raise ConnectionError

        lengths: list[int] = []
        for _ in range(1000):
            try:
                await dependency.call(fail)
            except CircuitOpen as error:
                cause = error.__cause__
                assert cause is not None
                lengths.append(sum(len(traceback.extract_tb(each.__traceback__)) for each in (error, cause)))
            except ConnectionError:
                pass
        return lengths[-1] - lengths[0]

    return asyncio.run(run())


def memory(call: Subject | None = None) -> float:
    """Bytes per call while ten thousand wait: the task and the call, without what waits inside of it."""

    async def run() -> float:
        dependency = Dependency("waiting", timeout=60.0)
        release = asyncio.Event()
        through = call is None

        async def wait() -> None:
            await release.wait()

        async def one() -> None:
            await (dependency.call(wait) if through else wait())

        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.create_task(one()) for _ in range(CALLS)]
        await asyncio.sleep(0)
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        release.set()
        await asyncio.gather(*tasks)
        return used / CALLS

    return asyncio.run(run())


def steps(effort: Effort) -> int:
    """How often `answer` tells of progress."""
    return 2 * effort.rounds


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    logging.getLogger("asgi_resilience.client").setLevel(
        logging.CRITICAL
    )  # of the events, none is the subject here
    set_metric_sink(NULL)  # as the others measure nothing; what it costs has a row of its own
    found = Answer("client", QUESTION, packages=("aiobreaker", "backoff", *PEERS))
    named = subjects(found)
    success = measure(named, effort, progress)
    failing = measure(rejected(), effort, progress)
    table = Table("A call that succeeds", ["µs on top", "× aiobreaker", "× tenacity"])
    for name in [each for each in named if each != PLAIN]:
        compared = [ratio(success, name, other) if other in named else None for other in (STOCK, TENACITY)]
        table.rows[name] = [cost(success, name) / 1000, *compared]
    found.tables.append(table)
    table = Table("A call that an open circuit rejects", ["µs on top", "× aiobreaker"])
    for name in (REJECTED, MEASURED_REJECTED, STOCK_REJECTED):
        table.rows[name] = [cost(failing, name) / 1000, ratio(failing, name, STOCK_REJECTED)]
    found.tables.append(table)
    found.picture = Table(
        "What a call that succeeds costs on top of a plain await, in costs of aiobreaker",
        ["× aiobreaker"],
        {name: [numbers[1]] for name, numbers in found.tables[0].rows.items()},
    )
    found.spread |= {
        f"ns: {name}": quartiles(each) for samples in (success, failing) for name, each in samples.items()
    }
    ours, plain = memory(), memory(succeed)
    table = Table(f"Bytes per call while {CALLS:,} wait", ["bytes"])
    table.rows |= {
        "a task that waits": [plain],
        "a task that waits in Dependency.call": [ours],
        "the difference": [ours - plain],
    }
    found.tables.append(table)
    found.figures["of_aiobreaker"] = ratio(success, OURS, STOCK)
    found.figures["of_aiobreaker.in_request"] = ratio(success, IN_REQUEST, STOCK)
    found.figures["of_aiobreaker.with_metrics"] = ratio(success, MEASURED, STOCK)
    found.figures["rejected.of_aiobreaker.with_metrics"] = ratio(failing, MEASURED_REJECTED, STOCK_REJECTED)
    if TENACITY in named:
        found.figures["of_tenacity"] = ratio(success, OURS, TENACITY)
    found.figures["rejected.of_aiobreaker"] = ratio(failing, REJECTED, STOCK_REJECTED)
    found.figures["rejected.growth"] = growth()
    found.figures["bytes_waiting"] = ours - plain
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("client")
