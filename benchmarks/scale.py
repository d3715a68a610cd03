"""How does the cost of a request grow with layers, rules, paths, routes and open requests?"""

from collections.abc import Callable, Sequence
from itertools import cycle

from asgi_resilience import RateLimit, stack
from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from asgi_resilience.route import SCOPE_KEY
from benchmarks.answer import Answer, Curve
from benchmarks.command import main
from benchmarks.costs import BARE, UNIT, Costs
from benchmarks.subject import (
    UNIT_LAYERS,
    build,
    everything,
    everything_on,
    log_to_nowhere,
    no_ops,
    pausing,
    request_of,
)
from benchmarks.timing import BURST, Effort, Request, per_request

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "How does the cost of a request grow with layers, rules, paths, routes and open requests?"

Points = dict[int, Request]


def layers() -> Points:
    """The stack from the outermost layer to the so-manieth."""
    whole = stack(everything_on())
    return {count: request_of(build(whole[:count])) for count in range(1, len(whole) + 1)}


def rules() -> Points:
    """Rate limits that all must admit a request."""
    counts = (1, 2, 4, 8)
    made = [RateLimit(limit=100, per=60, name=f"rule-{number}") for number in range(max(counts))]
    return {count: request_of(everything(rate_limit=tuple(made[:count]))) for count in counts}


def paths() -> Points:
    """Paths with a timeout and a limit of their own; the request asks for another one."""

    def app(count: int) -> ASGIApp:
        named = [f"/api/v1/reports/{number}" for number in range(count)]
        return everything(
            timeout_paths=dict.fromkeys(named, 5.0), rate_limit_paths=dict.fromkeys(named, "5/minute")
        )

    return {count: request_of(app(count)) for count in (1, 10, 100, 1000, 10_000)}


def routes() -> Points:
    """Routes that the requests take in turn, each with a series of metrics of its own."""

    def app(count: int) -> ASGIApp:
        templates = cycle([f"/api/v{number}/orders/{{order}}" for number in range(count)])

        async def routed(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_KEY] = next(templates)
            await pausing(scope, receive, send)

        return everything(routed)

    return {count: request_of(app(count)) for count in (1, 10, 100, 1000, 10_000)}


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return effort.rounds * (4 + len(_open(effort)))


def _open(effort: Effort) -> Sequence[int]:
    return (1, 10, 100, 1000) if effort.quick else (1, 10, 100, 1000, 10_000)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure, on asyncio."""
    found = Answer("scale", QUESTION)
    log_to_nowhere()
    for points, over in (layers, "layers"), (rules, "rate-limit rules"), (paths, "paths"), (routes, "routes"):
        subjects = {str(x): request for x, request in points().items()}
        costs = _costs(pausing, subjects, effort, progress)
        found.curves.append(Curve(over, {int(name): costs.of(name) for name in subjects}))
    curve = Curve("open requests", {})
    for burst in _open(effort):
        costs = _costs(pausing, {"stack": request_of(everything())}, effort, progress, burst)
        curve.points[burst] = costs.of("stack")
    found.curves.append(curve)
    for each in found.curves[1:]:
        first, *_, last = each.points.values()
        found.figures[f"{each.over.replace(' ', '_').replace('-', '_')}"] = last / first
    found.notes.append(
        "The figures are the last point of a curve over its first. The curve of the layers is a sum, and has none."
    )
    found.notes.append("Open requests are compared with as many open requests of the bare app.")
    return found


def _costs(
    app: ASGIApp,
    subjects: dict[str, Request],
    effort: Effort,
    progress: Callable[[], None],
    burst: int = BURST,
) -> Costs:
    baselines = {BARE: request_of(app), UNIT: request_of(no_ops(UNIT_LAYERS, app))}
    return Costs(per_request({**baselines, **subjects}, "asyncio", effort, progress, burst))


if __name__ == "__main__":
    main("scale")
