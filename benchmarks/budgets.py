"""What may not be exceeded: `budgets.toml`, each limit with its reason."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ("BUDGETS", "Budget", "Verdict", "judge")


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit.

    Attributes:
        figure: `<question>.<figure>`, as the answers name them.
        reason: Why the limit stands where it stands.
        most: The figure may not be above it.
        least: The figure may not be below it.
        on_breach: Whether a breach fails the run, or is only told.
        goal: What we aim at; to be told beside the figure.
        title: Of the goal, for the documentation.
    """

    figure: str
    reason: str
    on_breach: Literal["fail", "warn"]
    most: float | None = None
    least: float | None = None
    goal: float | None = None
    title: str = ""

    def __post_init__(self) -> None:
        if (self.most is None) == (self.least is None):
            raise ValueError(f"{self.figure}: expected either most or least")
        if (self.goal is None) == bool(self.title):
            raise ValueError(f"{self.figure}: expected a goal with a title, or neither")
        if not self.reason:
            raise ValueError(f"{self.figure}: expected a reason")
        if self.on_breach not in ("fail", "warn"):
            raise ValueError(f"{self.figure}: on_breach={self.on_breach!r}, expected 'fail' or 'warn'")

    def holds(self, value: float) -> bool:
        """Whether a figure keeps to the limit."""
        return self._within(self.least if self.most is None else self.most, value)

    def reaches(self, value: float) -> bool:
        """Whether a figure has reached the goal; it has where there is none."""
        return self._within(self.goal, value)

    def _within(self, limit: float | None, value: float) -> bool:
        if limit is None:
            return True
        return value >= limit if self.most is None else value <= limit


def _read() -> tuple[Budget, ...]:
    with (Path(__file__).parent / "budgets.toml").open("rb") as file:
        return tuple(Budget(figure, **limits) for figure, limits in tomllib.load(file).items())


BUDGETS = _read()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget, and what was measured."""

    budget: Budget
    value: float

    @property
    def holds(self) -> bool:
        return self.budget.holds(self.value)

    @property
    def fails(self) -> bool:
        return not self.holds and self.budget.on_breach == "fail"


def judge(question: str, figures: Mapping[str, float]) -> Iterator[Verdict]:
    """The verdicts on the figures of one question; those without a budget have none."""
    for budget in BUDGETS:
        name, _, figure = budget.figure.partition(".")
        if name == question and figure in figures:
            yield Verdict(budget, figures[figure])
