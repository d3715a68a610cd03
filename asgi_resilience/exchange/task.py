"""The staged timeout on asyncio: one shared timer, and a cancellation that is taken back."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from math import inf
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from asgi_resilience.alarms import Alarms, Queue
from asgi_resilience.context import ASGIApp
from asgi_resilience.exchange.shield import is_shielded
from asgi_resilience.exchange.stages import ANSWERED, CUT, DONE, GRACE, STREAMING, WAITING, Exchange

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("TaskExchange",)

_SLACK = 0.001
"""Seconds by which silence may be cut short: the shared timer is coarse by as much."""
_NO_QUEUE: Queue = {}
_NO_TIMERS: Sequence[asyncio.TimerHandle] = ()


class TaskExchange(Exchange):
    """On asyncio: expiry cancels the request's own task, as `asyncio.timeout` does, and answers from another."""

    __slots__ = ("_answering", "_armed_for", "_cancelled", "_context", "_loop", "_queue", "_timers")

    _answering: asyncio.Task[None]  # set with ANSWERED
    _cancelled: bool  # set with ANSWERED and CUT
    _timers: Sequence[asyncio.TimerHandle]

    async def run(self, app: ASGIApp) -> None:  # noqa: D102 - as in the base class
        task = self._task
        self._loop = loop = task.get_loop()
        self._context = copy_context()
        self._now = loop.time
        self._timers = _NO_TIMERS
        others = task.cancelling()
        seconds = self._timeouts.response
        if seconds is None:
            self._armed_for, self._queue = inf, _NO_QUEUE
        else:
            now = loop.time()
            self._set_deadline(now + seconds)
            self._armed_for = seconds
            self._queue = Alarms.of(loop).arm(self, seconds, now)
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            # Someone else may want this task to end, too; theirs is the cancellation that goes on.
            if self._stage <= DONE or not self._cancelled or task.uncancel() > others:
                raise
        except Exception as error:
            if self._stage <= DONE:
                raise
            self._take_back(task)
            self._after_deadline(error)
        else:
            if self._stage > DONE:
                self._take_back(task)
        finally:
            self._end()
            self._queue.pop(self, None)
            for timer in self._timers:
                timer.cancel()
        if self._stage == CUT:
            raise self._cut_off() from None
        if self._stage == ANSWERED:
            await asyncio.wait((self._answering,))

    def streams(self) -> None:  # noqa: D102 - as in the base class
        # The alarm of the first stage goes on: when it rings it is soon enough to ask for how long the app was silent.
        # Moving it with every message would cost more than the whole rest. Only a shorter limit needs an earlier one.
        if self._idle is not None and self._idle < self._armed_for:
            self._queue.pop(self, None)
            self._armed_for = self._idle
            self._queue = Alarms.of(self._loop).arm(self, self._idle, self._now())
        if self._timeouts.stream is not None:
            self._timers = [self._loop.call_later(self._timeouts.stream, self._cut, context=self._context)]

    def expire(self) -> None:
        """Called by the shared timer, or by one of its own."""
        if self._stage == WAITING:
            error, headers = self._late_answer(_where(self._task))
            self._answering = self._loop.create_task(self._answer(error, headers), context=self._context)
            self._expired()
        elif self._stage == STREAMING:
            left = self._quiet_left()
            if left <= _SLACK:
                self._cut()
            elif left < inf:
                timer = self._loop.call_later(left, self.expire, context=self._context)
                self._timers = [*(each for each in self._timers if each.when() > self._now()), timer]

    def _cut(self) -> None:
        if self._stage == STREAMING:
            self._stage = CUT
            self._expired()

    def _expired(self) -> None:
        self._cancelled = False
        self._loop.call_later(GRACE, self._count_overrun, context=self._context)
        self.stop()

    def stop(self) -> None:
        """Cancel the handler, once; when it is shielded, as soon as it is not."""
        if self._ended or self._cancelled:
            return
        if is_shielded(self._task):
            self._loop.call_later(GRACE, self.stop, context=self._context)
            return
        self._cancelled = True
        self._task.cancel()

    def _take_back(self, task: "asyncio.Task[None]") -> None:
        if self._cancelled:
            task.uncancel()


def _where(task: "asyncio.Task[None]") -> str:
    """Where the handler is waiting: what one asks first about one that hangs. The innermost frames, as in a traceback."""
    waiting: Any = task.get_coro()
    frames: list[FrameType] = []
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    if not frames:
        return ""
    places = (
        f"{each.f_code.co_name} ({PurePath(each.f_code.co_filename).name}:{each.f_lineno})"
        for each in frames[-3:]
    )
    return f"; the handler was waiting in {' > '.join(places)}"
