"""Which monitors cry wolf: a report from the history of alerts, for the weekly review."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

__all__ = ("SEARCH", "Noise", "Verdict", "noise")

Verdict = Literal["flapping", "noisy", "fine"]

SEARCH: Final = "source:alert managed-by:asgi-resilience service:{service} env:{environment}"
"""The events that a report is made of."""

_SHORT: Final = 5.0  # minutes: over before anybody could have acted
_FEW: Final = 3
_OFTEN: Final = 7.0  # a week: more than one a day
_FIRED: Final = frozenset(("error", "failure"))
_RECOVERED: Final = frozenset(("ok", "success"))


@dataclass(frozen=True, slots=True)
class Noise:
    """What one monitor did.

    Attributes:
        monitor: Its name.
        alerts: How often it alerted, each group of its own.
        per_week: The same for a week.
        short: How many alerts were over within 5 minutes, by themselves.
        minutes: How long an alert lasted, the median of those that have ended; None when none has.
        open: How many have not ended.
        verdict: `flapping`, when half of three or more alerts were short: raise the threshold, lengthen the window, or
            set a recovery threshold. `noisy` with more than one a day: fix what it tells of, or lower its severity.
    """

    monitor: str
    alerts: int
    per_week: float
    short: int
    minutes: float | None
    open: int

    @property
    def verdict(self) -> Verdict:
        """See above."""
        if self.alerts >= _FEW and self.short * 2 >= self.alerts:
            return "flapping"
        return "noisy" if self.per_week > _OFTEN else "fine"


def noise(events: Iterable[Mapping[str, Any]], days: float) -> list[Noise]:
    """The report, noisiest first.

    Args:
        events: As Datadog's API lists them, oldest first. An alert that is told again while it is open counts once; a
            recovery whose alert lies before the first event counts for nothing.
        days: That the events cover.
    """
    begun: dict[tuple[str, str], float] = {}
    lasted: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        inner: Mapping[str, Any] = event["attributes"]["attributes"]
        monitor: Mapping[str, Any] = inner.get("monitor") or {}
        name = str(monitor.get("name") or inner.get("title", "?"))
        place = name, ",".join(sorted(inner.get("monitor_groups") or ()))
        minute = float(inner["timestamp"]) / 60_000
        status = inner.get("status")
        if status in _FIRED:
            begun.setdefault(place, minute)
        elif status in _RECOVERED and place in begun:
            lasted[name].append(minute - begun.pop(place))
    opened: defaultdict[str, int] = defaultdict(int)
    for name, _ in begun:
        opened[name] += 1
    report = [_noise(name, lasted[name], opened[name], days) for name in {*lasted, *opened}]
    return sorted(report, key=lambda each: (-each.alerts, each.monitor))


def _noise(name: str, lasted: list[float], opened: int, days: float) -> Noise:
    alerts = len(lasted) + opened
    return Noise(
        monitor=name,
        alerts=alerts,
        per_week=round(alerts * 7 / days, 1),
        short=sum(each <= _SHORT for each in lasted),
        minutes=round(median(lasted), 1) if lasted else None,
        open=opened,
    )
