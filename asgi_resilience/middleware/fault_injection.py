"""Things go wrong on purpose: the application looks slow, failing or cut off, for the requests that a plan says.

It stands innermost, in the place of the application, so that every other layer meets the fault as it would a real one:
a latency runs into the timeout, an exception into the envelope, a cut body into the log as `truncated`.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import anyio

from asgi_resilience.context import KEY, ASGIApp, Message, Receive, RequestContext, Scope, Send, header
from asgi_resilience.error_catalogue import Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.faults import (
    Abort,
    Effect,
    ErrorStatus,
    Fault,
    FaultPlan,
    InjectedFault,
    Latency,
    Raise,
    SlowBody,
    Truncate,
)
from asgi_resilience.recorder import observe

__all__ = ("FaultInjectionMiddleware",)

_logger = logging.getLogger("asgi_resilience.faults")
_SENT_BY_THE_SERVER: Final = ("http.response.pathsend", "http.response.zerocopysend")


class FaultInjectionMiddleware:
    """Make faults in the place of the application.

    An injected fault is marked on the response (`X-Injected-Fault`), in the log line (`context.injected_faults`) and in
    the metric `faults.injected`. A websocket knows latency, error status and exception; an abort is an exception there.

    Args:
        app: The ASGI app.
        faults: A plan, which may be changed later; or faults, for a plan of their own.
        errors: How an error status looks.

    Raises:
        ValueError: This is production, see `FaultPlan`.
    """

    def __init__(
        self, app: ASGIApp, *, faults: FaultPlan | Iterable[Fault], errors: ErrorRenderer | None = None
    ) -> None:
        self.app = app
        self.plan = FaultPlan.of(faults)
        self._errors = ErrorRenderer() if errors is None else errors
        _logger.warning("Fault injection is switched on: requests are made to fail on purpose")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as well as the plan allows."""
        if not self.plan:
            return await self.app(scope, receive, send)
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            return await observe(self, scope, receive, send)
        effects = self.plan.draw(scope["path"], record.request_id, partial(header, scope))
        for effect in effects:
            self.plan.mark(effect, record, "inbound")
        for effect in effects:
            if isinstance(effect, Latency):
                await anyio.sleep(effect.drawn(self.plan.random))
            elif isinstance(effect, ErrorStatus):
                return await self._answer(effect, scope, send)
            elif isinstance(effect, Raise):
                raise effect.made()
            elif isinstance(effect, Abort):
                return await _abort(effect, scope, send)
        if scope["type"] == "http":
            return await _through(effects, self.app, scope, receive, send)
        return await self.app(scope, receive, send)

    async def _answer(self, effect: ErrorStatus, scope: Scope, send: Send) -> None:
        spec = self._errors.catalogue.for_status(effect.status)
        await self._errors.answer(scope, send, Failure(spec, spec.message, retry_after=effect.retry_after))


async def _abort(effect: Abort, scope: Scope, send: Send) -> None:
    if scope["type"] == "http":
        # The server closes a connection whose response is not what its headers have announced.
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    raise InjectedFault(effect.name)


async def _through(
    effects: Iterable[Effect], app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application, with its body cut or slowed down."""
    bodies: list[_Truncated | _Slow] = []
    for effect in effects:
        if isinstance(effect, Truncate):
            bodies.append(cut := _Truncated(effect, send))
            send = cut.send
        elif isinstance(effect, SlowBody):
            bodies.append(slow := _Slow(effect, send))
            send = slow.send
    if bodies:  # a file that the server sends by itself could be neither cut nor slowed down
        extensions: dict[str, Any] = scope.get("extensions") or {}
        offered = {name: value for name, value in extensions.items() if name not in _SENT_BY_THE_SERVER}
        scope = {**scope, "extensions": offered}
    await app(scope, receive, send)
    for body in bodies:
        body.check()


class _Truncated:
    """Hands a body on up to where it is cut."""

    def __init__(self, effect: Truncate, send: Send) -> None:
        self._name = effect.name
        self._left = effect.after
        self._send = send
        self._cut = False

    async def send(self, message: Message) -> None:
        self.check()
        if message["type"] == "http.response.body":
            body: bytes = message.get("body", b"")
            last = not message.get("more_body", False)
            arrives = body[: min(self._left, len(body) - 1 if last and body else len(body))]
            self._left -= len(arrives)
            self._cut = last or len(arrives) < len(body)
            message = {"type": "http.response.body", "body": arrives, "more_body": True}
        await self._send(message)
        self.check()

    def check(self) -> None:
        """End what goes on behind the cut: an application that caught what `send` raised is told again at its end."""
        if self._cut:
            raise InjectedFault(self._name)


class _Slow:
    """Hands a body on in small pieces."""

    def __init__(self, effect: SlowBody, send: Send) -> None:
        self._effect = effect
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            return await self._send(message)
        body: bytes = message.get("body", b"")
        while len(body) > self._effect.piece:
            await self._send({**message, "body": body[: self._effect.piece], "more_body": True})
            await anyio.sleep(self._effect.piece / self._effect.bytes_per_second)
            body = body[self._effect.piece :]
        await self._send({**message, "body": body})
        if message.get("more_body", False):
            await anyio.sleep(len(body) / self._effect.bytes_per_second)
        return None

    def check(self) -> None:
        """Nothing is left to do at the end."""
