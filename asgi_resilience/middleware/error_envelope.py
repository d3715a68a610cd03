"""Every error has one shape: exceptions and the framework's own plain error pages become the JSON envelope.

    {"error": {"code", "message", "details", "timestamp", "request_id", "documentation_url"}}

An exception that the catalogue knows is answered with its entry. An unknown one is answered with a 500 that tells the
client nothing of it, is logged with everything, and is raised again so that servers and tracers outside see it.
After the response has started nothing can be answered any more: the exception goes on, and the server cuts the
connection. What a framework answers by itself (a plain-text 404 or 405, a text 500) is rewritten, see
`asgi_resilience/plain_error.py`. A websocket is denied before it is accepted, and closed with the code afterwards.
"""

import logging
from collections.abc import Awaitable
from math import inf
from typing import Any, cast

from starlette.exceptions import WebSocketException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from asgi_resilience.context import (
    KEY,
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    mark_logged,
    report_failure,
)
from asgi_resilience.error_catalogue import Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.plain_error import PlainError
from asgi_resilience.recorder import observe

__all__ = ("ErrorEnvelopeMiddleware",)

_logger = logging.getLogger("asgi_resilience.error")
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_LONGEST_REASON = 123  # bytes, RFC 6455 §5.5
_LEAVES_TOLD = 3
_SILENCE = "The app returned without sending a response"
_DISCONNECTED = (OSError, ClientDisconnect, WebSocketDisconnect)


class NoResponseError(RuntimeError):
    """The app returned without sending a response; only the log sees this."""


class ErrorEnvelopeMiddleware:
    """Turns whatever goes wrong further in into one answer.

    Args:
        app: The ASGI app to guard.
        rewrite: Also rewrite the plain error answers of the framework: status 400 and above, with a body that is
            text/plain, text/html or empty. Allow, WWW-Authenticate, Retry-After, Set-Cookie, Vary and CORS fields stay.
        rewrite_limit: Bytes; a larger body, and one of unknown length that comes in pieces, passes untouched.
        reraise: Raise an exception that the catalogue does not know again after the answer.
        errors: How the answers look.

    Raises:
        ValueError: `rewrite_limit` is negative or infinite.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rewrite: bool = True,
        rewrite_limit: int = 16_384,
        reraise: bool = True,
        errors: ErrorRenderer | None = None,
    ) -> None:
        if not 0 <= rewrite_limit < inf:
            raise ValueError(f"rewrite_limit={rewrite_limit!r}: expected bytes, 0 or more")
        self.app = app
        self._rewrite_from = _CLIENT_ERROR if rewrite else inf
        self._rewrite_limit = rewrite_limit
        self._reraise = reraise
        self._errors = errors or ErrorRenderer()

    async def __call__(  # noqa: C901 - one picture of all endings
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on, and answer for it when that fails."""
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            await observe(self, scope, receive, send)
            return
        if record.kind != "http":
            await self._websocket(scope, receive, send)
            return
        started = False
        held: PlainError | None = None

        # Almost every message only passes, and for that this needs no coroutine of its own.
        def send_wrapper(message: Message) -> Awaitable[None]:
            nonlocal started
            if held is None:
                if started or message["type"] != "http.response.start":
                    return send(message)
                started = True
                if message["status"] < self._rewrite_from:
                    return send(message)
            return hold(message)

        async def hold(message: Message) -> None:
            nonlocal held
            if held is not None:
                if await held.take(message):
                    return
            else:
                message = {**message, "headers": list(message.get("headers", ()))}
                if PlainError.looks_like(message, self._rewrite_limit):
                    held = PlainError(message, self._rewrite_limit, self._errors, scope, send)
                    return
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        except Exception as error:
            pending = held if held is not None and held.pending else None
            too_late = pending is None and started
            failure = self._note(record, error, too_late=too_late)
            if too_late or (pending is None and record.client_gone):
                if record.complete and not self._reraise:
                    return
                raise
            if pending is not None:
                pending.discard()
            await self._answer(scope, send, failure, headers=() if pending is None else pending.kept())
            if not failure.known and self._reraise:
                raise
            return
        if held is not None:
            await _unless_gone(record, held.finish())
        elif not started and not record.client_gone:
            await self._answer(scope, send, self._note(record, NoResponseError(_SILENCE)))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        record: RequestContext = scope[KEY]
        accepted = closed = False

        async def send_wrapper(message: Message) -> None:
            nonlocal accepted, closed
            kind = message["type"]
            if kind == "websocket.accept":
                accepted = True
            elif kind in ("websocket.close", "websocket.http.response.start"):
                closed = True
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        except WebSocketException as error:
            if closed or record.client_gone:
                raise
            record.error_message = error.reason or None
            reason = error.reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
            await _unless_gone(
                record, send({"type": "websocket.close", "code": error.code, "reason": reason})
            )
        except Exception as error:
            failure = self._note(record, error, too_late=closed)
            if closed or record.client_gone:
                if record.complete and not self._reraise:
                    return
                raise
            await self._answer(scope, send, failure, accepted=accepted)
            if not failure.known and self._reraise:
                raise
        else:
            if not (accepted or closed or record.client_gone):
                await self._answer(scope, send, self._note(record, NoResponseError(_SILENCE)))

    async def _answer(self, scope: Scope, send: Send, failure: Failure, **options: Any) -> None:
        await _unless_gone(scope[KEY], self._errors.answer(scope, send, failure, **options))

    def _note(self, record: RequestContext, error: Exception, *, too_late: bool = False) -> Failure:
        """Classify an exception, and see to it that it is logged exactly once.

        One that comes too late to be answered breaks a response, and is as bad as any of the server's own.
        """
        failure = self._errors.catalogue.classify(error)
        if record.client_gone and isinstance(error, _DISCONNECTED):
            return failure
        facts: Any = getattr(failure.context, "items", tuple)  # what is no mapping counts as none
        for name, value in facts():
            record.bind(**{str(name): value})
        if record.finished:  # the request's line is written: this is a background task
            _log("Failed after the response was complete", record, error, failure)
            return failure
        record.error_code = failure.spec.code
        record.error_message = _text(error)
        if too_late or failure.spec.status >= _SERVER_ERROR:
            record.exception = error
            if not record.logged:
                _log(record.error_message, record, error, failure)
        return failure


async def _unless_gone(record: RequestContext, sending: Awaitable[None]) -> None:
    """Send; when nobody is left to answer, what failed before must not be hidden from who stands outside."""
    try:
        await sending
    except OSError:
        if not record.client_gone:
            raise


def _text(error: BaseException) -> str:
    """What the log says of an exception: its text, and for a group that of the first leaves."""
    try:
        text = str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - the exception of a `__str__` must not take the place of the one that it tells of
        text = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        leaves = cast("BaseExceptionGroup[BaseException]", error).exceptions
        text = f"{text}: {'; '.join(map(_text, leaves[:_LEAVES_TOLD]))}"
    return text


def _log(message: str, record: RequestContext, error: Exception, failure: Failure) -> None:
    try:
        _logger.error(
            "%s",
            message,
            exc_info=error,
            extra={"code": failure.spec.code, "method": record.method, "path": record.path},
        )
    except Exception as mistake:  # noqa: BLE001 - a log filter that raises must not change the answer
        report_failure(_log, mistake)
    mark_logged(error)
