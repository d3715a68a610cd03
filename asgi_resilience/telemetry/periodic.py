"""Runs functions at an interval on an event loop, without ever holding that loop, its end or the process up.

There is no task that would have to be cancelled, but one timer at a time: what is left of it dies with its loop. One loop
drives all functions; when it has ended, the next one that calls `start` takes over. On trio, which has no timers, a
system task sleeps; those end with the run.
"""

import asyncio
import atexit
import os
import sys
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from math import inf
from threading import Lock
from typing import Any, Final
from weakref import WeakSet, ref

from asgi_resilience.context import report_failure
from asgi_resilience.process_life import starts_anew, when_child_ends

__all__ = ("Periodic",)

_SLACK: Final = 0.001  # seconds; uvloop counts in whole milliseconds


@dataclass(slots=True, eq=False)
class _Duty:
    """A function, and when it is due on the clock of the loop that drives it; `inf`: that is still to be said."""

    run: Callable[[], object]
    seconds: float
    at_end: Callable[[], object] | None
    due: float = inf


class Periodic:
    """Functions that run again and again.

    `start` may be called often, on any loop and thread, and after a fork: it does something only when nobody drives.
    """

    def __init__(self) -> None:
        self._duties: list[_Duty] = []
        self._begin()
        starts_anew(self)
        _all.add(self)

    def _begin(self) -> None:
        self._lock = Lock()
        self._loop: _Loop | None = None
        self._turn = object()  # the timer that holds it is the current one; older timers ring in vain

    def every(
        self, seconds: float, run: Callable[[], object], *, at_end: Callable[[], object] | None = None
    ) -> Callable[[], None]:
        """Call `run` on the event loop each `seconds`; the first time when as many have passed.

        It must not block. What it raises is counted and reported once.

        Args:
            seconds: Between two calls.
            run: The function.
            at_end: Called at the end of the process, in whichever thread that is; it may block.

        Returns:
            A function that ends this.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        if not 0 < seconds < inf:
            raise ValueError(f"seconds={seconds!r}: expected seconds above 0")
        duty = _Duty(run, seconds, at_end)
        self._duties.append(duty)
        loop = self._loop
        if loop is not None and loop.here():
            self._arm(loop)  # else it is seen when the timer rings that is set

        def stop() -> None:
            if duty in self._duties:
                self._duties.remove(duty)

        return stop

    def start(self) -> None:
        """Have the running event loop do the work unless another does; without a loop nothing happens."""
        loop = self._loop
        if not self._duties or (loop is not None and loop.runs()):
            return
        with self._lock:
            if self._loop is loop:
                self._loop = found = _running()
                if found is not None:
                    for duty in self._duties:
                        duty.due = inf
                    self._arm(found)
        _end_with_child()

    def end(self) -> None:
        """Call what is to be called at the end. The interval goes on as before."""
        for duty in tuple(self._duties):
            if duty.at_end is not None:
                _call(duty.at_end)

    def after_fork(self) -> None:
        """A child has no loop yet."""
        self._begin()

    def _arm(self, loop: "_Loop") -> None:
        now, soonest = loop.now(), inf
        for duty in self._duties:
            if duty.due == inf:
                duty.due = now + duty.seconds
            soonest = min(soonest, duty.due)
        self._turn = turn = object()
        if soonest < inf:
            loop.call_at(soonest, self._ring, loop, turn)
        else:
            self._loop = None  # with nothing to do, it would not be known when this loop ends

    def _ring(self, loop: "_Loop", turn: object) -> None:
        if turn is not self._turn:
            return
        now = loop.now()
        for duty in tuple(self._duties):
            if duty.due <= now + _SLACK:
                duty.due = now + duty.seconds
                _call(duty.run)
        self._arm(loop)


def _call(run: Callable[[], object]) -> None:
    try:
        run()
    except Exception as error:  # noqa: BLE001 - the other functions, and the loop, go on
        report_failure(run, error)


# ------------------------------------------------------------------------------------------------------ event loops


class _AsyncioLoop:
    """Known weakly: a closed loop must not live on here."""

    def __init__(self) -> None:
        self._loop = ref(asyncio.get_running_loop())

    def runs(self) -> bool:
        loop = self._loop()
        return loop is not None and loop.is_running()

    def here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop()
        except RuntimeError:
            return False

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, ring: Callable[..., None], *arguments: object) -> None:
        # An empty context: the timer outlives the request that happens to set it, and must not keep its variables.
        asyncio.get_running_loop().call_at(when, ring, *arguments, context=Context())


class _TrioRun:
    """A run of trio; system tasks are what it has for timers."""

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._ended = False
        self.now: Callable[[], float] = trio.current_time

    def runs(self) -> bool:
        return not self._ended

    def here(self) -> bool:
        in_run: bool = self._trio.lowlevel.in_trio_run()
        return in_run and self._trio.lowlevel.current_trio_token() is self._token

    def call_at(self, when: float, ring: Callable[..., None], *arguments: object) -> None:
        async def wait() -> None:
            try:
                await self._trio.sleep_until(when)
            except BaseException:  # the run ends, and cancels its system tasks
                self._ended = True
                raise
            ring(*arguments)

        self._trio.lowlevel.spawn_system_task(wait, context=Context())


_Loop = _AsyncioLoop | _TrioRun


def _running() -> _Loop | None:
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return _TrioRun(trio)
    try:
        return _AsyncioLoop()
    except RuntimeError:
        return None


# ------------------------------------------------------------------------------------------- the end of the process

_all: Final[WeakSet[Periodic]] = WeakSet()


def _end_all() -> None:
    for each in tuple(_all):
        each.end()


def _end_with_child() -> None:
    if os.getpid() not in _registered:
        _registered.add(os.getpid())
        when_child_ends(_end_all)


_registered: Final[set[int]] = set()
atexit.register(_end_all)
