"""What does the same work cost when it is put together from other packages?"""

from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException

from asgi_resilience import ErrorEnvelopeMiddleware, stack
from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from benchmarks import assembly
from benchmarks.answer import PACKAGES, Answer, Table
from benchmarks.costs import Costs, baselines, measure, steps
from benchmarks.subject import build, everything_on, log_to_nowhere, name_of, pausing, request_of
from benchmarks.timing import Effort, Request

__all__ = ("QUESTION", "answer", "steps", "subjects")

QUESTION = "What does the same work cost when it is put together from other packages?"
WHOLE, ASSEMBLY, BASE = "whole stack", "put together", "one empty BaseHTTPMiddleware"
OURS_404 = "404 of the error envelope"

# Which of our layers does the work of each of theirs.
RIVALS: Mapping[str, str] = {
    "asgi-correlation-id": "request id",
    "starlette-context": "request id",
    "opentelemetry-instrumentation-asgi": "trace context",
    "structlog, one line": "access log",
    "python-json-logger, one line": "access log",
    "datadog, two metrics": "metrics",
    "timing-asgi": "metrics",
    "Starlette's two error layers": "error envelope",
    "404 of Starlette": OURS_404,
    "404 of starlette-problem": OURS_404,
    "limits, in memory": "rate limit",
    "slowapi": "rate limit",
    "asyncio.timeout": "timeout",
    "anyio.fail_after": "timeout",
    ASSEMBLY: WHOLE,
    BASE: WHOLE,
}


async def missing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An app that has nothing to show."""
    raise HTTPException(404)


def subjects() -> dict[str, Request]:
    """Everything that is measured, by name."""
    log_to_nowhere()
    layers = stack(everything_on())
    apps: dict[str, ASGIApp] = {WHOLE: build(layers)}
    for layer in layers:
        apps[name_of(layer)] = build([layer])
    apps |= {name: around(pausing) for name, around in assembly.peers().items()}
    apps[OURS_404] = ErrorEnvelopeMiddleware(missing)
    apps |= {name: around(missing) for name, around in assembly.error_handlers().items()}
    return {**baselines(), **{name: request_of(app) for name, app in apps.items()}}


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("peers", QUESTION, packages=(*PACKAGES, *assembly.PACKAGES))
    scales = measure(
        "benchmarks.peers:subjects", effort, progress, found, WHOLE, ASSEMBLY, BASE, count=not effort.quick
    )
    table = Table(
        "In no-op layers, and in multiples of the layer of ours that does the same",
        [column for scale in scales for column in (scale, "× ours")],
    )
    measured = next(iter(scales.values())).samples
    installed = assembly.peers().keys() | assembly.error_handlers().keys()
    for theirs, ours in RIVALS.items():
        if theirs in installed:
            cells = [(costs.cell(theirs), _times(costs, theirs, ours)) for costs in scales.values()]
            table.rows[theirs] = [number for pair in cells for number in pair]
        else:
            found.notes.append(f"Not installed, so not measured: {theirs}.")
    table.rows[WHOLE] = [number for costs in scales.values() for number in (costs.of(WHOLE), None)]
    found.tables.append(table)
    found.picture = Table(
        "The same work, in no-op layers",
        [*scales],
        {
            name: [costs.cell(name) for costs in scales.values()]
            for name in [*RIVALS, WHOLE]
            if name in measured
        },
    )
    for scale, costs in scales.items():
        for name, peer in (("assembly", ASSEMBLY), ("base_http", BASE)):
            if peer in measured:
                found.figures[f"{name}.{scale}"] = costs.of(peer) / costs.of(WHOLE)
    return found


def _times(costs: Costs, theirs: str, ours: str) -> float | None:
    cost, own = costs.cell(theirs), costs.cell(ours)
    return None if cost is None or own is None else cost / own


if __name__ == "__main__":
    from benchmarks.command import main

    main("peers")
