"""Holds SIGTERM back for a while: the time in which load balancers learn that they must look elsewhere.

A server closes its port as soon as it is told to end. Whoever still sends requests then gets none of them answered, so
they have to be told first, and the server has to go on until they have listened.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from contextvars import Context
from types import FrameType
from typing import Final

__all__ = ("DrainPhase",)

_logger: Final = logging.getLogger("asgi_resilience.health")


class DrainPhase:
    """Stands before the server's handler of SIGTERM: `begin()` first, and what the server does about it later.

    A second SIGTERM is handed on at once, and other signals are none of its business. It needs asyncio, and a server that
    has its handler from `signal.signal`, as uvicorn does, alone and as a worker of gunicorn.

    Args:
        seconds: For which the signal is held back, 0 or more; with 0 nothing is installed.
        begin: Called when SIGTERM comes.

    Raises:
        ValueError: `seconds` is out of range.
    """

    def __init__(self, seconds: float, begin: Callable[[], None]) -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"drain_seconds={seconds!r}: expected seconds, 0 or more")
        self._seconds = seconds
        self._begin = begin
        self._before: Callable[[int, FrameType | None], object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handler = self._on_signal  # one object: a bound method is a new one each time

    def install(self) -> None:
        """Take the signal over; called when the server has installed its handler, and the loop runs.

        Nothing happens in threads, where signals can't be had; where nobody handles the signal; and where another drain
        phase stands already.
        """
        if not self._seconds or threading.current_thread() is not threading.main_thread():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            return
        before = signal.getsignal(signal.SIGTERM)
        owner = getattr(before, "__self__", None)
        if not callable(before) or isinstance(owner, DrainPhase):
            return
        self._before, self._loop = before, loop
        signal.signal(signal.SIGTERM, self._handler)

    def remove(self) -> None:
        """Give the signal back, unless somebody else has it by now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._before is not None and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, self._before)
        self._loop = None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # The task that the signal happens to interrupt is somebody's: nothing is done here, and nothing in its context.
        if self._loop is None or self._loop.is_closed():
            self._hand_on()
        else:
            self._loop.call_soon_threadsafe(self._hold_back, context=Context())

    def _hold_back(self) -> None:
        if self._loop is None:  # given back since
            signal.raise_signal(signal.SIGTERM)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._hand_on()
            return
        _logger.info("SIGTERM: not ready any more, and served on for %g s", self._seconds)
        self._timer = self._loop.call_later(self._seconds, self._hand_on, context=Context())
        self._begin()

    def _hand_on(self) -> None:
        assert self._before is not None  # nobody gets here without `install`
        self._before(signal.SIGTERM, None)
