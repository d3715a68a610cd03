"""What a question answers: tables, curves, and the figures that have budgets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ("PACKAGES", "Answer", "Curve", "Plot", "Table", "spell")

PACKAGES = ("uvloop", "starlette", "anyio", "orjson")
"""Whose versions always matter."""


@dataclass(slots=True)
class Table:
    """Rows of a name and numbers; None is a number that could not be had."""

    title: str
    columns: Sequence[str]
    rows: dict[str, Sequence[float | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Curve:
    """How the cost of a request through the whole stack, in no-op layers, grows over something."""

    over: str
    points: dict[int, float]


@dataclass(slots=True)
class Plot:
    """A picture of lines over a linear scale, both from 0 upward."""

    title: str
    lines: dict[str, dict[float, float]]


@dataclass(slots=True)
class Answer:
    """What one question found.

    Attributes:
        name: Of the question: its module's.
        question: In words.
        tables: For people.
        curves: Likewise.
        picture: What is drawn: bars of a table, or lines; None: the curves.
        figures: For the budgets: `budgets.toml` names them.
        spread: Of what has more than one sample: the lower quartile, the median and the upper quartile.
        notes: What one must know to read the tables, such as what was left out and why.
        packages: Whose versions matter.
    """

    name: str
    question: str
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    picture: Table | Plot | None = None
    figures: dict[str, float] = field(default_factory=dict)
    spread: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    packages: Sequence[str] = PACKAGES


def spell(number: float | None) -> str:
    """A number with as many digits as it deserves."""
    if number is None:
        return "–"
    size = abs(number)
    if 0 < size < 0.1:
        return f"{number:.3f}"
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 10 else f"{number:.2f}"
