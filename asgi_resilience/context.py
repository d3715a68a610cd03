"""The one record per request, and the words that every layer uses: scope, message, outcome.

The record is made by the outermost layer (see `recorder.py`), stands in the scope under `KEY` and in a `ContextVar`, and
is what the layers, the handlers and the client share.
"""

import logging
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, Literal

import anyio

from asgi_resilience.traceparent import Trace, log_trace_id

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
    "enter_request",
    "failures",
    "header",
    "leave_request",
    "mark_logged",
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
        trace: What the caller's headers or a tracer have told besides the ids; None: nothing.
        traced: Whether the ids are those of a span that a tracer has opened for this request; None: nobody looks for one.
        log_tags: Set by the trace layer, together with the ids: what `log_fields` holds besides them.
        clock: What `started_at` and its like were read from, in seconds; monotonic.
        scope: As the layers see it, until the end of the response.
        headers: The request's headers that layers read, once one has asked for them; see `request_headers.py`.
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
        cancelled: The server took the request's task away before the response was complete.
        counted: The metrics layer that counts this request has taken charge of it.
        logged: The access-log layer that writes this request's line has taken charge of it.
    """

    __slots__ = (
        "bytes_sent",
        "cancelled",
        "client_address",
        "client_gone",
        "clock",
        "close_code",
        "complete",
        "counted",
        "deadline",
        "degraded",
        "ended_at",
        "error_code",
        "error_message",
        "exception",
        "fields",
        "finished",
        "first_byte_at",
        "headers",
        "kind",
        "log_tags",
        "logged",
        "method",
        "on_end",
        "on_start",
        "outcome",
        "path",
        "request_id",
        "response_started",
        "route",
        "scope",
        "span_id",
        "started_at",
        "status",
        "trace",
        "trace_id",
        "traced",
        "user_id",
    )

    def __init__(self, scope: Scope, clock: Callable[[], float] = perf_counter) -> None:
        self.kind: str = scope["type"]
        self.method: str = scope.get("method", "WEBSOCKET")
        self.path: str = scope["path"]
        self.clock = clock
        self.scope: Scope | None = scope
        self.headers: list[tuple[bytes, bytes]] | None = None
        self.started_at = clock()
        self.on_start: list[Callable[[RequestContext, Message], None]] = []
        self.on_end: list[Callable[[RequestContext], None]] = []
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.deadline: float | None = None
        self.request_id: str | None = None
        self.trace_id: str | None = None
        self.span_id: str | None = None
        self.trace: Trace | None = None
        self.traced: bool | None = None
        self.log_tags: dict[str, str] | None = None
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
        self.cancelled = self.counted = self.logged = False
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
    def log_fields(self) -> dict[str, str] | None:
        """Flat fields that stand at the top level of every log line of this request: the `dd.*` of trace and service.

        Made when they are read; the ids are in the forms of Datadog's own integrations.
        """
        tags, trace_id, span_id = self.log_tags, self.trace_id, self.span_id
        if tags is None or trace_id is None or span_id is None:
            return None
        return {**tags, "dd.trace_id": log_trace_id(trace_id), "dd.span_id": str(int(span_id, 16))}

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


enter_request = _current.set
"""Make a record the current request; returns the token for `leave_request`."""
leave_request = _current.reset


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
        with suppress(Exception):  # logging may be what has failed
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


_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_BY_STATUS: Final[dict[int, Outcome]] = {408: "timeout", 429: "rate_limited", 504: "timeout"}


def status_outcome(status: int) -> Outcome:
    """How a request ended that was answered completely, with this status."""
    if status >= _CLIENT_ERROR:
        return _BY_STATUS.get(status) or ("server_error" if status >= _SERVER_ERROR else "client_error")
    return "ok" if status < 300 else "redirect"  # noqa: PLR2004 - the class of redirects
