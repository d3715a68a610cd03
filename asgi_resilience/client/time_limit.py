"""The time limit of one attempt: the dependency's own timeout, or what is left of the request's, whichever ends first."""

from asyncio import AbstractEventLoop, CancelledError, TimerHandle, current_task
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from asgi_resilience.client.attempt_timer import AttemptTimer
from asgi_resilience.client.deadline import AttemptTimedOut, DeadlineExceeded
from asgi_resilience.client.own_cancel import OwnCancel

__all__ = ("TimeLimits",)


class TimeLimits:
    """The limits of one dependency's attempts.

    Args:
        name: Of the dependency.
        timeout: Seconds for an attempt; None: as long as the deadline lets it.
    """

    __slots__ = ("_timer", "name", "timeout")

    def __init__(self, name: str, timeout: float | None) -> None:
        self.name = name
        self.timeout = timeout
        self._timer: AttemptTimer | None = None

    def start(
        self, loop: AbstractEventLoop, now: float, deadline: float | None
    ) -> AbstractContextManager[None]:
        """A `with` block for an attempt that begins `now`, and must end before `deadline`."""
        timeout = self.timeout
        if timeout is None or (deadline is not None and deadline < now + timeout):
            return nullcontext() if deadline is None else self._until(deadline, loop)
        task = current_task(loop)
        assert task is not None  # every coroutine that asyncio runs is run by a task
        timer = self._timer
        if timer is None or timer.loop is not loop:  # loops share nothing, not even a timer
            timer = self._timer = AttemptTimer(loop)
        limit = _TimeLimit(task)
        limit.limits = self
        limit.timer = timer
        timer.running[limit] = now + timeout
        if not timer.armed:
            timer.arm(now + timeout)
        return limit

    def _until(self, deadline: float, loop: AbstractEventLoop) -> "_DeadlineLimit":
        task = current_task(loop)
        assert task is not None
        limit = _DeadlineLimit(task)
        limit.limits = self
        limit.handle = loop.call_at(deadline, limit.fire)
        return limit


class _TimeLimit(OwnCancel):
    """A `with` block that is left by an error of its own when its time is over.

    A block that ends on its own, with a value or an error, does so even if its time was over a moment before. So does one
    that somebody else has cancelled.
    """

    __slots__ = ("limits", "timer")

    limits: TimeLimits
    timer: AttemptTimer

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.timer.running.pop(self, None)
        if self.fired:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self.settle() and isinstance(error, CancelledError):
            raise self._expired() from error

    def _expired(self) -> TimeoutError:
        return AttemptTimedOut(self.limits.name, self.limits.timeout or 0.0)


class _DeadlineLimit(_TimeLimit):
    """The same for a deadline, which belongs to one request and has a timer of its own."""

    __slots__ = ("handle",)

    handle: TimerHandle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.handle.cancel()
        if self.fired:
            self._end(error)

    def _expired(self) -> TimeoutError:
        return DeadlineExceeded(self.limits.name)
