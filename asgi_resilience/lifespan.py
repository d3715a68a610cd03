"""A lifespan for every application: who writes none is asked about its end all the same.

A server tells an application that it ends by the lifespan protocol, and by nothing else: uvicorn's workers are ended by
the signal itself right after that, before `atexit` could do anything.
"""

from collections.abc import Awaitable, Callable

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send

__all__ = ("Lifespan",)


class Lifespan:
    """Calls `end` when the server shuts down, before the application hears of it; and answers for one without lifespan.

    An application is without one when it raises, or returns, without having asked for an event. What it raises later
    passes: that is a startup or a shutdown that has failed.

    Args:
        app: The application.
        end: Awaited once, at the shutdown; no request is under way any more.
    """

    def __init__(self, app: ASGIApp, end: Callable[[], Awaitable[object]]) -> None:
        self.app = app
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        asked = False

        async def watched_receive() -> Message:
            nonlocal asked
            asked = True
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._end()
            return message

        try:
            await self.app(scope, watched_receive, send)
        except Exception:
            if asked:
                raise
        if not asked:
            for event in ("startup", "shutdown"):
                await watched_receive()
                await send({"type": f"lifespan.{event}.complete"})
