"""What has to change in Datadog: what is wanted beside what is there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from asgi_resilience.monitoring.json_values import is_array, is_object
from asgi_resilience.monitoring.objects import DatadogObject, Kind
from asgi_resilience.monitoring.reference import resolve

__all__ = ("Action", "Change", "Found", "differences", "plan", "with_ids")

Action = Literal["create", "update", "keep", "delete"]
_ONE_TYPE: Final = ("metric alert", "query alert")  # Datadog answers one for the other
_LONG: Final = 100  # of a value in a line
_UNORDERED: Final = frozenset(
    ("monitor_tags", "notify_end_states", "notify_end_types", "renotify_statuses", "tags")
)


@dataclass(frozen=True, slots=True)
class Found:
    """An object of ours in Datadog.

    Attributes:
        kind: Of the object.
        key: As in the object that it was made from.
        id: That Datadog gave it.
        body: All that Datadog says of it, in the shape of what was sent.
    """

    kind: Kind
    key: str
    id: str | int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one object.

    Attributes:
        action: Of the four.
        kind: Of the object.
        key: Of the object.
        id: In Datadog; None before it is made.
        body: As it shall be, with references that may be unresolved; None when it shall be no more.
        differences: What differs, a line each: `options.thresholds.critical: 5 -> 10`.
    """

    action: Action
    kind: Kind
    key: str
    id: str | int | None = None
    body: dict[str, Any] | None = None
    differences: tuple[str, ...] = ()


def plan(wanted: Sequence[DatadogObject], found: Sequence[Found]) -> tuple[Change, ...]:
    """The changes that make of what is `found` what is `wanted`: first those in their order, then what is left over."""
    there: dict[tuple[Kind, str], Found] = {(each.kind, each.key): each for each in found}
    ids: dict[tuple[Kind, str], str | int] = {place: each.id for place, each in there.items()}
    changes = [_change(each, there.get((each.kind, each.key)), ids) for each in wanted]
    kept = {(each.kind, each.key) for each in wanted}
    left_over = sorted((each for place, each in there.items() if place not in kept), key=_needed_by_others)
    return (*changes, *(Change("delete", each.kind, each.key, each.id) for each in left_over))


def _needed_by_others(found: Found) -> int:
    """Datadog deletes nothing that something else refers to: burn rates, then their SLOs, then the SLOs' monitors."""
    if found.kind == "slo":
        return 1
    return 2 if found.kind == "monitor" and found.body.get("type") != "slo alert" else 0


def with_ids(body: dict[str, Any], ids: Mapping[tuple[Kind, str], str | int]) -> dict[str, Any]:
    """A body with those references resolved whose object is known."""
    known: Mapping[Any, str | int] = ids
    resolved: dict[str, Any] = resolve(body, lambda kind, key: known.get((kind, key)))
    return resolved


def _change(wanted: DatadogObject, found: Found | None, ids: Mapping[tuple[Kind, str], str | int]) -> Change:
    if found is None:
        return Change("create", wanted.kind, wanted.key, body=wanted.body)
    lines = tuple(differences(with_ids(wanted.body, ids), found.body))
    return Change("update" if lines else "keep", wanted.kind, wanted.key, found.id, wanted.body, lines)


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where `found` is not what is wanted; what Datadog has added of its own is none of our business."""
    if is_object(wanted) and is_object(found):
        for name, value in wanted.items():
            yield from differences(value, found.get(name), f"{path}.{name}" if path else name)
        return
    if is_array(wanted) and is_array(found):
        if path.rpartition(".")[2] in _UNORDERED:
            wanted, found = sorted(wanted), sorted(found)
        elif len(wanted) == len(found):
            for number, (this, that) in enumerate(zip(wanted, found, strict=True)):
                yield from differences(this, that, f"{path}[{number}]")
            return
    if wanted != found and not (path == "type" and wanted in _ONE_TYPE and found in _ONE_TYPE):
        yield f"{path}: {_short(found)} -> {_short(wanted)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
