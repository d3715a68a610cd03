"""The one place that watches what is sent to the client.

The first layer that meets a request calls `observe`, which makes the record, puts it into a copy of the scope under
`KEY` and into a `ContextVar`, and wraps `send` and `receive` once. Layers further in find the record and add hooks to
it instead of wrapping `send` again. One that only looks is an `Observer`:

    class Layer(Observer):
        def begin(self, record, scope):
            record.on_start.append(self._on_start)    # def _on_start(record, message): may edit message["headers"]
            record.on_end.append(self._on_end)        # def _on_end(record): the request is over, however it ended
            return self.app

One that does more, such as answering by itself, looks for the record when it is called:

    async def __call__(self, scope, receive, send):
        record = scope.get(KEY)
        if record is None:                            # I am the outermost of our layers, or used alone
            return await observe(self, scope, receive, send)
        ...

A hook is telemetry: when it raises, the exception is reported once and the response goes out unchanged. It finds the
scope, as the layers see it, in `record.scope`, which is cut at the end so that the two don't hold each other. The hooks
for the end also find the route, where the router has told of it.
"""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

import anyio

from asgi_resilience.context import (
    KEY,
    ASGIApp,
    Message,
    Outcome,
    Receive,
    RequestContext,
    Scope,
    Send,
    enter_request,
    leave_request,
    report_failure,
    status_outcome,
)
from asgi_resilience.route import route_template

__all__ = ("Observer", "ends_response", "observe")

_INTERNAL_SERVER_ERROR = 500
_ERROR = 300  # statuses below it are simply ok


class Layer(Protocol):
    """What `observe` needs of a middleware: itself as an ASGI app, and the app that it wraps."""

    @property
    def app(self) -> ASGIApp: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Observer:
    """A layer that only looks: it has no part in the call, so a row of them costs one frame.

    Args:
        app: The application.
        clock: Where this layer is the outermost: what the record reads its times from, in seconds; monotonic.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = perf_counter) -> None:
        self.app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        record: RequestContext | None = scope.get(KEY)
        if record is not None:
            await _begin(self, record, scope)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        else:
            await observe(self, scope, receive, send, clock=self._clock)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the startup and the shutdown of the application."""
        await self.app(scope, receive, send)

    def begin(self, record: RequestContext, scope: Scope) -> ASGIApp:
        """Note what is known of a request that has come, and add hooks for the rest.

        Returns the app to call: `self.app`, unless this request needs another in its place.
        """
        raise NotImplementedError


def _begin(app: ASGIApp, record: RequestContext, scope: Scope) -> ASGIApp:
    """Let a layer begin, and those behind it that only look, too; returns the first app that does more."""
    while isinstance(app, Observer):
        layer = app
        try:
            app = layer.begin(record, scope)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(layer.begin, error)
            app = layer.app
    return app


async def observe(
    layer: Layer, scope: Scope, receive: Receive, send: Send, *, clock: Callable[[], float] = perf_counter
) -> None:
    """Call `layer` with a record in its scope; scopes that are neither http nor websocket go to its app untouched."""
    kind = scope["type"]
    if kind not in ("http", "websocket"):
        await layer.app(scope, receive, send)
        return
    record = RequestContext(scope, clock)
    record.scope = inner = {**scope, KEY: record}

    async def watched_receive() -> Message:
        message = await receive()
        if not record.complete and message["type"] in ("http.disconnect", "websocket.disconnect"):
            record.client_gone = True
        return message

    token = enter_request(record)
    try:
        app = _begin(layer, record, inner)
        await app(inner, watched_receive, (_http if kind == "http" else _websocket)(record, send))
    except BaseException as error:
        if record.exception is None:
            record.exception = error
        if _is_cancellation(error) and not record.complete and not record.client_gone:
            record.cancelled = True
            record.error_message = (
                "The server cancelled the request: it is shutting down, or the client has left"
            )
        raise
    finally:
        if not record.finished:
            _finish(record)
        leave_request(token)
        # An exception holds its traceback, the traceback this frame, and this frame the record: cut the ring.
        record.exception = None


def _is_cancellation(error: BaseException) -> bool:
    return not isinstance(error, Exception) and isinstance(error, anyio.get_cancelled_exc_class())


