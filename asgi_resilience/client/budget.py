"""The retry budget: how much of a dependency's load may be retries.

When everything fails, retries multiply the load on what is already down. The budget lets through a share of the calls of
the last seconds, plus a floor for services with little traffic; beyond it, an error is final at once and the storm dies
out. The scheme is that of Finagle's `RetryBudget` (20 %, at least 10 a second, over 10 s).
"""

from dataclasses import dataclass
from typing import Final

__all__ = ("BudgetPolicy", "RetryBudget")

_SLICES: Final = 10
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """How many retries a dependency may get.

    Attributes:
        ratio: Retries per call, 0.0 to 1.0; default 0.2.
        floor: Retries per second that are always granted; default 10.0.
        window: Seconds that calls and retries are remembered; default 10.0.

    Raises:
        ValueError: A value is out of its range.
    """

    ratio: float = 0.2
    floor: float = 10.0
    window: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio={self.ratio!r}: expected 0.0 to 1.0 retries per call")
        if not 0 <= self.floor < float("inf"):
            raise ValueError(f"floor={self.floor!r}: expected 0.0 retries per second or more")
        if not 0 < self.window < float("inf"):
            raise ValueError(f"window={self.window!r}: expected more than 0 seconds")


class RetryBudget:
    """Counts the calls and retries of the last `window` seconds, in ten slices that expire one by one."""

    __slots__ = ("_calls", "_current", "_policy", "_retries", "_slice", "_slice_ends")

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._slice = policy.window / _SLICES
        self._slice_ends = float("-inf")
        self._current = 0
        self._calls = [0] * _SLICES
        self._retries = [0] * _SLICES

    def deposit(self, now: float) -> None:
        """Count a call that was made; `now` is on any monotonic clock, the same at every use."""
        if now >= self._slice_ends:
            self._advance(now)
        self._calls[self._current] += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry, if the budget has one left."""
        if self.balance(now) < 1 - _ROUNDING:
            return False
        self._retries[self._current] += 1
        return True

    def balance(self, now: float) -> float:
        """Retries left."""
        if now >= self._slice_ends:
            self._advance(now)
        policy = self._policy
        return policy.ratio * sum(self._calls) + policy.floor * policy.window - sum(self._retries)

    def _advance(self, now: float) -> None:
        if now - self._slice_ends >= self._policy.window:
            self._calls = [0] * _SLICES
            self._retries = [0] * _SLICES
            self._slice_ends = now + self._slice
            return
        while now >= self._slice_ends:
            self._slice_ends += self._slice
            self._current = (self._current + 1) % _SLICES
            self._calls[self._current] = self._retries[self._current] = 0
