"""One who waits for a place, until called or until the time is over.

In an overload most refusals have waited before, so on asyncio a wait is one future and one entry of the timer that all
share. Elsewhere anyio does the same with its own means.
"""

import asyncio

import anyio

from asgi_resilience.alarms import Alarms

__all__ = ("Waiter",)


class Waiter:
    """Waits once.

    Attributes:
        called: Somebody has called; whoever calls also takes the waiter out of the queue.
        admitted: What the call has said: there is a place.
    """

    __slots__ = ("_future", "_room", "admitted", "called")

    def __init__(self) -> None:
        self.called = self.admitted = False
        self._future: asyncio.Future[None] | None = None
        self._room: anyio.Event | None = None

    def call(self, *, admitted: bool) -> None:
        """End the wait; at most once."""
        self.called, self.admitted = True, admitted
        if self._room is not None:
            self._room.set()
        self.expire()

    def expire(self) -> None:
        """The time is over."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait to be called, so many seconds at most."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no event loop of asyncio: trio
            self._room = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._room.wait()
            return
        self._future = loop.create_future()
        queue = Alarms.of(loop).arm(self, seconds, loop.time())
        try:
            await self._future
        finally:
            queue.pop(self, None)
