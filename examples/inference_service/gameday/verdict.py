"""What the service has promised, and whether it was kept."""

from collections.abc import Iterator
from typing import Final

from examples.inference_service.gameday.ledger import Change, Ledger
from examples.inference_service.gameday.story import STORY
from examples.inference_service.limits import Limits

__all__ = ("Promise", "violations")

Promise = tuple[str, list[str]]
"""A sentence, and what contradicts it."""

_NEXT: Final = {"closed": {"open"}, "open": {"half_open"}, "half_open": {"open", "closed"}}
_SLACK: Final = 0.5
"""Seconds: two clocks, and a log line that is written a moment later."""


def violations(ledger: Ledger, limits: Limits) -> list[Promise]:
    """Each promise, with what has broken it; nothing: it was kept."""
    return [
        (f"No request hung past {limits.request:g} s", list(_hung(ledger, limits))),
        ("Every error has the envelope, and every request an answer", list(_shapes(ledger))),
        ("No request lost its id: header, envelope and log line", list(_ids(ledger))),
        ("Nothing unexpected was raised", list(ledger.unexpected)),
        ("Each circuit opened when its dependency broke, and no other", list(_opened(ledger))),
        (f"Each stayed open for {limits.breaker_open:g} s, then probed", list(_probed(ledger, limits))),
        ("Each closed after three successes, when everything was back", list(_closed(ledger))),
    ]


def _hung(ledger: Ledger, limits: Limits) -> Iterator[str]:
    for each in ledger.answers:
        if each.seconds > limits.request + _SLACK:
            yield f"{each.request_id} ({each.what}) took {each.seconds:.1f} s"


def _shapes(ledger: Ledger) -> Iterator[str]:
    for each in ledger.answers:
        if each.problem:
            yield f"{each.request_id} ({each.what}, {each.status}): {each.problem}"


def _ids(ledger: Ledger) -> Iterator[str]:
    for each in ledger.answers:
        if each.lost_id:
            yield f"{each.request_id} ({each.what}): {each.lost_id}"
        elif each.status and each.request_id not in ledger.logged:
            yield f"{each.request_id} ({each.what}): not in the log"


def _opened(ledger: Ledger) -> Iterator[str]:
    broken = set()
    for chapter, (title, begin, end) in zip(STORY, ledger.spans(), strict=True):
        first = {
            each.dependency for each in ledger.changes if each.old == "closed" and begin <= each.at < end
        }
        if chapter.opens is not None:
            broken.add(chapter.opens)
            if chapter.opens not in first:
                yield f"{chapter.opens} did not open while {title}"
        for other in sorted(first - broken):
            yield f"{other} opened while {title}"


def _probed(ledger: Ledger, limits: Limits) -> Iterator[str]:
    last: dict[str, Change] = {}
    for change in ledger.changes:
        before = last.get(change.dependency)
        if change.new not in _NEXT[change.old] or change.old != ("closed" if before is None else before.new):
            yield f"{change.dependency} went from {change.old} to {change.new} at {change.at:.1f} s"
        if change.new == "half_open" and before and change.at - before.at < limits.breaker_open - _SLACK:
            yield f"{change.dependency} was probed {change.at - before.at:.1f} s after it had opened"
        last[change.dependency] = change


def _closed(ledger: Ledger) -> Iterator[str]:
    back = ledger.chapters[-1][1]
    for dependency, state in ledger.breakers().items():
        if state != "closed":
            yield f"{dependency} is still {state}"
    for change in ledger.changes:
        if change.new == "closed" and (change.at < back - _SLACK or change.reason != "3 successes in a row"):
            yield f"{change.dependency} closed at {change.at:.1f} s: {change.reason}"
