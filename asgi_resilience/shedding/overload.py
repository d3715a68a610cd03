"""Whether the event loop itself is behind, and which share of the requests to turn away until it has caught up.

A handler that computes holds the loop; requests then wait unseen, before any layer runs. What shows it is how long a
callback that is ready waits for its turn. A proportional-integral controller keeps that lag at a target, after the PIE
queue management of RFC 8033: the share grows with the distance from the target and with the direction that lag takes.
"""

from math import inf, isfinite
from typing import Final

__all__ = ("LagController",)

_WINDOW: Final = 0.1
"""Seconds that are judged together, by the longest lag: a callback that came late into its turn has waited less."""
_ALPHA, _BETA = 0.5, 1.0
"""What a second of distance from the target, and a second of growth, add to the share after each window."""
_DECAY: Final = 0.9
"""What is left of the share after a window without lag to speak of."""
_NO_LAG: Final = 0.5
"""Of the target: below it the share decays by itself."""
_MOST: Final = 0.95
"""Somebody is always let through: a service that does nothing can't be seen to have recovered."""
_HICCUP: Final = 10
"""Times the target: lag below it may be that of a single call."""
_STALE: Final = 1.0
"""Seconds without a measurement after which the last one is worth nothing."""


class LagController:
    """Finds the share of requests to turn away.

    Args:
        target: Seconds of lag that are fine.

    Attributes:
        share: Of the requests to turn away, 0.0 to 0.95.

    Raises:
        ValueError: The target is not above 0.
    """

    __slots__ = ("_before", "_ends", "_late", "_longest", "_target", "share")

    def __init__(self, target: float) -> None:
        if not (isfinite(target) and target > 0):
            raise ValueError(f"lag_target={target!r}: expected seconds above 0")
        self.share = 0.0
        self._target = target
        self._before = self._longest = 0.0
        self._late = False
        self._ends = -inf

    def forget(self, now: float) -> None:
        """Forget an overload that nobody has measured for a while: the first request after a pause meets none."""
        if now - self._ends > _STALE:
            self.share = self._before = self._longest = 0.0
            self._late = False
            self._ends = now + _WINDOW

    def update(self, lag: float, now: float) -> None:
        """Learn how long a callback has waited that has its turn now."""
        self.forget(now - lag)  # a turn that takes longer than a pause is none
        self._longest = max(self._longest, lag)
        if now < self._ends:
            return
        longest, before = self._longest, self._before
        self._longest, self._ends = 0.0, now + _WINDOW
        once = not (self.share or self._late)
        self._late = longest > self._target
        if (
            self._late and once and longest < _HICCUP * self._target
        ):  # one call that blocks is no overload, and over when it is noticed
            return
        share = self.share + _ALPHA * (longest - self._target) + _BETA * (longest - before)
        if longest < _NO_LAG * self._target:
            share = min(share, self.share) * _DECAY
        self.share = min(_MOST, max(0.0, share))
        self._before = longest
