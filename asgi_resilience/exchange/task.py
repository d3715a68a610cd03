"""The staged timeout on asyncio: one shared timer, and a cancellation that is taken back."""

import asyncio
from contextvars import copy_context
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from asgi_resilience.alarms import Alarms
from asgi_resilience.context import ASGIApp
from asgi_resilience.exchange.shield import is_shielded
from asgi_resilience.exchange.stages import ANSWERED, CUT, GRACE, STREAMING, WAITING, Exchange

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("TaskExchange",)


class TaskExchange(Exchange):
    """On asyncio: expiry cancels the request's own task, as `asyncio.timeout` does, and answers from another."""

    __slots__ = (
        "_alarms",
        "_answering",
        "_armed",
        "_cancelled",
        "_context",
        "_loop",
        "_stream_timer",
        "_task",
    )

    async def run(self, app: ASGIApp) -> None:  # noqa: D102 - as in the base class
        loop = asyncio.get_running_loop()
        task = cast("asyncio.Task[None]", asyncio.current_task(loop))
        self._enter(loop, task)
        others = task.cancelling()
        if self._timeouts.response is not None:
            self._set_deadline(loop.time() + self._timeouts.response)
            self.arm(self._timeouts.response)
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            # Someone else may want this task to end, too; theirs is the cancellation that goes on.
            if not self._cancelled or task.uncancel() > others:
                raise
        except Exception as error:
            if self._stage < ANSWERED:
                raise
            self._take_back(task)
            self._after_deadline(error)
        else:
            self._take_back(task)
        finally:
            self._end()
            self.disarm()
            if self._stream_timer is not None:
                self._stream_timer.cancel()
        if self._stage == CUT:
            raise self._cut_off() from None
        if self._answering is not None:
            await asyncio.wait((self._answering,))

    def _enter(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
        self._loop = loop
        self._task = task
        self._alarms = Alarms.of(loop)
        self._armed: float | None = None
        self._answering: asyncio.Task[None] | None = None
        self._stream_timer: asyncio.TimerHandle | None = None
        self._cancelled = False
        self._context = copy_context()

    def arm(self, seconds: float | None) -> None:  # noqa: D102 - as in the base class
        if seconds is not None:
            self._armed = seconds
            self._alarms.arm(self, seconds, self._loop.time())

    def disarm(self) -> None:  # noqa: D102 - as in the base class
        if self._armed is not None:
            self._alarms.disarm(self, self._armed)
            self._armed = None

    def limit_stream(self, seconds: float) -> None:  # noqa: D102 - as in the base class
        self._stream_timer = self._loop.call_later(seconds, self._cut)

    def expire(self) -> None:
        """Called by the shared timer."""
        self._armed = None
        if self._stage == WAITING:
            error, headers = self._late_answer(_where(self._task))
            self._answering = self._loop.create_task(self._answer(error, headers), context=self._context)
            self._expired()
        elif not self._tolerates_silence():
            self._cut()

    def _cut(self) -> None:
        if self._stage == STREAMING:
            self._stage = CUT
            self._expired()

    def _expired(self) -> None:
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
    """Where the innermost coroutine of a task is waiting: what one asks first about a handler that hangs."""
    waiting: Any = task.get_coro()
    frame: FrameType | None = None
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None) or frame
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    if frame is None:
        return ""
    code = frame.f_code
    return f"; the handler was waiting in {code.co_qualname} ({PurePath(code.co_filename).name}:{frame.f_lineno})"
