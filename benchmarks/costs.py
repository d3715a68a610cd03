"""Costs in no-op layers: by the CPU time on each event loop, and by instructions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from asgi_resilience.context import ASGIApp
from benchmarks import callgrind, instructions
from benchmarks.answer import Answer
from benchmarks.subject import UNIT_LAYERS, no_ops, pausing, request_of
from benchmarks.timing import BURST, Effort, Request, Samples, found, per_request, quartiles

__all__ = ("BARE", "UNIT", "Costs", "baselines", "measure", "steps")

BARE, UNIT = "bare", "unit"


def baselines(app: ASGIApp = pausing) -> dict[str, Request]:
    """What every comparison needs: the app as it is, and inside of the units that costs are given in."""
    return {BARE: request_of(app), UNIT: request_of(no_ops(UNIT_LAYERS, app))}


@dataclass(frozen=True, slots=True)
class Costs:
    """Samples of all subjects, in no-op layers; of instructions, there is one sample."""

    samples: Samples

    @property
    def unit(self) -> float:
        """One no-op layer, in what the samples are in."""
        return (median(self.samples[UNIT]) - median(self.samples[BARE])) / UNIT_LAYERS

    def each(self, more: str, less: str = BARE) -> list[float]:
        """What `more` costs above `less`, round by round."""
        samples = self.samples
        rounds = zip(samples[less], samples[more], samples[BARE], samples[UNIT], strict=True)
        return [(high - low) * UNIT_LAYERS / (unit - bare) for low, high, bare, unit in rounds]

    def of(self, more: str, less: str = BARE) -> float:
        """What `more` costs above `less`."""
        return median(self.each(more, less))

    def cell(self, more: str, less: str = BARE) -> float | None:
        """The same for a table; None where one of them was left out."""
        return self.of(more, less) if {more, less} <= self.samples.keys() else None

    def spread(self, more: str, less: str = BARE) -> tuple[float, float, float]:
        """Where half of the rounds are, and the median."""
        return quartiles(self.each(more, less))


def steps(effort: Effort) -> int:
    """How often `measure` reports progress, at least."""
    return effort.rounds * len(effort.loops)


def measure(
    subjects: str,
    effort: Effort,
    progress: Callable[[], None],
    answer: Answer,
    *essential: str,
    label: str = "",
    count: bool = True,
    counted: int = instructions.RUN,
    burst: int = BURST,
) -> Mapping[str, Costs]:
    """The costs by each of the scales: on each event loop, and by instructions where they can be counted.

    Args:
        subjects: As `timing.found` takes them; the baselines are among them.
        effort: How long.
        progress: Told of each round.
        answer: Notes about the measurement are added to it.
        essential: The subjects that are measured even when it shall be quick; the notes tell the spread of the first.
        label: What the notes and the spread call this measurement, when a question has several.
        count: Whether instructions are counted at all.
        counted: How many requests the shorter of the two runs has whose instructions are counted.
        burst: How many requests are open at once.
    """
    known = found(subjects)
    names = [name for name in (BARE, UNIT, *essential) if name in known] if effort.quick else [*known]
    scales: dict[str, Costs] = {}
    for loop in effort.loops:
        scales[loop] = costs = Costs(per_request(subjects, loop, effort, progress, burst, names))
        where = f"{label}, {loop}" if label else loop
        answer.spread |= {
            f"{where}: {name}": costs.spread(name) for name in names if name not in (BARE, UNIT)
        }
        low, _, high = costs.spread(essential[0])
        answer.notes.append(
            f"{where}: half of the rounds have the {essential[0]} at {low:.1f} to {high:.1f};"
            f" a no-op layer took {costs.unit * 1e6:.2f} µs of CPU in this run."
        )
    reason = callgrind.why_not() if count else "that takes too long for a quick answer"
    if reason is None:
        numbers = instructions.count(subjects, names, run=counted, burst=burst)
        scales["instructions"] = costs = Costs({name: [number] for name, number in numbers.items()})
        answer.notes.append(
            f"{f'{label}, ' if label else ''}instructions: a no-op layer is {costs.unit:,.0f} of them."
        )
    else:
        answer.notes.append(f"Instructions were not counted: {reason}.")
    progress()
    return scales
