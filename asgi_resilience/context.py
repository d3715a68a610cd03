"""The one record per request, and the one place that watches what is sent to the client.

Every layer of the stack needs the same facts (who asks, under which id, until when, what was answered),
so they stand once, in a `RequestContext`. The first layer that meets a request calls `observe`, which makes the
record, puts it into a copy of the scope under `KEY` and into a `ContextVar`, and wraps `send` and `receive` once.
Layers further in find the record and add hooks to it instead of wrapping `send` again:

    async def __call__(self, scope, receive, send):
        if KEY not in scope:                          # I am the outermost of our layers, or used alone
            return await observe(self, scope, receive, send)
        record = scope[KEY]
        record.on_start.append(self._on_start)        # def _on_start(record, message): may edit message["headers"]
        record.on_end.append(self._on_end)            # def _on_end(record): the request is over, however it ended
        await self.app(scope, receive, send)

A hook is telemetry: when it raises, the exception is reported once and the response goes out unchanged.
"""

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, Literal, Protocol

import anyio

__all__ = (
    "KEY",
    "LOGGED_MARK",
    "ASGIApp",
    "Message",
    "Outcome",
    "Receive",
    "RequestContext",
    "Scope",
    "Send",
    "current_request",
    "ends_response",
    "failures",
    "header",
    "mark_logged",
    "observe",
    "report_failure",
    "request_scope",
    "status_outcome",
    "was_logged",
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Outcome = Literal[
    "ok",
    "redirect",
    "client_error",
    "server_error",
    "rate_limited",
    "shed",
    "timeout",
    "truncated",
    "aborted_by_client",
]

KEY: Final = "asgi_resilience"
"""The scope key under which the record of the request stands."""

_logger = logging.getLogger("asgi_resilience")
_current: ContextVar["RequestContext | None"] = ContextVar("asgi_resilience.request", default=None)


class Layer(Protocol):
    """What `observe` needs of a middleware: itself as an ASGI app, and the app that it wraps."""

    @property
    def app(self) -> ASGIApp: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class RequestContext:
    """Everything the layers know of one request.

    Read it in a handler through `current_request()`; set `user_id` and call `bind` there to add to the log line.

    Attributes:
        kind: `"http"` or `"websocket"`.
        method: The request method; `"WEBSOCKET"` for a websocket.
        path: `scope["path"]`, decoded, as the client sent it.
        request_id: Set by the request-id layer; None before it has run or without it.
        trace_id: 32 hex digits, once the trace layer has run.
        span_id: 16 hex digits, once the trace layer has run.
        tracestate: The `tracestate` that came with the `traceparent` which gave the ids, to be handed on unchanged.
        traced: Whether the ids are those of a span that a tracer has opened for this request; None: nobody looks for one.
        log_fields: Flat fields that stand at the top level of every log line of this request (`dd.trace_id`, …).
        clock: What `started_at` and its like were read from, in seconds; monotonic.
        started_at: When the first layer met the request.
        first_byte_at: When the response started (or the websocket was accepted), else None.
        ended_at: When the last message had been sent, or the app had ended without one, else None.
        deadline: On the event loop's clock (`anyio.current_time()`): when the timeout layer gives up. None: never.
        route: The route template (`/items/{id}`), once known. Never the raw path.
        client_address: The client's address behind trusted proxies, once a layer has found it out.
        user_id: Yours to set.
        status: Of the response on the wire; 101 for an accepted websocket.
        bytes_sent: Body bytes handed to the server; of a file that it sends by itself, those that were announced.
        response_started: The start of the response has been handed to the server.
        complete: The last message of the response has been handed to the server.
        client_gone: The client was seen to disconnect before the response was complete.
        close_code: Of a websocket closed by the app.
        outcome: How the request ended; a layer may set it early, otherwise it follows from the facts above.
        error_code: `{DOMAIN}_{TYPE}_{DETAIL}` when the answer is an error.
        error_message: What the log says of it. May hold more than the client is told.
        exception: What was raised, if anything; gone when the request is over.
        degraded: Names of the dependencies for which a fallback answered.
        fields: What the handler has bound for the log line's `context`.
        finished: The hooks for the end have run; what happens later happens to a background task.
        logged: The access-log layer that writes this request's line has taken charge of it.
    """

    __slots__ = (
        "bytes_sent",
        "client_address",
        "client_gone",
        "clock",
        "close_code",
        "complete",
        "deadline",
        "degraded",
        "ended_at",
        "error_code",
        "error_message",
        "exception",
        "fields",
        "finished",
        "first_byte_at",
        "kind",
        "log_fields",
        "logged",
        "method",
        "on_end",
        "on_start",
        "outcome",
        "path",
        "request_id",
        "response_started",
        "route",
        "span_id",
        "started_at",
        "status",
        "trace_id",
        "traced",
        "tracestate",
        "user_id",
    )

    def __init__(self, scope: Scope, clock: Callable[[], float] = perf_counter) -> None:
        self.kind: str = scope["type"]
        self.method: str = scope.get("method", "WEBSOCKET")
        self.path: str = scope["path"]
        self.clock = clock
        self.started_at = clock()
        self.on_start: list[Callable[[RequestContext, Message], None]] = []
        self.on_end: list[Callable[[RequestContext], None]] = []
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.deadline: float | None = None
        self.request_id: str | None = None
        self.trace_id: str | None = None
        self.span_id: str | None = None
        self.tracestate: str | None = None
        self.traced: bool | None = None
        self.log_fields: dict[str, str] | None = None
        self.route: str | None = None
        self.client_address: str | None = None
        self.user_id: str | None = None
        self.status: int | None = None
        self.bytes_sent = 0
        self.response_started = False
        self.complete = False
        self.client_gone = False
        self.close_code: int | None = None
        self.outcome: Outcome | None = None
        self.error_code: str | None = None
        self.error_message: str | None = None
        self.exception: BaseException | None = None
        self.degraded: tuple[str, ...] = ()
        self.fields: dict[str, Any] | None = None
        self.logged = False
        self.finished = False

    def bind(self, /, **fields: Any) -> None:
        """Add fields to the `context` of this request's log lines; a later value of the same name replaces it."""
        if self.fields is None:
            self.fields = fields
        else:
            self.fields.update(fields)

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0.0 when it is past, None when there is none. Read at the call."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - anyio.current_time())

    @property
    def duration(self) -> float:
        """Seconds from the first layer to the end of the response; until now while it goes on."""
        return (self.clock() if self.ended_at is None else self.ended_at) - self.started_at

    @property
    def ttfb(self) -> float | None:
        """Seconds from the first layer to the start of the response, None when none was sent."""
        return None if self.first_byte_at is None else self.first_byte_at - self.started_at

    def __repr__(self) -> str:
        return f"<RequestContext {self.request_id} {self.method} {self.path} {self.outcome or 'open'}>"


def current_request() -> RequestContext | None:
    """The record of the request that this code runs for, or None outside of one.

    Tasks and threads started by a handler inherit it (`asyncio.create_task`, `anyio.to_thread`).
    """
    return _current.get()


@contextmanager
def request_scope(record: RequestContext | None) -> Generator[None]:
    """Make `record` the current request inside the block: for tests, and for work done on a request's behalf."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first value of a request header, or None. `name` is lower case; the scope's names may not be."""
    for key, value in scope["headers"]:
        if key == name or (len(key) == len(name) and key.lower() == name):
            return bytes(value)
    return None


# --------------------------------------------------------------------------- telemetry may never change a response

failures: dict[str, int] = {}
"""How often each piece of telemetry has failed, by its qualified name."""


def report_failure(where: object, error: Exception) -> None:
    """Count a failure of telemetry code, and log the first one of each kind with its traceback."""
    name = getattr(where, "__qualname__", None) or type(where).__qualname__
    failures[name] = failures.get(name, 0) + 1
    if failures[name] == 1:
        _logger.warning(
            "%s failed; requests are answered without it. Later failures are only counted.",
            name,
            exc_info=error,
        )


LOGGED_MARK: Final = "__asgi_resilience_logged__"
"""The attribute of an exception that a log line of ours has told of already."""


def mark_logged(error: BaseException) -> None:
    """Note on an exception that it is logged, so that `configure_logging` can drop the server's report of it."""
    with suppress(AttributeError):  # a class with __slots__ and no room for it
        setattr(error, LOGGED_MARK, True)


def was_logged(error: BaseException) -> bool:
    """Whether `mark_logged` was called; takes the mark away, since the same object may be raised again later."""
    marked = getattr(error, LOGGED_MARK, False)
    if marked:
        delattr(error, LOGGED_MARK)
    return bool(marked)


# ------------------------------------------------------------------------------------------------- the one recorder


async def observe(
    layer: Layer, scope: Scope, receive: Receive, send: Send, *, clock: Callable[[], float] = perf_counter
) -> None:
    """Call `layer` with a record in its scope; scopes that are neither http nor websocket go to its app untouched."""
    kind = scope["type"]
    if kind not in ("http", "websocket"):
        await layer.app(scope, receive, send)
        return
    record = RequestContext(scope, clock)
    recorder = _record_http if kind == "http" else _record_websocket
    token = _current.set(record)
    try:
        await layer({**scope, KEY: record}, _watch_receive(record, receive), recorder(record, send))
    except BaseException as error:
        if record.exception is None:
            record.exception = error
        raise
    finally:
        _finish(record)
        _current.reset(token)
        # An exception holds its traceback, the traceback this frame, and this frame the record: cut the ring.
        record.exception = None


def ends_response(message: Message, *, trailers: bool) -> bool:
    """Whether a message is the last of an HTTP response; `trailers`: its start has announced them."""
    kind = message["type"]
    if kind in ("http.response.body", "http.response.zerocopysend"):
        return not trailers and not message.get("more_body", False)
    if kind == "http.response.pathsend":
        return not trailers
    return kind == "http.response.trailers" and not message.get("more_trailers", False)


def _watch_receive(record: RequestContext, receive: Receive) -> Receive:
    async def watched() -> Message:
        message = await receive()
        if not record.complete and message["type"] in ("http.disconnect", "websocket.disconnect"):
            record.client_gone = True
        return message

    return watched


def _record_http(record: RequestContext, send: Send) -> Send:
    trailers = False
    headers: Any = ()

    async def recorder(message: Message) -> None:
        nonlocal trailers, headers
        kind = message["type"]
        if kind == "http.response.body":
            record.bytes_sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            message = _start(record, message, message["status"])
            trailers = message.get("trailers", False)
            headers = message.get("headers", ())
        elif kind == "http.response.pathsend":
            record.bytes_sent += _announced_length(headers)
        elif kind == "http.response.zerocopysend":
            record.bytes_sent += message.get("count") or 0
        try:
            await send(message)
        except OSError:  # ASGI 2.4: the server tells of a client that has gone
            record.client_gone = True
            raise
        if ends_response(message, trailers=trailers):
            _complete(record)

    return recorder


def _announced_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _record_websocket(record: RequestContext, send: Send) -> Send:
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
        message = {**message, "headers": list(message.get("headers", ()))}
        for hook in hooks:
            try:
                hook(record, message)
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(hook, error)
        hooks.clear()  # a hook may hold the scope, which holds this record
    return message


def _complete(record: RequestContext) -> None:
    record.complete = True
    record.ended_at = record.clock()
    # A framework that answers 500 by itself raises the exception right after; the end of the request can tell of it.
    if record.status != _SERVER_ERROR or record.exception is not None:
        _finish(record)


def _finish(record: RequestContext) -> None:
    if record.finished:
        return
    record.finished = True
    if record.ended_at is None:
        record.ended_at = record.clock()
    if record.outcome is None:
        record.outcome = _outcome(record)
    record.on_start.clear()
    hooks, record.on_end = record.on_end, []
    for hook in hooks:
        try:
            hook(record)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(hook, error)


_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_BY_STATUS: Final[dict[int, Outcome]] = {408: "timeout", 429: "rate_limited", 504: "timeout"}


def _outcome(record: RequestContext) -> Outcome:
    status = record.status
    if record.kind == "websocket" and status == 101:  # noqa: PLR2004 - switching protocols
        return "server_error" if record.exception is not None and not record.client_gone else "ok"
    if not record.complete:
        if record.client_gone or (
            record.exception is not None and not isinstance(record.exception, Exception)
        ):
            return "aborted_by_client"
        return "truncated" if record.response_started else "server_error"
    return "server_error" if status is None else status_outcome(status)


def status_outcome(status: int) -> Outcome:
    """How a request ended that was answered completely, with this status."""
    if status >= _CLIENT_ERROR:
        return _BY_STATUS.get(status) or ("server_error" if status >= _SERVER_ERROR else "client_error")
    return "ok" if status < 300 else "redirect"  # noqa: PLR2004