def ends_response(message: Message, *, trailers: bool) -> bool:
    """Whether a message is the last of an HTTP response; `trailers`: its start has announced them."""
    kind = message["type"]
    if kind in ("http.response.body", "http.response.zerocopysend"):
        return not trailers and not message.get("more_body", False)
    if kind == "http.response.pathsend":
        return not trailers
    return kind == "http.response.trailers" and not message.get("more_trailers", False)


def _http(record: RequestContext, send: Send) -> Send:
    start: Message = {}

    async def recorder(message: Message) -> None:
        nonlocal start
        kind = message["type"]
        last = False
        if kind == "http.response.body":
            record.bytes_sent += len(message.get("body", b""))
            last = not message.get("more_body", False) and not start.get("trailers", False)
        elif kind == "http.response.start":
            start = message = _start(record, message, message["status"])
        else:
            if kind == "http.response.pathsend":
                record.bytes_sent += _announced_length(start.get("headers", ()))
            elif kind == "http.response.zerocopysend":
                record.bytes_sent += message.get("count") or 0
            last = ends_response(message, trailers=start.get("trailers", False))
        try:
            await send(message)
        except OSError:  # ASGI 2.4: the server tells of a client that has gone
            record.client_gone = True
            raise
        if last:
            _complete(record)

    return recorder


def _announced_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _websocket(record: RequestContext, send: Send) -> Send:
    async def recorder(message: Message) -> None:
        kind = message["type"]
        last = False
        if kind == "websocket.send":
            text = message.get("text") or ""
            size = len(text) if text.isascii() else len(text.encode(errors="replace"))
            record.bytes_sent += len(message.get("bytes") or b"") or size
        elif kind == "websocket.accept":
            message = _start(record, message, 101)
        elif kind == "websocket.close":
            record.close_code = message.get("code", 1000)
            if not record.response_started:
                record.status = 403  # ASGI: closing before accepting answers the handshake with 403
            last = True
        elif kind == "websocket.http.response.start":
            message = _start(record, message, message["status"])
        elif kind == "websocket.http.response.body":
            record.bytes_sent += len(message.get("body", b""))
            last = not message.get("more_body", False)
        try:
            await send(message)
        except OSError:
            record.client_gone = True
            raise
        if last:
            _complete(record)

    return recorder


def _start(record: RequestContext, message: Message, status: int) -> Message:
    if record.response_started:
        return message  # a second start is the app's mistake and the server's to refuse
    record.first_byte_at = record.clock()
    record.status = status
    record.response_started = True
    hooks = record.on_start
    if hooks:
        # `headers` may be absent, and may be an iterable that can be read only once.
        message = {**message, "headers": [*message.get("headers", ())]}
        for hook in hooks:
            try:
                hook(record, message)
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(hook, error)
        hooks.clear()
    return message


def _complete(record: RequestContext) -> None:
    record.complete = True
    record.ended_at = record.clock()
    # A framework that answers 500 by itself raises the exception right after; the end of the request can tell of it.
    if (record.status != _INTERNAL_SERVER_ERROR or record.exception is not None) and not record.finished:
        _finish(record)


def _finish(record: RequestContext) -> None:
    record.finished = True
    if record.ended_at is None:
        record.ended_at = record.clock()
    if record.outcome is None:
        record.outcome = _outcome(record)
    scope = record.scope
    if record.route is None and scope is not None:  # here, once, and not in each hook that tells of it
        try:
            record.route = route_template(scope)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(route_template, error)
    for hook in record.on_end:
        try:
            hook(record)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(hook, error)
    # Hooks may hold the record, and the scope does.
    record.on_start = []
    record.on_end = []
    record.scope = None


def _outcome(record: RequestContext) -> Outcome:
    status = record.status
    if record.complete and status is not None and status < _ERROR and record.kind == "http":
        return "ok"
    if record.kind == "websocket" and status == 101:  # noqa: PLR2004 - switching protocols
        return "server_error" if record.exception is not None and not record.client_gone else "ok"
    if not record.complete:
        if record.client_gone or record.cancelled:
            return "aborted_by_client"
        return "truncated" if record.response_started else "server_error"
    return "server_error" if status is None else status_outcome(status)
