"""What does each layer cost, and the whole stack, in no-op layers?"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from asgi_resilience import stack
from asgi_resilience.context import KEY, ASGIApp, Receive, Scope, Send
from asgi_resilience.recorder import observe
from benchmarks import instructions
from benchmarks.command import main
from benchmarks.report import Answer, Table
from benchmarks.subject import UNIT_LAYERS, build, everything_on, hello, log_to_nowhere, name_of, no_ops
from benchmarks.timing import LOOPS, Effort, Samples, per_request, quartiles

__all__ = ("QUESTION", "answer", "steps", "subjects")

QUESTION = "What does each layer cost, and the whole stack, in no-op layers?"
BARE, UNIT, WHOLE, RECORD, SEVEN = "bare", "unit", "whole stack", "request record", "seven no-op layers"


class RecordOnly:
    """A layer that makes the request record and does nothing with it: what the outermost of our layers does for all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if KEY not in scope:
            await observe(self, scope, receive, send)
        else:
            await self.app(scope, receive, send)


def subjects() -> dict[str, ASGIApp]:
    """Every app that is measured, by name."""
    log_to_nowhere()
    layers = stack(everything_on())
    found: dict[str, ASGIApp] = {
        BARE: hello,
        UNIT: no_ops(UNIT_LAYERS),
        SEVEN: no_ops(7),
        WHOLE: build(layers),
        RECORD: RecordOnly(hello),
    }
    for layer in layers:
        found[name_of(layer)] = build([layer])
        found[f"without {name_of(layer)}"] = build([each for each in layers if each is not layer])
    return found


def names() -> list[str]:
    """The layers, outermost first."""
    return [name_of(layer) for layer in stack(everything_on())]


@dataclass(frozen=True, slots=True)
class Costs:
    """Samples of all subjects, in no-op layers."""

    samples: Samples

    def between(self, less: str, more: str) -> list[float]:
        """What `more` costs above `less`, round by round."""
        samples = self.samples
        rounds = zip(samples[less], samples[more], samples[BARE], samples[UNIT], strict=True)
        return [(high - low) * UNIT_LAYERS / (unit - bare) for low, high, bare, unit in rounds]

    def alone(self, name: str) -> float:
        """Above the bare app."""
        return median(self.between(BARE, name))

    def in_the_stack(self, name: str) -> float:
        """What the whole stack costs above itself without the layer."""
        return median(self.between(f"without {name}", WHOLE))


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return effort.rounds * len(LOOPS) + 1


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure on both event loops, and count instructions where that is possible."""
    found = Answer("layers", QUESTION)
    columns = {loop: Costs(per_request(subjects(), loop, effort, progress)) for loop in LOOPS}
    for loop, costs in columns.items():
        low, _, high = quartiles(costs.between(BARE, WHOLE))
        unit = (median(costs.samples[UNIT]) - median(costs.samples[BARE])) / UNIT_LAYERS
        found.figures[f"stack.{loop}"] = costs.alone(WHOLE)
        found.notes.append(
            f"{loop}: half of the rounds put the whole stack between {low:.1f} and {high:.1f};"
            f" one no-op layer took {unit * 1e6:.2f} µs of CPU in this run."
        )
    reason = instructions.why_not()
    if reason is None:
        counted = instructions.count("benchmarks.layers:subjects", "asyncio")
        costs = columns["instructions"] = Costs({name: [number] for name, number in counted.items()})
        found.figures["stack.instructions"] = costs.alone(WHOLE)
        found.notes.append(
            f"instructions: a no-op layer is {(counted[UNIT] - counted[BARE]) / UNIT_LAYERS:,.0f} of them, the whole"
            f" stack {counted[WHOLE] - counted[BARE]:,.0f}."
        )
    else:
        found.notes.append(f"Instructions were not counted: {reason}.")
    progress()
    found.tables.append(
        Table(
            "In no-op layers: alone around a hello-world",
            [*columns],
            {
                name: [costs.alone(name) for costs in columns.values()]
                for name in [SEVEN, RECORD, *names(), WHOLE]
            },
        )
    )
    found.tables.append(
        Table(
            "In no-op layers: what the whole stack saves without the layer",
            [*columns],
            {name: [costs.in_the_stack(name) for costs in columns.values()] for name in names()},
        )
    )
    return found


if __name__ == "__main__":
    main(["layers"])
