"""How many requests may be worked on at once: the protocol, a fixed number, and one that is moved by a latency target."""

from math import inf, isfinite
from typing import Protocol

__all__ = ("AIMDLimit", "ConcurrencyLimit", "FixedLimit", "check_range")


class ConcurrencyLimit(Protocol):
    """A limit that may move with what it is told. It is asked for every request: it must be quick."""

    @property
    def limit(self) -> int:
        """How many may be worked on at once, now; at least 1."""
        ...

    def sample(self, latency: float, in_flight: int, now: float, *, dropped: bool) -> None:
        """A request was answered.

        Args:
            latency: Seconds that the application worked on it, without the time that it waited before.
            in_flight: How many were being worked on, this one included.
            now: Seconds, monotonic.
            dropped: It ran into a timeout, or something behind the application was overloaded.
        """
        ...


class FixedLimit:
    """So many, whatever happens: for a service whose capacity is known, as by the size of its connection pool.

    Args:
        limit: At least 1.

    Raises:
        ValueError: It is less.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit={limit!r}: expected 1 or more")
        self.limit = limit

    def sample(self, latency: float, in_flight: int, now: float, *, dropped: bool) -> None:
        """Learn nothing."""


class AIMDLimit:
    """Additive increase, multiplicative decrease, as TCP does it: for a service that knows which latency is too much.

    Every answer within the target adds `1 / limit` while the limit is in use, so the limit grows by one with each full
    round of requests. An answer beyond it, or a dropped one, takes a tenth away, at most once per target: the answers of
    requests that were admitted together tell of one and the same overload.

    Args:
        target: Seconds; an answer that takes longer says that there is too much work.
        initial: To begin with. Default 20.
        least: Never below. Default 1.
        most: Never above. Default 1000.
        decrease: What the limit is multiplied with. Default 0.9.

    Raises:
        ValueError: A value is out of its range; it names the option.
    """

    __slots__ = ("_decrease", "_least", "_limit", "_most", "_quiet_until", "_target")

    def __init__(
        self,
        target: float,
        *,
        initial: int = 20,
        least: int = 1,
        most: int = 1000,
        decrease: float = 0.9,
    ) -> None:
        if not (isfinite(target) and target > 0):
            raise ValueError(f"target={target!r}: expected seconds above 0")
        check_range(least, initial, most)
        if not 0 < decrease < 1:
            raise ValueError(f"decrease={decrease!r}: expected between 0 and 1")
        self._target = target
        self._limit = float(initial)
        self._least, self._most = least, most
        self._decrease = decrease
        self._quiet_until = -inf

    @property
    def limit(self) -> int:
        """How many may be worked on at once, now."""
        return int(self._limit)

    def sample(self, latency: float, in_flight: int, now: float, *, dropped: bool) -> None:
        """Learn from one answer."""
        if dropped or latency > self._target:
            if now >= self._quiet_until:
                self._limit = max(float(self._least), self._limit * self._decrease)
                self._quiet_until = now + self._target
        elif 2 * in_flight >= self._limit:  # a limit that is not in use learns nothing from short latencies
            self._limit = min(float(self._most), self._limit + 1 / self._limit)


def check_range(least: int, initial: int, most: int) -> None:
    """Check the three options that limits have in common.

    Raises:
        ValueError: They are not 1 ≤ least ≤ initial ≤ most.
    """
    if least < 1:
        raise ValueError(f"least={least!r}: expected 1 or more")
    if most < least:
        raise ValueError(f"most={most!r}: expected {least} or more, as least says")
    if not least <= initial <= most:
        raise ValueError(f"initial={initial!r}: expected {least} to {most}")
