"""What does each layer cost, and the whole stack, in no-op layers?"""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace

from asgi_resilience import stack
from asgi_resilience.context import KEY, ASGIApp, Receive, Scope, Send
from asgi_resilience.recorder import observe
from benchmarks.answer import Answer, Table
from benchmarks.costs import baselines, measure, steps
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

__all__ = ("QUESTION", "answer", "steps", "subjects")

QUESTION = "What does each layer cost, and the whole stack, in no-op layers?"
WHOLE, RECORD, SEVEN = "whole stack", "request record", "seven no-op layers"


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


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("layers", QUESTION)
    scales = measure("benchmarks.layers:subjects", effort, progress, found, WHOLE)
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
    found.tables.append(
        Table(
            "In no-op layers: what the whole stack saves without the layer",
            [*scales],
            {name: [costs.cell(WHOLE, without(name)) for costs in scales.values()] for name in names()},
        )
    )
    found.picture = replace(
        found.tables[0], title="The cost of each layer alone, and of all of them, in no-op layers"
    )
    for scale, costs in scales.items():
        found.figures[f"stack.{scale}"] = costs.of(WHOLE)
    found.figures["garbage"] = garbage()
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("layers")
