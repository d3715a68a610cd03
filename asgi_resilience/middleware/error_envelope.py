"""Every error has one shape: exceptions and the framework's own plain error pages become the JSON envelope.

    {"error": {"code", "message", "details", "timestamp", "request_id", "documentation_url"}}

An exception that the catalogue knows is answered with its entry. An unknown one is answered with a 500 that tells the
client nothing of it, is logged with everything, and is raised again so that servers and tracers outside see it.
After the response has started nothing can be answered any more: the exception goes on, and the server cuts the
connection. What a framework answers by itself (a plain-text 404 or 405, a text 500) is rewritten, see
`asgi_resilience/plain_error.py`. A websocket is denied before it is accepted, and closed with the code afterwards.
"""

import logging
from typing import Any

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
    observe,
)
from asgi_resilience.error_catalogue import Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.plain_error import PlainError

__all__ = ("ErrorEnvelopeMiddleware",)

_logger = logging.getLogger("asgi_resilience.error")
_SERVER_ERROR = 500
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
        ValueError: `rewrite_limit` is negative.
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
        if rewrite_limit < 0:
            raise ValueError(f"rewrite_limit={rewrite_limit!r}: expected bytes, 0 or more")
        self.app = app
        self._rewrite_from = 400 if rewrite else 1000
        self._rewrite_limit = rewrite_limit
        self._reraise = reraise
        self._errors = errors or ErrorRenderer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer for it when that fails."""
        if KEY not in scope:
            await observe(self, scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - one picture of all endings
        record: RequestContext = scope[KEY]
        started = False
        held: PlainError | None = None

        async def send_wrapper(message: Message) -> None:
            nonlocal started, held
            if held is not None:
                if await held.take(message):
                    return
            elif not started and message["type"] == "http.response.start":
                started = True
                if message["status"] >= self._rewrite_from:
                    message = {**message, "headers": list(message.get("headers", ()))}
                    if PlainError.looks_like(message, self._rewrite_limit):
                        held = PlainError(message, self._rewrite_limit, self._errors, scope, send)
                        return
            await send(message)

        try:
            await self.app(scope, receive, send_wrapper)
        except Exception as error:
            failure = self._note(record, error)
            if held is not None and held.pending:
                held.discard()
                await self._answer(scope, send, failure, headers=held.kept())
            elif started or record.client_gone:
                raise
            else:
                await self._answer(scope, send, failure)
            if not failure.known and self._reraise:
                raise
            return
        if held is not None:
            await held.finish()
        elif not started and not record.client_gone:
            silence = NoResponseError("The app returned without sending a response")
            await self._answer(scope, send, self._note(record, silence))

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
            await send({"type": "websocket.close", "code": error.code, "reason": error.reason})
        except Exception as error:
            failure = self._note(record, error)
            if closed or record.client_gone:
                raise
            await self._answer(scope, send, failure, accepted=accepted)
            if not failure.known and self._reraise:
                raise

    async def _answer(self, scope: Scope, send: Send, failure: Failure, **options: Any) -> None:
        record: RequestContext = scope[KEY]
        try:
            await self._errors.answer(scope, send, failure, **options)
        except OSError:
            # Nobody is left to answer, and what failed before must not be hidden from who stands outside.
            if not record.client_gone:
                raise

    def _note(self, record: RequestContext, error: Exception) -> Failure:
        """Classify an exception, and see to it that it is logged exactly once."""
        failure = self._errors.catalogue.classify(error)
        if record.finished:  # the request's line is written: this is a background task
            _log("Failed after the response was complete", record, error, failure)
            return failure
        if record.client_gone and isinstance(error, _DISCONNECTED):
            return failure
        record.error_code = failure.spec.code
        record.error_message = str(error) or type(error).__name__
        if failure.context:
            record.bind(**failure.context)
        if failure.spec.status >= _SERVER_ERROR:
            record.exception = error
            if not record.logged:
                _log(record.error_message, record, error, failure)
        return failure


def _log(message: str, record: RequestContext, error: Exception, failure: Failure) -> None:
    _logger.error(
        "%s",
        message,
        exc_info=error,
        extra={"code": failure.spec.code, "method": record.method, "path": record.path},
    )
    mark_logged(error)
