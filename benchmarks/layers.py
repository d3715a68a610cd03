"""What does each layer cost, and the whole stack, in no-op layers?"""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import count
from typing import Any

from asgi_resilience import stack
from asgi_resilience.context import KEY, ASGIApp, Receive, Scope, Send
from asgi_resilience.recorder import observe
from asgi_resilience.telemetry.pipeline import Pipeline
from benchmarks.answer import Answer, Table
from benchmarks.costs import Costs, baselines, measure
from benchmarks.costs import steps as steps_of_one
from benchmarks.subject import (
    build,
    everything,
    everything_on,
    log_to_nowhere,
    name_of,
    no_ops,
    pausing,
    request_of,
)
from benchmarks.timing import BURST, Effort, Request, serve

__all__ = ("QUESTION", "answer", "steps", "subjects", "to_agent", "traced")

QUESTION = "What does each layer cost, and the whole stack, in no-op layers?"
WHOLE, RECORD, SEVEN = "whole stack", "request record", "seven no-op layers"
TRACE, METRICS = "trace context", "metrics"


class RecordOnly:
    """A layer that makes the request record and does nothing with it: what the outermost of our layers does for all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if KEY not in scope:
            await observe(self, scope, receive, send)
        else:
            await self.app(scope, receive, send)


def subjects() -> dict[str, Request]:
    """Everything that is measured, by name."""
    log_to_nowhere()
    layers = stack(everything_on())
    apps: dict[str, ASGIApp] = {SEVEN: no_ops(7), WHOLE: build(layers), RECORD: RecordOnly(pausing)}
    for layer in layers:
        apps[name_of(layer)] = build([layer])
        apps[without(name_of(layer))] = build([each for each in layers if each is not layer])
    return {**baselines(), **{name: request_of(app) for name, app in apps.items()}}


def traced() -> dict[str, Request]:
    """The stack with and without its trace layer, inside of a span of ddtrace that is open all the time."""
    from benchmarks import spans

    spans.open_one()
    return _with_and_without(TRACE)


def to_agent() -> dict[str, Request]:
    """The stack with and without its metrics layer, whose numbers go to an agent on the loopback interface.

    They do at every thousandth request: as often as each second of a service that has a thousand.
    """
    os.environ["DD_DOGSTATSD_URL"] = f"udp://127.0.0.1:{_agent().getsockname()[1]}"
    pipeline = Pipeline()
    pipeline.use_dogstatsd(wanted=True)
    requests = _with_and_without(METRICS, metric_sink=pipeline)
    numbers = count(1)

    def flushing(whole: Request) -> Request:
        def request() -> Coroutine[Any, Any, None]:
            if next(numbers) % 1000 == 0:
                pipeline.flush()
            return whole()

        return request

    return {**requests, WHOLE: flushing(requests[WHOLE])}


@cache
def _agent() -> socket.socket:
    """Listens, and reads nothing: its packets cost the sender what they cost, and this process no more."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    return listener


def _with_and_without(name: str, **changes: Any) -> dict[str, Request]:
    log_to_nowhere()
    layers = stack(everything_on(**changes))
    apps = {
        WHOLE: build(layers),
        without(name): build([layer for layer in layers if name_of(layer) != name]),
    }
    return {**baselines(), **{name: request_of(app) for name, app in apps.items()}}


def names() -> list[str]:
    """The layers, outermost first."""
    return [name_of(layer) for layer in stack(everything_on())]


def without(name: str) -> str:
    """What the subject is called that lacks one layer of the whole stack."""
    return f"without {name}"


def garbage() -> float:
    """Objects per request that only the garbage collector can free: each is part of a reference cycle."""
    requests = 10 * BURST

    async def run() -> float:
        request = request_of(everything())
        await serve(request, requests)
        gc.collect()
        gc.disable()
        try:
            await serve(request, requests)
            return gc.collect() / requests
        finally:
            gc.enable()

    return asyncio.run(run())


# Layers whose cost depends on what else is there: what the tables call them, what is measured, the layer, its package.
# The requests whose instructions are counted are so many that there is a flush for every thousand.
SITUATIONS = (
    ("trace context, in a span of ddtrace", "benchmarks.layers:traced", TRACE, "ddtrace", BURST),
    ("metrics, to a DogStatsD agent", "benchmarks.layers:to_agent", METRICS, "datadog", 1000),
)


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return steps_of_one(effort) * (1 if effort.quick else 1 + len(SITUATIONS))


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("layers", QUESTION)
    essential = WHOLE, without(TRACE), without(METRICS)
    scales = measure("benchmarks.layers:subjects", effort, progress, found, *essential)
    found.tables.append(
        Table(
            "In no-op layers: alone around the app",
            [*scales],
            {
                name: [costs.cell(name) for costs in scales.values()]
                for name in [SEVEN, RECORD, *names(), WHOLE]
            },
        )
    )
    saved = Table("In no-op layers: what the whole stack saves without the layer", [*scales])
    saved.rows |= {name: _saved(scales, name) for name in names()}
    found.tables.append(saved)
    for called, spec, layer, package, counted in () if effort.quick else SITUATIONS:
        if find_spec(package) is None:
            found.notes.append(f"{package} is not installed, so not measured: {called}.")
            continue
        situation = measure(
            spec, effort, progress, found, WHOLE, without(layer), label=called, counted=counted
        )
        saved.rows[called] = _saved(situation, layer)
    for name, numbers in saved.rows.items():
        for scale, number in zip(scales, numbers, strict=True):
            if number is not None:
                found.figures[f"{name.replace(',', '').replace(' ', '_')}.{scale}"] = number
    found.picture = replace(
        found.tables[0], title="The cost of each layer alone, and of all of them, in no-op layers"
    )
    for scale, costs in scales.items():
        found.figures[f"stack.{scale}"] = costs.of(WHOLE)
    found.figures["garbage"] = garbage()
    return found


def _saved(scales: Mapping[str, Costs], name: str) -> list[float | None]:
    return [costs.cell(WHOLE, without(name)) for costs in scales.values()]


if __name__ == "__main__":
    from benchmarks.command import main

    main("layers")
