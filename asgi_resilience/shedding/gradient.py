"""A limit that finds out by itself which latency is too much: by how far the latency is from that of an idle service.

Theory of operation. While requests don't wait for one another, latency does not depend on how many there are. Beyond
that point each further request only waits, and latency grows with the number. The limit is moved towards the
point where the latency of the last window is the best one plus a tolerance:

    gradient = best * (1 + tolerance) / latency          between 0.5 and 1
    limit    = gradient * limit + sqrt(limit)            the root leaves room to find out whether there is more

What is best changes: a cache gets warm, a database grows. Under a standing load it can't be seen any more, so now and
then, and only then, the limit is lowered for a moment and the best latency measured anew.
"""

from math import inf, isfinite, sqrt
from statistics import median
from typing import Final

from asgi_resilience.shedding.limit import check_range

__all__ = ("GradientLimit",)

_STEEPEST: Final = 0.5
_PROBE: Final = 3
"""The limit while the best latency is measured."""
_ENOUGH: Final = 10
"""Samples from which a window tells something."""
_MOST_SAMPLES: Final = 1000


class GradientLimit:
    """Moves the limit by the gradient of latency.

    Args:
        initial: To begin with. Default 20.
        least: Never below, but for the moments of measuring. Default 3.
        most: Never above. Default 1000.
        tolerance: How much longer than the best an answer may take, as a share of it. Default 0.5.
        window: Seconds of answers that are looked at together, by their median. Default 0.1.
        remeasure: Seconds of pressure after which the best latency is measured anew. Default 30.0.

    Raises:
        ValueError: A value is out of its range; it names the option.
    """

    __slots__ = (
        "_best",
        "_least",
        "_limit",
        "_measure_at",
        "_most",
        "_probing_since",
        "_remeasure",
        "_samples",
        "_tolerance",
        "_used",
        "_window",
        "_window_ends",
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
        self._samples: list[float] = []
        self._used = 0
        self._window_ends = -inf
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
            # There is no latency to learn from; and no doubt that there is too much work.
            self._limit = max(float(self._least), self._limit * self._gentlest)
            return
        if self._probing_since is not None and now - latency < self._probing_since:
            return  # it was admitted before, together with many others
        samples = self._samples
        if not samples:
            self._window_ends = max(self._window_ends, now + self._window)
        if len(samples) < _MOST_SAMPLES:
            samples.append(latency)
        self._used = max(self._used, in_flight)
        if now >= self._window_ends and len(samples) >= _ENOUGH:
            self._end_window(now)

    @property
    def _gentlest(self) -> float:
        return 1 - 1 / (10 * max(1.0, sqrt(self._limit)))

    def _end_window(self, now: float) -> None:
        latency, used = median(self._samples), self._used
        self._samples.clear()
        self._used = 0
        self._window_ends = now + self._window
        if self._probing_since is not None:
            self._probing_since = None
            self._best = latency
            return
        self._best = min(self._best, latency)
        if 2 * used < self._limit:  # nobody was held back: that says nothing about the limit
            self._measure_at = inf
            return
        gradient = max(_STEEPEST, min(1.0, self._best * (1 + self._tolerance) / latency))
        limit = gradient * self._limit + sqrt(self._limit)
        self._limit = min(float(self._most), max(float(self._least), limit))
        if self._measure_at == inf:
            self._measure_at = now + self._remeasure
        elif now >= self._measure_at:
            self._measure_at = inf
            self._probing_since = now
