"""How does the cost of a request grow with layers, rules, paths, routes and open requests?"""

from collections.abc import Callable, Sequence
from itertools import cycle

from asgi_resilience import RateLimit, stack
from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from asgi_resilience.route import SCOPE_KEY
from benchmarks.answer import Answer, Curve
from benchmarks.costs import BARE, UNIT, Costs, baselines
from benchmarks.subject import (
    build,
    everything,
    everything_on,
    log_to_nowhere,
    pausing,
    request_of,
)
from benchmarks.timing import Effort, Request, per_request
from benchmarks.timing import found as named

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "How does the cost of a request grow with layers, rules, paths, routes and open requests?"

CURVES = {"layers": "layers", "rules": "rate-limit rules", "paths": "paths", "routes": "routes"}


def layers() -> dict[str, Request]:
    """The stack from the outermost layer to the so-manieth."""
    whole = stack(everything_on())
    return _at({count: build(whole[:count]) for count in range(1, len(whole) + 1)})


def rules() -> dict[str, Request]:
    """Rate limits that all must admit a request."""
    counts = (1, 2, 4, 8)
    made = [RateLimit(limit=100, per=60, name=f"rule-{number}") for number in range(max(counts))]
    return _at({count: everything(rate_limit=tuple(made[:count])) for count in counts})


def paths() -> dict[str, Request]:
    """Paths with a timeout and a limit of their own; the request asks for another one."""

    def app(count: int) -> ASGIApp:
        named = [f"/api/v1/reports/{number}" for number in range(count)]
        return everything(
            timeout_paths=dict.fromkeys(named, 5.0), rate_limit_paths=dict.fromkeys(named, "5/minute")
        )

    return _at({count: app(count) for count in (1, 10, 100, 1000, 10_000)})


def routes() -> dict[str, Request]:
    """Routes that the requests take in turn, each with a series of metrics of its own."""

    def app(count: int) -> ASGIApp:
        templates = cycle([f"/api/v{number}/orders/{{order}}" for number in range(count)])

        async def routed(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_KEY] = next(templates)
            await pausing(scope, receive, send)

        return everything(routed)

    return _at({count: app(count) for count in (1, 10, 100, 1000, 10_000)})


def alone() -> dict[str, Request]:
    """The whole stack, to be asked by more and more at once."""
    return _at({1: everything()})


def _at(apps: dict[int, ASGIApp]) -> dict[str, Request]:
    log_to_nowhere()
    return {**baselines(), **{str(x): request_of(app) for x, app in apps.items()}}


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return effort.rounds * (len(CURVES) + len(_open(effort)))


def _open(effort: Effort) -> Sequence[int]:
    return (1, 100, 1000) if effort.quick else (1, 10, 100, 1000, 10_000)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure, on asyncio."""
    found = Answer("scale", QUESTION)
    for function, over in CURVES.items():
        subjects = f"benchmarks.scale:{function}"
        bare, unit, first, *between, last = named(subjects)
        names = [bare, unit, first, *(() if effort.quick else between), last]
        costs = Costs(per_request(subjects, "asyncio", effort, progress, names=names))
        points = {int(name): costs.of(name) for name in costs.samples if name not in (BARE, UNIT)}
        found.curves.append(Curve(over, points))
    curve = Curve("open requests", {})
    for burst in _open(effort):
        costs = Costs(per_request("benchmarks.scale:alone", "asyncio", effort, progress, burst))
        curve.points[burst] = costs.of("1")
    found.curves.append(curve)
    for each in found.curves[1:]:
        first, *_, last = each.points.values()
        found.figures[f"{each.over.replace(' ', '_').replace('-', '_')}"] = last / first
    found.notes.append(
        "The figures are the last point of a curve over its first. The curve of the layers is a sum, and has none."
    )
    found.notes.append("Open requests are compared with as many open requests of the bare app.")
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("scale")
