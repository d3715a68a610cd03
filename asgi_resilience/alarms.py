"""One shared timer per event loop for all requests, because a timer per request costs more than a layer.

Requests of one timeout expire in the order in which they were armed, so a dict, which keeps that order, is the whole
queue: arming is one insertion, disarming one removal, and only the oldest entry of a queue is ever looked at.
The loop holds at most one real timer, set to the oldest entry of all. It is not moved when that entry is disarmed; it
finds a later one when it fires. So a busy service wakes about once per timeout, and an idle one never.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Protocol
from weakref import WeakKeyDictionary, ref

__all__ = ("Alarms", "Expiring", "Queue")

_SLACK = 0.001
"""Seconds by which an entry may expire early: uvloop counts in whole milliseconds, and would spin on the rest."""


class Expiring(Protocol):
    """What can be armed; told by identity, so it must not define `__eq__`."""

    def expire(self) -> None:
        """Its time has come. It is no longer armed; it may arm itself again. Must not raise."""


Queue = dict[Expiring, float]
"""Entries of one duration, with the time at which each expires; the oldest first."""


class Alarms:
    """Tells entries that they were not disarmed in time; for one asyncio event loop, used from its thread only."""

    __slots__ = ("__weakref__", "_queues", "_timer", "_wakes_at")

    def __init__(self) -> None:
        self._queues: dict[float, Queue] = {}
        # Weak, because the handle holds the loop, and `_of_loop` must not.
        self._timer: ref[asyncio.TimerHandle] | None = None
        self._wakes_at = inf

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> "Alarms":
        """The alarms of an event loop; made at the first call."""
        global _latest  # noqa: PLW0603 - almost every process has one loop: what was found last is what is sought
        found, alarms = _latest
        if found() is not loop:
            alarms = _of_loop.get(loop) or Alarms()
            _of_loop[loop] = alarms
            _latest = ref(loop), alarms
        return alarms

    def arm(self, entry: Expiring, seconds: float, now: float) -> Queue:
        """Call `entry.expire()` at `now + seconds` on the running loop's clock, unless it leaves the queue before.

        Returns the queue that it stands in; `queue.pop(entry, None)` disarms it. An entry stands in one queue at most.
        """
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = {}
        when = queue[entry] = now + seconds
        if when < self._wakes_at:
            self._wake_at(when)
        return queue

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def _wake_at(self, when: float) -> None:
        timer = None if self._timer is None else self._timer()
        if timer is not None:
            timer.cancel()
        self._wakes_at = when
        # An empty context: the timer outlives the request that happens to set it, and must not keep its variables.
        self._timer = ref(asyncio.get_running_loop().call_at(when, self._ring, context=Context()))

    def _ring(self) -> None:
        self._timer, self._wakes_at = None, inf
        now = asyncio.get_running_loop().time() + _SLACK
        for seconds, queue in list(self._queues.items()):
            for entry, when in _due(queue, now):
                if queue.pop(entry, None) == when:
                    entry.expire()
            oldest = next(iter(queue.values()), None)
            if oldest is None:
                self._queues.pop(seconds, None)
            elif oldest < self._wakes_at:
                self._wake_at(oldest)


def _due(queue: Queue, now: float) -> list[tuple[Expiring, float]]:
    due: list[tuple[Expiring, float]] = []
    for entry, when in queue.items():
        if when > now:
            break
        due.append((entry, when))
    return due


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Alarms] = WeakKeyDictionary()
_latest: tuple[Callable[[], asyncio.AbstractEventLoop | None], Alarms] = (lambda: None, Alarms())
