"""A limit that finds out by itself which latency is too much: by how far the latency is from that of an idle service.

Theory of operation. While requests don't wait for one another, latency does not depend on how many there are. Beyond
that point each further request only waits, and latency grows with the number. The limit is moved towards the
point where the latency of the last window is the best one plus a tolerance:

    gradient = best * (1 + tolerance) / latency          between 0.5 and 1
    limit    = gradient * limit + sqrt(limit)            the root leaves room to find out whether there is more

Latency is the mean of a window. Where some requests take a hundred times as long as others, the least of many means is
one that had the quick ones by chance, and far from what can be reached; so the best latency follows a lower one slowly.

What is best changes: a cache gets warm, a database grows. Under a standing load it can't be seen any more, so now and
then, and only then, the limit is lowered for a moment and the best latency measured anew.
"""

from math import inf, isfinite, sqrt
from typing import Final

from asgi_resilience.shedding.limit import check_range

__all__ = ("GradientLimit",)

_STEEPEST: Final = 0.5
_PROBE: Final = 3
"""The limit while the best latency is measured."""
_ENOUGH, _FEW = 50, 10
"""Samples from which a window tells something: so many, or in a window that is ten times as long, so few."""
_DROPPED: Final = 0.9
"""What the limit is multiplied with for dropped answers, once a window."""
_SLOWLY: Final = 0.02
"""How far the best latency follows a lower one."""
_FIRST: Final = 5
"""Windows at the beginning of which the best latency is the mean: those who take long have not been answered yet."""
_FAR: Final = 10
"""An answer counts for so many of the best at most: the one that hangs must not decide about all others."""
_AT_MOST: Final = 20
"""A measurement lowers the limit for no more than this part of the time, however long the answers take."""


class GradientLimit:
    """Moves the limit by the gradient of latency.

    Args:
        initial: To begin with. Default 20.
        least: Never below, but for the moments of measuring. Default 3.
        most: Never above. Default 1000.
        tolerance: How much longer than the best an answer may take, as a share of it. Default 0.5.
        window: Seconds of answers that are looked at together, at least. Default 0.1.
        remeasure: Seconds of pressure after which the best latency is measured anew. Default 30.0.

    Raises:
        ValueError: A value is out of its range; it names the option.
    """

    __slots__ = (
        "_best",
        "_count",
        "_least",
        "_limit",
        "_measure_at",
        "_most",
        "_next_drop",
        "_probing_since",
        "_remeasure",
        "_sum",
        "_tolerance",
        "_used",
        "_window",
        "_window_ends",
        "_windows",
    )

    def __init__(
        self,
        *,
        initial: int = 20,
        least: int = 3,
        most: int = 1000,
        tolerance: float = 0.5,
        window: float = 0.1,
        remeasure: float = 30.0,
    ) -> None:
        check_range(least, initial, most)
        for option, value in (("tolerance", tolerance), ("window", window), ("remeasure", remeasure)):
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{option}={value!r}: expected a number above 0")
        self._limit = float(initial)
        self._least, self._most = least, most
        self._tolerance = tolerance
        self._window = window
        self._remeasure = remeasure
        self._best = inf
        self._sum, self._count, self._used = 0.0, 0, 0
        self._windows = 0
        self._window_ends = self._next_drop = -inf
        self._measure_at = inf
        self._probing_since: float | None = None

    @property
    def limit(self) -> int:
        """How many may be worked on at once, now."""
        return min(_PROBE, int(self._limit)) if self._probing_since is not None else int(self._limit)

    @property
    def best(self) -> float:
        """Seconds that an answer takes when nobody waits, as far as is known; infinite before the first window."""
        return self._best

    def sample(self, latency: float, in_flight: int, now: float, *, dropped: bool) -> None:
        """Learn from one answer."""
        if dropped:
            # There is no latency to learn from; and no doubt that there is too much work. Once a window: where something
            # is down that a part of the requests needs, they fail by the hundred, and the others must not suffer for it.
            if now >= self._next_drop:
                self._limit = max(float(self._least), self._limit * _DROPPED)
                self._next_drop = now + self._window
            return
        if self._probing_since is not None and now - latency < self._probing_since:
            return  # it was admitted before, together with many others
        if not self._count:
            self._window_ends = max(self._window_ends, now + self._window)
        self._sum += min(latency, _FAR * self._best) if self._windows >= _FIRST else latency
        self._count += 1
        self._used = max(self._used, in_flight)
        if now >= self._window_ends and (
            self._count >= _ENOUGH or (self._count >= _FEW and now >= self._window_ends + 9 * self._window)
        ):
            self._end_window(now)

    def _end_window(self, now: float) -> None:
        latency, used = self._sum / self._count, self._used
        self._sum, self._count, self._used = 0.0, 0, 0
        self._window_ends = now + self._window
        if self._probing_since is not None:
            self._measure_at = now + max(self._remeasure, _AT_MOST * (now - self._probing_since))
            self._probing_since = None
            self._best = latency
            return
        self._follow(latency)
        if 2 * used < self._limit:  # nobody was held back: that says nothing about the limit
            self._measure_at = inf
            return
        if self._windows <= _FIRST:
            return
        gradient = max(_STEEPEST, min(1.0, self._best * (1 + self._tolerance) / latency))
        limit = gradient * self._limit + sqrt(self._limit)
        self._limit = min(float(self._most), max(float(self._least), limit))
        if self._measure_at == inf:
            self._measure_at = now + self._remeasure
        elif now >= self._measure_at:
            self._probing_since = now

    def _follow(self, latency: float) -> None:
        """Move the best latency towards a lower one; at the beginning, towards any."""
        self._windows += 1
        if self._best == inf:
            self._best = latency
        elif self._windows <= _FIRST:
            self._best += (latency - self._best) / self._windows
        elif latency < self._best:
            self._best += (latency - self._best) * _SLOWLY
