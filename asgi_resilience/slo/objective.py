"""What a service promises, and how fast it may break the promise before somebody is woken."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from math import inf
from typing import Final, Literal, cast, get_args

__all__ = (
    "BURN_WINDOWS",
    "DEFAULT_ALERTS",
    "DEFAULT_SLOS",
    "SLO",
    "BurnAlert",
    "Measure",
    "Policy",
    "objectives",
)

Measure = Literal["downtime", "requests", "latency"]
Policy = Literal["normal", "slow_down", "freeze"]

_MINUTE: Final = 60
_DAY: Final = 86_400
_LONGEST_ALERT: Final = 3 * _DAY

BURN_WINDOWS: Final = {"5m": 5, "30m": 30, "1h": 60, "6h": 360}
"""The windows whose burn rate is told, in minutes."""


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """Alert while the budget burns faster than `factor` over a long window and, still, over a short one.

    A burn rate of 1 spends exactly the whole budget in the window of the objective. The long window keeps short spikes
    from alerting, the short one ends the alert soon after the trouble (Google, The Site Reliability Workbook, ch. 5).

    Attributes:
        factor: The burn rate that both windows must exceed.
        long: Seconds; whole minutes, at most 3 days.
        short: Seconds; whole minutes, less than `long`.
        urgent: Whether it can't wait for the morning: its log line is at ERROR, otherwise at WARNING.

    Raises:
        ValueError: A value is out of range.
    """

    factor: float
    long: float
    short: float
    urgent: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.factor < inf:
            raise ValueError(f"factor={self.factor!r}: expected a burn rate above 0")
        if not (_MINUTE < self.long <= _LONGEST_ALERT and self.long % _MINUTE == 0):
            raise ValueError(
                f"long={self.long!r}: expected whole minutes in seconds, 120 to {_LONGEST_ALERT}"
            )
        if not (_MINUTE <= self.short < self.long and self.short % _MINUTE == 0):
            raise ValueError(
                f"short={self.short!r}: expected whole minutes in seconds, 60 or more, below long"
            )

    @property
    def name(self) -> str:
        """The long window, such as `1h`."""
        minutes = int(self.long) // _MINUTE
        return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


DEFAULT_ALERTS: Final = (
    BurnAlert(14.4, long=3600, short=300, urgent=True),  # 2 % of a budget of 30 days in an hour
    BurnAlert(6.0, long=6 * 3600, short=1800),  # 5 % of it in six hours
)


@dataclass(frozen=True, slots=True)
class SLO:
    """A service level objective.

    What is measured:

    - `"downtime"`: the minutes of the window, each down to the share of its requests that failed; a minute without any
      was up. The budget is minutes: 43.2 of 30 days at 99.9 %.
    - `"requests"`: the requests of the window that did not fail.
    - `"latency"`: those that were answered within `threshold_ms`. A request that failed in less time says nothing.

    Attributes:
        name: Stands in tags, log lines and the state file.
        target: The share that must be good, above 0 and below 1.
        window: A timedelta, or seconds; 1 to 366 days. Kept as seconds. Default 30 days.
        measure: See above. Default `"downtime"`.
        threshold_ms: Of `"latency"`, and only of that.
        tags: Only requests with all of these tags count, such as `("route:/checkout",)`.
        alerts: When to alert. The defaults are made for 30 days: 14.4 over 1 h and 5 m, 6 over 6 h and 30 m.
        min_failures: Failed (or slow) requests that the long window of an alert must hold, so that one failure among the
            few requests of a night wakes nobody. Default 10.

    Raises:
        ValueError: A value is out of range.
    """

    name: str
    target: float
    window: timedelta | float = 30 * _DAY
    measure: Measure = "downtime"
    threshold_ms: float | None = None
    tags: tuple[str, ...] = ()
    alerts: tuple[BurnAlert, ...] = DEFAULT_ALERTS
    min_failures: float = 10

    def __post_init__(self) -> None:
        seconds = self.window.total_seconds() if isinstance(self.window, timedelta) else self.window
        if not self.name:
            raise ValueError("name='': expected the name of an objective, such as 'availability'")
        if not 0 < self.target < 1:
            raise ValueError(f"target={self.target!r} of {self.name}: expected a share above 0 and below 1")
        if not _DAY <= seconds <= 366 * _DAY:
            raise ValueError(f"window={self.window!r} of {self.name}: expected 1 to 366 days")
        if self.measure not in get_args(Measure):
            raise ValueError(f"measure={self.measure!r} of {self.name}: expected one of {get_args(Measure)}")
        if (self.threshold_ms is not None) is not (self.measure == "latency"):
            raise ValueError(
                f"threshold_ms={self.threshold_ms!r} of {self.name}: goes with measure='latency'"
            )
        if self.threshold_ms is not None and not 0 < self.threshold_ms < inf:
            raise ValueError(f"threshold_ms={self.threshold_ms!r} of {self.name}: expected ms above 0")
        if isinstance(cast("object", self.tags), str):
            raise ValueError(f"tags={self.tags!r} of {self.name}: expected a tuple of 'key:value'")  # noqa: TRY004
        if not 0 <= self.min_failures < inf:
            raise ValueError(f"min_failures={self.min_failures!r} of {self.name}: expected 0 or more")
        if len({alert.name for alert in self.alerts}) < len(self.alerts):
            raise ValueError(f"alerts of {self.name}: two have the same long window")
        object.__setattr__(self, "window", float(seconds))
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "alerts", tuple(self.alerts))

    @property
    def window_minutes(self) -> float:
        """The window in minutes."""
        return cast("float", self.window) / _MINUTE

    @property
    def allowed(self) -> float:
        """The share that may be bad: `1 - target`, without the error of binary fractions."""
        return float(1 - Decimal(repr(float(self.target))))

    @property
    def budget_minutes(self) -> float:
        """The budget as minutes of full outage: 43.2 of 30 days at 99.9 %."""
        return self.allowed * self.window_minutes


DEFAULT_SLOS: Final = (
    SLO("availability", target=0.999),
    SLO("request_success", target=0.995, measure="requests"),
    SLO("latency_p95", target=0.95, measure="latency", threshold_ms=500.0),
)
"""99.9 % of the time up, 99.5 % of requests without a failure, p95 below 500 ms; each over 30 days."""


def objectives(value: object) -> tuple[SLO, ...]:
    """One objective or several, with different names.

    Raises:
        ValueError: It is something else.
    """
    several = tuple(cast("Iterable[object]", value)) if isinstance(value, Iterable) else (value,)
    slos = [each for each in several if isinstance(each, SLO)]
    if len(slos) < len(several) or len({slo.name for slo in slos}) < len(slos):
        raise ValueError("expected SLOs with different names, such as DEFAULT_SLOS")
    return tuple(slos)
