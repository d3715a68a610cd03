"""What goes wrong on command: `POST /admin/faults` with `{"mode": "slow", "seconds": 20}`.

ok                        what it does by default
slow      seconds         answers that much later
stall                     does not answer until it is told something else
fail      status          answers with an error
limit     per_second, retry_after     429 with `Retry-After` beyond so many requests a second
"""

import asyncio
import time
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ("Faults",)

_MODES: Final = ("ok", "slow", "stall", "fail", "limit")


class Faults:
    """A middleware that makes the service behind it fail as it was told."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._admin = Starlette(routes=[Route("/admin/faults", self._choose, methods=["GET", "POST"])])
        self._fault: dict[str, Any] = {"mode": "ok"}
        self._changed = asyncio.Event()
        self._second = 0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Fail, or let the service answer."""
        app = self._app
        if scope["type"] == "http":
            app = self._admin if scope["path"].startswith("/admin/") else await self._failure() or app
        await app(scope, receive, send)

    async def _choose(self, request: Request) -> Response:
        if request.method == "POST":
            fault = await request.json()
            if fault.get("mode") not in _MODES:
                return JSONResponse({"modes": _MODES}, 422)
            self._fault = fault
            self._changed.set()
            self._changed = asyncio.Event()
        return JSONResponse(self._fault)

    async def _failure(self) -> Response | None:
        match self._fault:
            case {"mode": "slow", "seconds": seconds}:
                await asyncio.sleep(seconds)
            case {"mode": "stall"}:
                await self._changed.wait()
            case {"mode": "fail", **options}:
                return JSONResponse({"error": "on command"}, options.get("status", 500))
            case {"mode": "limit", **options} if self._beyond(options.get("per_second", 1)):
                wait = {"Retry-After": str(options.get("retry_after", 2))}
                return JSONResponse({"error": "too many requests"}, 429, headers=wait)
        return None

    def _beyond(self, per_second: int) -> bool:
        second = int(time.monotonic())
        self._requests = self._requests + 1 if second == self._second else 1
        self._second = second
        return self._requests > per_second
