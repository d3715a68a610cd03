"""The error budget of one objective, minute by minute.

    requests of a minute ──when it is over──▶ the last hours, by the minute ──▶ burn rates ──▶ alerts
                                          └─▶ the whole window, in ≈ 720 buckets ──▶ budget ──▶ policy

A bad minute is held against the budget for the whole window, and for one bucket more at most; it is never forgiven early.
What was before the first minute counts as good, at the rate of requests since: an hour of errors after a start uses as
much of the budget as it would on any other day.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from asgi_resilience.slo.events import AlertEnded, AlertStarted, BudgetEvent, BudgetReset, PolicyChanged
from asgi_resilience.slo.history import Counts, History, number
from asgi_resilience.slo.objective import BURN_WINDOWS, SLO, BurnAlert, Policy

__all__ = ("BudgetStatus", "ErrorBudget")

_BUCKETS: Final = 720
_BACKWARDS: Final = 60
"""Minutes by which a clock may be set back; what is counted meanwhile belongs to the minute that was open."""
_AHEAD: Final = 5
"""Minutes by which another process's clock may have been ahead."""
_HALF: Final = 0.5
_EXACT: Final = 1e-9  # sums of fractions may be off by less


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget at the end of a minute.

    Attributes:
        requests: Requests in the window so far.
        failed: Those of them that failed, or were slow.
        budget: What may fail in the window: minutes for `"downtime"`, else requests.
        used: How much of that has.
        burn_rates: By window, `"5m"`, `"30m"`, `"1h"` and `"6h"`: how many times as fast as allowed the budget is spent.
        policy: `"normal"`, `"slow_down"` from 50 % used, `"freeze"` when exhausted.
        alerts: The names of the alerts that are active.
    """

    requests: float
    failed: float
    budget: float
    used: float
    burn_rates: Mapping[str, float]
    policy: Policy
    alerts: tuple[str, ...]

    @property
    def remaining(self) -> float:
        """What is left, in the unit of `budget`; negative when overspent."""
        return self.budget - self.used

    @property
    def remaining_share(self) -> float:
        """The same as a share of the budget: 1 when nothing has failed, 0 when exhausted, negative when overspent."""
        return 1.0 - self.used / self.budget if self.budget else 1.0


class ErrorBudget:
    """Counts requests by the minute, and knows what is left of the budget.

    A minute counts once it is over, so the status changes once a minute at most. Not thread-safe.

    Args:
        slo: The objective.
        clock: Seconds since 1970: the history outlives the process, and no monotonic clock does.

    Attributes:
        slo: The objective.
        status: As of the last full minute.
    """

    def __init__(self, slo: SLO, *, clock: Callable[[], float] = time.time) -> None:
        self.slo = slo
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        slo = self.slo
        width = max(1, ceil(slo.window_minutes / _BUCKETS))
        longest = max((*BURN_WINDOWS.values(), *(int(alert.long) // 60 for alert in slo.alerts)))
        self._window = History(width, ceil(slo.window_minutes / width) + 1)
        self._recent = History(1, longest)
        self._since = self._minute = -1  # of the first request, and the one that is open
        self._requests = self._failed = 0.0
        self._policy: Policy = "normal"
        self._active: dict[str, BurnAlert] = {}
        self.status = self._status()

    def record(self, requests: float = 0, failed: float = 0, at: float | None = None) -> list[BudgetEvent]:
        """Count requests; without any, only let time pass.

        Args:
            requests: How many came.
            failed: How many of them failed, or were slow.
            at: When, in seconds since 1970. None: now.

        Returns:
            What has changed because a minute is over; most often nothing.
        """
        minute = int((self._clock() if at is None else at) // 60)
        events: list[BudgetEvent] = []
        if minute < self._minute - _BACKWARDS:
            self._begin()
            events.append(BudgetReset(self.slo, "the clock was set back by more than an hour"))
        if self._minute < 0:
            self._since = self._minute = minute
        elif minute > self._minute:
            self._close_until(minute)
            events += self._judge()
        self._requests += requests
        self._failed += min(failed, requests)
        return events

    def _close_until(self, minute: int) -> None:
        down = self._failed / self._requests if self._requests else 0.0
        counts = Counts(self._requests, self._failed, down)
        for history in (self._recent, self._window):
            history.add(self._minute, counts)
            history.advance(minute - 1)
        self._minute = minute
        self._requests = self._failed = 0.0

    def _judge(self) -> list[BudgetEvent]:
        before, were_active = self._policy, self._active
        budget, used = self._budget()
        share = used / budget if budget else 0.0
        self._policy = (
            "freeze" if share >= 1 - _EXACT else "slow_down" if share >= _HALF - _EXACT else "normal"
        )
        self._active = {alert.name: alert for alert in self.slo.alerts if self._burns(alert)}
        self.status = status = self._status()
        events: list[BudgetEvent] = []
        if self._policy != before:
            events.append(PolicyChanged(self.slo, before, self._policy, status))
        for name, alert in self._active.items():
            if name not in were_active:
                events.append(AlertStarted(self.slo, alert, status))
        for name, alert in were_active.items():
            if name not in self._active:
                events.append(AlertEnded(self.slo, alert, status))
        return events

    def _status(self) -> BudgetStatus:
        counts = self._window.latest()
        budget, used = self._budget()
        return BudgetStatus(
            requests=counts.requests,
            failed=counts.failed,
            budget=budget,
            used=used,
            burn_rates={name: self._burn_rate(minutes) for name, minutes in BURN_WINDOWS.items()},
            policy=self._policy,
            alerts=tuple(self._active),
        )

    def _budget(self) -> tuple[float, float]:
        counts = self._window.latest()
        if self.slo.measure == "downtime":
            return self.slo.budget_minutes, counts.down
        seen = self._minute - max(self._since, self._window.since)
        whole = counts.requests * max(1.0, self.slo.window_minutes / seen) if seen > 0 else 0.0
        return self.slo.allowed * whole, counts.failed

    def _burn_rate(self, minutes: int) -> float:
        counts = self._recent.latest(minutes)
        if self.slo.measure == "downtime":
            return counts.down / minutes / self.slo.allowed
        if not counts.failed:
            return 0.0
        whole = counts.requests * minutes / min(minutes, self._minute - self._since)
        return counts.failed / whole / self.slo.allowed

    def _burns(self, alert: BurnAlert) -> bool:
        long, short = int(alert.long) // 60, int(alert.short) // 60
        most = alert.factor * (1 + _EXACT)
        return (
            self._burn_rate(long) > most
            and self._burn_rate(short) > most
            and self._recent.latest(long).failed >= self.slo.min_failures
        )

    # ------------------------------------------------------------------------------------------ across a restart

    @property
    def _counted(self) -> dict[str, Any]:
        """What decides whether old counts mean the same; the target does not."""
        slo = self.slo
        return {
            "measure": slo.measure,
            "window": slo.window,
            "threshold_ms": slo.threshold_ms,
            "tags": list(slo.tags),
        }

    def state(self) -> dict[str, Any]:
        """Everything that is known, as JSON can say it; the open minute too."""
        return {
            "counted": self._counted,
            "since": self._since,
            "minute": self._minute,
            "open": [self._requests, self._failed],
            "recent": list(self._recent.rows()),
            "window": list(self._window.rows()),
        }

    def restore(self, state: Any) -> None:
        """Begin with what `state` has told, instead of with nothing.

        Policy and alerts are as that implies, without events: whoever was to be told has been.

        Raises:
            ValueError: It can't be used; the message says why, and the budget is full.
        """
        try:
            self._restore(state)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            self._begin()
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(reason) from None

    def _restore(self, state: Any) -> None:
        if state["counted"] != self._counted:
            raise ValueError("it was counted for another objective")
        self._begin()
        if state["minute"] == self._minute:  # nothing was counted at all
            return
        since, minute = int(number(state["since"])), int(number(state["minute"]))
        requests, failed = map(number, state["open"])
        if minute > self._clock() // 60 + _AHEAD:
            raise ValueError("it is from the future")
        if since > minute or failed > requests:
            raise ValueError("it can't be true")
        self._recent.restore(state["recent"], minute)
        self._window.restore(state["window"], minute)
        for history in (self._recent, self._window):
            history.advance(minute - 1)
        self._since, self._minute, self._requests, self._failed = since, minute, requests, failed
        if minute > since:
            self._judge()
