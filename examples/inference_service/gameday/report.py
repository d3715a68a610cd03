"""The report of a game day, in Markdown."""

from collections.abc import Iterator

from examples.inference_service.gameday.board import chapter_row
from examples.inference_service.gameday.budgets import Budgets
from examples.inference_service.gameday.ledger import Ledger
from examples.inference_service.gameday.verdict import Promise

__all__ = ("report",)

_SHOWN = 10


def report(ledger: Ledger, budgets: Budgets, promises: list[Promise]) -> str:
    """All of it."""
    return "\n".join(
        (*_promises(promises), "", *_chapters(ledger), "", *_circuits(ledger), "", *_budgets(budgets))
    )


def _promises(promises: list[Promise]) -> Iterator[str]:
    for promise, broken in promises:
        yield f"- {'BROKEN' if broken else 'kept'}: {promise}"
        yield from (f"    - {each}" for each in broken[:_SHOWN])
        if len(broken) > _SHOWN:
            yield f"    - and {len(broken) - _SHOWN} more"


def _chapters(ledger: Ledger) -> Iterator[str]:
    yield "| chapter | requests | ok | degraded | 4xx | 5xx | p50 | p95 | max | error codes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for title, begin, end in ledger.spans():
        yield f"| {title} | {' | '.join(chapter_row(ledger.between(begin, end)))} |"


def _circuits(ledger: Ledger) -> Iterator[str]:
    yield "| second | circuit | | reason |"
    yield "| ---: | --- | --- | --- |"
    for each in ledger.changes:
        yield f"| {each.at:.1f} | {each.dependency} | {each.old} → {each.new} | {each.reason} |"


def _budgets(budgets: Budgets) -> Iterator[str]:
    yield "| error budget of 30 days | used | policy | burn rate, 5 m | alerts |"
    yield "| --- | ---: | --- | ---: | --- |"
    for name, status in budgets.statuses().items():
        used = f"{1 - status.remaining_share:.1%}"
        alerts = ", ".join(status.alerts)
        yield f"| {name} | {used} | {status.policy} | {status.burn_rates['5m']:.0f} | {alerts} |"
