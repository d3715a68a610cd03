"""Percentiles of any number of observations in a few hundred counters, each within 1 % of the true value.

A DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB
2019): bucket `k` holds what is above `gamma ** (k - 1)` and up to `gamma ** k`, with `gamma = (1 + error) / (1 - error)`,
so whatever is in a bucket is at most `error` from its middle, `2 * gamma ** k / (gamma + 1)`. Two sketches are merged by
adding their buckets.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import accumulate
from math import ceil, inf, log
from typing import Final

__all__ = ("RELATIVE_ERROR", "Sketch")

RELATIVE_ERROR: Final = 0.01
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG: Final = 1 / log(_GAMMA)
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

    def add(self, values: Collection[float]) -> None:
        """Add observations."""
        if not values:
            return
        self.count += len(values)
        self.total += sum(values)
        least, most = min(values), max(values)
        self.least, self.most = min(self.least, least), max(self.most, most)
        keys = Counter([ceil(log(value) * _PER_LOG) for value in values if value > _LEAST])
        self._zeros += len(values) - keys.total()
        self._add(keys)

    def merge(self, other: "Sketch") -> None:
        """Add all that `other` holds."""
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self._zeros += other._zeros  # noqa: SLF001 - one of its own kind
        self._add(other._buckets)  # noqa: SLF001 - as above

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

    def _add(self, more: Mapping[int, int]) -> None:
        buckets = self._buckets
        for key, count in more.items():
            buckets[key] = buckets.get(key, 0) + count
        excess = len(buckets) - _MOST_BUCKETS
        if excess > 0:
            *lowest, next_one = sorted(buckets)[: excess + 1]
            buckets[next_one] += sum(map(buckets.pop, lowest))
