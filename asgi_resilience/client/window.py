"""When a circuit trips: on a streak of failures, or on a share of failures among the last calls."""

from collections import deque
from dataclasses import dataclass

__all__ = ("BreakerPolicy", "OutcomeWindow")


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens, for how long, and what closes it.

    Attributes:
        failures_in_a_row: Opens it; default 5.
        failure_ratio: This share of failures among the last `window` outcomes opens it, too; default 0.5. Above 1.0: never.
        window: How many outcomes that is; judged only when there are so many. Default 10.
        open_for: Seconds that it stays open before the first probe; default 30.0.
        close_after: Successes in a row that close it again, and the most probes that there can be; default 3.
        half_open_for: Seconds after which probes that don't end count as a failure; default 30.0.
        forget_after: Seconds of silence after which earlier outcomes no longer count; None (the default): they always do.

    Raises:
        ValueError: A value is out of its range.
    """

    failures_in_a_row: int = 5
    failure_ratio: float = 0.5
    window: int = 10
    open_for: float = 30.0
    close_after: int = 3
    half_open_for: float = 30.0
    forget_after: float | None = None

    def __post_init__(self) -> None:
        for name in ("failures_in_a_row", "window", "close_after"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: expected 1 or more")
        for name in ("failure_ratio", "open_for", "half_open_for", "forget_after"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r}: expected more than 0")


class OutcomeWindow:
    """The last outcomes of one dependency.

    Attributes:
        streak: Failures in a row, up to now.
    """

    __slots__ = ("_failed", "_failures", "_last", "_policy", "streak")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._failed: deque[bool] = deque(maxlen=policy.window)
        self._failures = 0
        self._last = float("-inf")
        self.streak = 0

    @property
    def ratio(self) -> float | None:
        """The share of failures; None until the window is full."""
        return self._failures / len(self._failed) if len(self._failed) == self._policy.window else None

    def success(self) -> str | None:
        """Add a success; why the circuit is to open, if it is: even a success can be the one that fills the window."""
        failed = self._failed
        full = len(failed) == failed.maxlen
        if full:
            if not self._failures:
                return None  # one more success in place of another
            self._failures -= failed[0]
        self.streak = 0
        failed.append(False)
        return None if full else self._verdict()

    def failure(self, now: float) -> str | None:
        """Add a failure at `now`; why the circuit is to open, if it is."""
        policy = self._policy
        if policy.forget_after is not None and now - self._last > policy.forget_after:
            self.clear()
        self._last = now
        self.streak += 1
        if len(self._failed) == self._failed.maxlen:
            self._failures -= self._failed[0]
        self._failed.append(True)
        self._failures += 1
        if self.streak >= policy.failures_in_a_row:
            return f"{self.streak} failures in a row"
        return self._verdict()

    def clear(self) -> None:
        """Forget everything."""
        self._failed.clear()
        self._failures = self.streak = 0

    def _verdict(self) -> str | None:
        ratio = self.ratio
        if ratio is None or ratio < self._policy.failure_ratio:
            return None
        return f"{self._failures} failures in {len(self._failed)} calls"
