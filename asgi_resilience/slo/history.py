"""Counts by time, in bounded memory: a ring of buckets of equal width."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

__all__ = ("Counts", "History", "number")

_ROW: Final = 4
_MOST: Final = 1 << 53


class Counts(NamedTuple):
    """What happened in some minutes.

    Attributes:
        requests: How many requests came.
        failed: How many of them failed, or were slow.
        down: Minutes, each with the share of its requests that failed.
    """

    requests: float = 0.0
    failed: float = 0.0
    down: float = 0.0


class History:
    """The latest buckets. Times are minutes since 1970.

    Args:
        width: Minutes of a bucket.
        size: How many buckets there are; the latest may not be over yet.
    """

    __slots__ = ("_columns", "_latest", "_size", "width")

    def __init__(self, width: int, size: int) -> None:
        self.width = width
        self._size = size
        self._columns = tuple(array("d", bytes(8 * size)) for _ in Counts._fields)
        self._latest = -1

    @property
    def since(self) -> int:
        """The first minute that is still remembered."""
        return (self._latest - self._size + 1) * self.width

    def advance(self, minute: int) -> None:
        """Make the bucket of `minute` the latest, and forget those that are too old then."""
        bucket = minute // self.width
        for stale in range(max(self._latest + 1, bucket - self._size + 1), bucket + 1):
            for column in self._columns:
                column[stale % self._size] = 0.0
        self._latest = max(self._latest, bucket)

    def add(self, minute: int, counts: Counts) -> None:
        """Add to the bucket of `minute`; what is too old already is not kept."""
        self.advance(minute)
        bucket = minute // self.width
        if bucket > self._latest - self._size:
            for column, count in zip(self._columns, counts, strict=True):
                column[bucket % self._size] += count

    def latest(self, buckets: int | None = None) -> Counts:
        """The sum of that many latest buckets, by default of all."""
        if buckets is None:
            return Counts(*(sum(column) for column in self._columns))
        end = self._latest % self._size + 1
        begin = max(0, end - buckets)
        wrapped = self._size - (
            buckets - (end - begin)
        )  # the oldest of them may stand at the end of the ring
        return Counts(*(sum(each[begin:end]) + sum(each[wrapped:]) for each in self._columns))

    def rows(self) -> Iterator[list[float]]:
        """The buckets that hold something, oldest first: their first minute, and the counts."""
        for bucket in range(max(0, self._latest - self._size + 1), self._latest + 1):
            counts = [column[bucket % self._size] for column in self._columns]
            if any(counts):
                yield [bucket * self.width, *counts]

    def restore(self, rows: Any, until: int) -> None:
        """Add what `rows` has told.

        Raises:
            ValueError: It is not what `rows` makes, or is later than the minute `until`.
        """
        if not isinstance(rows, list):
            raise ValueError("expected rows")  # noqa: TRY004 - as every other flaw of a state
        for row in cast("Sequence[Any]", rows):
            if not isinstance(row, list) or len(cast("Sequence[Any]", row)) != _ROW:
                raise ValueError("expected rows of four numbers")
            minute, requests, failed, down = _numbers(cast("Sequence[Any]", row))
            if minute > until or minute % 1 or failed > requests or down > self.width:
                raise ValueError("a row can't be true")
            self.add(int(minute), Counts(requests, failed, down))


def number(value: Any) -> float:
    """A count.

    Raises:
        ValueError: It is none: no number, negative, or beyond what a float counts one by one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise ValueError("expected a number, 0 or more")
    return float(value)


def _numbers(row: Iterable[Any]) -> list[float]:
    return [number(each) for each in row]
