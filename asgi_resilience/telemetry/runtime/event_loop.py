"""How late the event loop comes to its timers, and how many tasks it has.

A loop that is busy, or blocked by a call that should have been awaited, comes late to everything. A timer every half second
sees that at the cost of two callbacks a second: a block is noticed when it covers the time of a timer, so one of 250 ms every
other time. What is measured is not changed by it: the loop sleeps between two timers.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from time import perf_counter
from typing import Any, Final

from asgi_resilience.metric_names import (
    RUNTIME_LOOP_LAG_MAX,
    RUNTIME_LOOP_LAG_P50,
    RUNTIME_LOOP_LAG_P99,
    RUNTIME_TASKS,
)
from asgi_resilience.telemetry.runtime.probes import Reading

__all__ = ("LoopLag", "tasks")

_MOST: Final = 1200
"""Latenesses that are kept when nobody asks for them: those of ten minutes."""


class LoopLag:
    """Watches the event loop that it is first asked on; on another one, as after a fork, it begins anew.

    Args:
        interval: Seconds between two timers.
        clock: Seconds, monotonic. Not the loop's own: that of uvloop stands still while callbacks run.
    """

    def __init__(self, *, interval: float = 0.5, clock: Callable[[], float] = perf_counter) -> None:
        self._interval = interval
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late: deque[float] = deque(maxlen=_MOST)

    def __call__(self) -> Iterator[Reading]:
        """The lateness since the last time, in milliseconds; nothing at first, and nothing on trio."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop:
            self.close()
            self._loop = loop
            self._arm(loop)
        late = sorted(self._late)
        self._late.clear()
        if late:
            yield Reading(RUNTIME_LOOP_LAG_P50, 1000 * late[len(late) // 2])
            yield Reading(RUNTIME_LOOP_LAG_P99, 1000 * late[len(late) * 99 // 100])
            yield Reading(RUNTIME_LOOP_LAG_MAX, 1000 * late[-1])

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None
        self._late.clear()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due = self._clock() + self._interval
        self._timer = loop.call_later(self._interval, self._ring, loop, due, context=Context())

    def _ring(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._late.append(max(0.0, self._clock() - due))  # a timer of uvloop may be a millisecond early
        self._arm(loop)


def tasks() -> Iterator[Reading]:
    """The tasks of the running event loop that are not done."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        yield Reading(RUNTIME_TASKS, trio.lowlevel.current_statistics().tasks_living)
    else:
        yield Reading(RUNTIME_TASKS, len(asyncio.all_tasks()))
