"""What is on the wall during a game day: one table, that changes twice a second."""

from collections import Counter
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from examples.inference_service.gameday.budgets import Budgets
from examples.inference_service.gameday.ledger import Answer, Ledger, percentile

__all__ = ("board", "chapter_row", "chapters_table")

_COLOURS: Final = {"closed": "green", "half_open": "yellow", "open": "red"}
_RECENT: Final = 10.0
_P95: Final = 0.95


def board(ledger: Ledger, budgets: Budgets, waiting: int) -> Group:
    """The wall, now."""
    now = ledger.now()
    budgets.count(ledger.answers)
    recent = [each for each in ledger.answers if each.began + each.seconds > now - _RECENT]
    lately = Table.grid(padding=(0, 2))
    lately.add_row("last 10 s", _statuses(recent), f"p95 {_ms(recent)}", f"{waiting} waiting")
    breakers = Table.grid(padding=(0, 2))
    breakers.add_row(
        "circuits", *(Text(name, _COLOURS.get(state, "")) for name, state in ledger.breakers().items())
    )
    left = Table.grid(padding=(0, 2))
    left.add_row(
        "budgets",
        *(f"{name} {status.remaining_share:.1%}" for name, status in budgets.statuses().items()),
    )
    return Group(chapters_table(ledger), lately, breakers, left)


def chapters_table(ledger: Ledger) -> Table:
    """One row for each chapter."""
    table = Table(title=f"Game day, {ledger.now():.0f} s")
    for name in ("chapter", "requests", "ok", "degraded", "4xx", "5xx", "p50", "p95", "max", "error codes"):
        table.add_column(name, justify="left" if name in ("chapter", "error codes") else "right")
    for title, begin, end in ledger.spans():
        table.add_row(title, *chapter_row(ledger.between(begin, end)))
    return table


def chapter_row(answers: list[Answer]) -> list[str]:
    """The cells of a chapter, but for its title."""
    kinds = Counter(each.kind for each in answers)
    codes = Counter(each.code for each in answers if each.failed)
    return [
        str(len(answers)),
        *(str(kinds[kind]) for kind in ("ok", "degraded", "4xx", "5xx")),
        _ms(answers, 0.5),
        _ms(answers),
        _ms(answers, 1.0),
        ", ".join(f"{code} {count}" for code, count in codes.most_common()),
    ]


def _statuses(answers: list[Answer]) -> str:
    counted = Counter(each.status for each in answers)
    return "  ".join(f"{status}: {count}" for status, count in sorted(counted.items())) or "-"


def _ms(answers: list[Answer], share: float = _P95) -> str:
    return f"{percentile((each.seconds for each in answers), share) * 1000:.0f} ms"
