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

from asgi_resilience import FaultInjectionMiddleware
from asgi_resilience.faults import ErrorStatus, Fault, FaultPlan, Latency

__all__ = ("Faults",)

_MODES: Final = ("ok", "slow", "stall", "fail", "limit")


class Faults:
    """The service behind it fails as it was told."""

    def __init__(self, app: ASGIApp) -> None:
        self._plan = FaultPlan()
        self._too_many = FaultPlan()
        self._app = FaultInjectionMiddleware(app, faults=self._plan)
        self._refuses = FaultInjectionMiddleware(app, faults=self._too_many)
        self._admin = Starlette(routes=[Route("/admin/faults", self._choose, methods=["GET", "POST"])])
        self._chosen: dict[str, Any] = {"mode": "ok"}
        self._changed = asyncio.Event()
        self._second = 0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Fail, or let the service answer."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["path"].startswith("/admin/"):
            return await self._admin(scope, receive, send)
        if self._chosen["mode"] == "stall":
            await self._changed.wait()
        return await (self._refuses if self._is_beyond() else self._app)(scope, receive, send)

    async def _choose(self, request: Request) -> Response:
        if request.method == "POST":
            chosen = await request.json()
            if chosen.get("mode") not in _MODES:
                return JSONResponse({"modes": _MODES}, 422)
            self._plan.replace(*_faults(chosen))
            self._too_many.replace(Fault(ErrorStatus(429, chosen.get("retry_after", 2))))
            self._chosen = chosen
            self._changed.set()
            self._changed = asyncio.Event()
        return JSONResponse(self._chosen)

    def _is_beyond(self) -> bool:
        """Whether there were enough requests in this second."""
        second = int(time.monotonic())
        self._requests = self._requests + 1 if second == self._second else 1
        self._second = second
        return self._chosen["mode"] == "limit" and self._requests > self._chosen.get("per_second", 1)


def _faults(chosen: dict[str, Any]) -> list[Fault]:
    match chosen:
        case {"mode": "slow", "seconds": seconds}:
            return [Fault(Latency(seconds))]
        case {"mode": "fail", **options}:
            return [Fault(ErrorStatus(options.get("status", 500)))]
    return []
