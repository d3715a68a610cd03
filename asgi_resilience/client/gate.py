"""The gate: when a dependency asks for a pause, every caller of it waits, not just the one that was told.

The first caller that gets `Retry-After` closes the gate. Later calls queue in front of it, leave spread out once the time
is over, and are refused at once when the queue is full or they can't wait that long.
"""

from collections.abc import Callable
from random import random
from typing import Final

from asgi_resilience.client.sleepers import Sleepers

__all__ = ("Gate", "RateLimited")

_LONGEST: Final = 3600.0
"""However long a server asks for, look again after an hour: it may have been a mistake."""


class RateLimited(Exception):
    """The dependency asked for a pause that this call can't wait for. Nothing was sent.

    Attributes:
        dependency: The name.
        retry_after: Seconds until the pause is over.
    """

    def __init__(self, dependency: str, retry_after: float) -> None:
        self.args = (dependency, retry_after)
        self.dependency = dependency
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.dependency}: asked to be left alone for another {self.retry_after:.3g} s"


class Gate:
    """Holds back the callers of one dependency.

    Args:
        name: Of the dependency.
        sleepers: Where those who wait are registered.
        jitter: They leave between the end of the pause and this share of it later.
        max_waiting: More than that are refused.
        rnd: The source of randomness, 0.0 to 1.0.

    Attributes:
        closed_until: On the event loop's clock; in the past while the gate is open.
    """

    __slots__ = (
        "_jitter",
        "_max_waiting",
        "_name",
        "_pause",
        "_rnd",
        "_sleepers",
        "_waiting",
        "closed_until",
    )

    def __init__(
        self,
        name: str,
        sleepers: Sleepers,
        *,
        jitter: float = 0.25,
        max_waiting: int = 1000,
        rnd: Callable[[], float] = random,
    ) -> None:
        self._name = name
        self._sleepers = sleepers
        self._jitter = jitter
        self._max_waiting = max_waiting
        self._rnd = rnd
        self._waiting = 0
        self._pause = 0.0
        self.closed_until = float("-inf")

    @property
    def waiting(self) -> int:
        """How many calls queue."""
        return self._waiting

    def close(self, seconds: float, now: float) -> bool:
        """Keep everybody out for `seconds` from `now`; False when it is already closed for longer."""
        seconds = min(seconds, _LONGEST)
        until = now + seconds
        if until <= self.closed_until or until <= now:
            return False
        self.closed_until, self._pause = until, seconds
        return True

    async def wait(self, now: float, deadline: float | None, clock: Callable[[], float]) -> float:
        """Return the time when the gate is open and it is this caller's turn.

        Raises:
            RateLimited: It won't be open by `deadline`, too many wait already, or the process shuts down.
        """
        while now < self.closed_until:
            left = self.closed_until - now
            late = deadline is not None and self.closed_until >= deadline
            if late or self._waiting >= self._max_waiting:
                raise RateLimited(self._name, left)
            spread = self._pause * self._jitter * self._rnd()
            if deadline is not None:
                spread = min(spread, (deadline - self.closed_until) / 2)
            self._waiting += 1
            try:
                woken = not await self._sleepers.sleep(left + spread)
            finally:
                self._waiting -= 1
            now = clock()
            if woken:
                raise RateLimited(self._name, max(0.0, self.closed_until - now))
        return now
