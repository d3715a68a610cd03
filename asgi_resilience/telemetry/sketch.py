"""Percentiles of any number of observations in a few hundred counters, each within 1 % of the true value.

A DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB
2019): bucket `k` holds what is above `gamma ** (k - 1)` and up to `gamma ** k`, with `gamma = (1 + error) / (1 - error)`,
so whatever is in a bucket is at most `error` from its middle, `2 * gamma ** k / (gamma + 1)`. Two sketches are merged by
adding their buckets.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from math import ceil, inf, log
from typing import Final

__all__ = ("RELATIVE_ERROR", "Sketch")

RELATIVE_ERROR: Final = 0.01
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA: Final = log(_GAMMA)
_LEAST: Final = 1e-9
"""What is below counts as 0: in milliseconds that is a picosecond. Negative numbers, too: durations have none."""
_MOST_BUCKETS: Final = 2048
"""From `_LEAST` to 10⁹, eleven days in milliseconds, there are 2,073; beyond that the lowest are joined."""


class Sketch:
    """The distribution of what was added.

    Attributes:
        count: How many observations there are.
        total: Their sum.
        least: The smallest, infinity without any.
        most: The largest, minus infinity without any.
    """

    __slots__ = ("_buckets", "_zeros", "count", "least", "most", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least, self.most = inf, -inf
        self._zeros = 0
        self._buckets: dict[int, int] = {}

    def add(self, values: Iterable[float]) -> None:
        """Add observations: sorted once, so that a bucket costs something, and not each of them."""
        ordered = sorted(values)
        if not ordered:
            return
        self.count += len(ordered)
        self.total += sum(ordered)
        self.least, self.most = min(self.least, ordered[0]), max(self.most, ordered[-1])
        at = bisect_right(ordered, _LEAST)
        self._zeros += at
        buckets = self._buckets
        while at < len(ordered):
            key = ceil(log(ordered[at]) / _LOG_GAMMA)
            after = max(at + 1, bisect_right(ordered, _GAMMA**key, at))
            buckets[key] = buckets.get(key, 0) + after - at
            at = after
        self._bound()

    def merge(self, other: "Sketch") -> None:
        """Add all that `other` holds."""
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self._zeros += other._zeros  # noqa: SLF001 - one of its own kind
        for key, count in other._buckets.items():  # noqa: SLF001 - as above
            self._buckets[key] = self._buckets.get(key, 0) + count
        self._bound()

    def quantile(self, share: float) -> float:
        """The value that `share` of the observations don't exceed, within 1 %; 0.0 without any.

        Args:
            share: From 0 to 1; 0.5 is the median.
        """
        rank = share * (self.count - 1)
        if not self.count or rank < self._zeros:
            return 0.0
        keys = sorted(self._buckets)
        passed = accumulate((self._buckets[key] for key in keys), initial=self._zeros)
        next(passed)
        key = next(key for key, count in zip(keys, passed, strict=True) if count > rank)
        middle = 2 * _GAMMA**key / (_GAMMA + 1)
        return min(max(middle, self.least), self.most)

    def _bound(self) -> None:
        buckets = self._buckets
        excess = len(buckets) - _MOST_BUCKETS
        if excess > 0:
            *lowest, next_one = sorted(buckets)[: excess + 1]
            buckets[next_one] += sum(map(buckets.pop, lowest))
