"""The gate in front of the application: so many are let in at once, the others wait a moment, the rest is turned away.

How long one may wait follows CoDel: a queue that was empty a moment ago is a burst, which is worth waiting for; one that
has been standing for longer than that is an overload, in which waiting only makes everybody late. Then the wait is short,
and the newest goes first: the client of the oldest has most likely given up.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from asgi_resilience.shedding.limit import ConcurrencyLimit
from asgi_resilience.shedding.waiter import Waiter

__all__ = ("PRIORITIES", "Gate", "Priority")

Priority: TypeAlias = Literal["critical", "normal", "sheddable"]

PRIORITIES: Final[dict[Priority, float]] = {"critical": 1.25, "normal": 1.0, "sheddable": 0.75}
"""Which share of the limit each may fill, the most important first. What is above 1 is kept free for it."""
_STANDING: Final = 20
"""A wait in a standing queue is so many times shorter."""


class Gate:
    """Counts who is in, and keeps those who wait. For one event loop.

    Args:
        limit: How many may be in.
        queue: How many may wait. 0: nobody waits.
        longest: Seconds that one may wait in a burst.
        clock: Seconds, monotonic.

    Attributes:
        in_flight: How many are in.
        waiting: How many wait.
    """

    __slots__ = ("_clock", "_empty_at", "_limit", "_longest", "_queue", "_waiters", "in_flight", "waiting")

    def __init__(
        self, limit: ConcurrencyLimit, *, queue: int, longest: float, clock: Callable[[], float]
    ) -> None:
        self.in_flight = self.waiting = 0
        self._limit = limit
        self._queue = queue
        self._longest = longest
        self._clock = clock
        self._waiters: dict[Priority, deque[Waiter]] = {each: deque() for each in PRIORITIES}
        self._empty_at = clock()

    def enter(self, priority: Priority) -> bool:
        """Let one in, if there is room now and nobody as important waits."""
        if self.in_flight >= self._limit.limit * PRIORITIES[priority]:
            return False
        if self.waiting and self._outranked(priority):
            return False
        self.in_flight += 1
        return True

    async def wait(self, priority: Priority) -> bool:
        """Wait for room; whether there was some in time."""
        if self.waiting >= self._queue and not self._displace(priority):
            return False
        now = self._clock()
        if not self.waiting:
            self._empty_at = now
        standing = now - self._empty_at > self._longest
        waiter, waiters = Waiter(), self._waiters[priority]
        waiters.append(waiter)
        self.waiting += 1
        try:
            await waiter.wait(self._longest / _STANDING if standing else self._longest)
        except BaseException:
            if waiter.admitted:  # called and cancelled at once: the place is somebody else's
                self.leave()
            raise
        finally:
            if not waiter.called:
                waiters.remove(waiter)
                self.waiting -= 1
        return waiter.admitted

    def leave(self) -> None:
        """One has left; call those in who wait, as far as there is room."""
        self.in_flight -= 1
        if self.waiting:
            self._call_in()

    def _call_in(self) -> None:
        standing = self._clock() - self._empty_at > self._longest
        for priority, waiters in self._waiters.items():
            while waiters and self.in_flight < self._limit.limit * PRIORITIES[priority]:
                waiter = waiters.pop() if standing else waiters.popleft()
                self.in_flight += 1
                self.waiting -= 1
                waiter.call(admitted=True)

    def _outranked(self, priority: Priority) -> bool:
        rank = PRIORITIES[priority]
        return any(waiters and PRIORITIES[each] >= rank for each, waiters in self._waiters.items())

    def _displace(self, priority: Priority) -> bool:
        """Send away one who waits and is less important; whether there was one."""
        for each, waiters in reversed(self._waiters.items()):
            if waiters and PRIORITIES[each] < PRIORITIES[priority]:
                waiters.pop().call(admitted=False)
                self.waiting -= 1
                return True
        return False
