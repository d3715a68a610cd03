"""Give every request the ids of its trace, so that its log lines and outbound calls can be found from each other.

With ddtrace at work they are the ids of the span that it opens for the request. Without, the trace goes on that the
caller names in `traceparent` or `x-datadog-trace-id`, or a new one begins.
"""

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Final

from asgi_resilience.context import (
    KEY,
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    current_request,
    report_failure,
)
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.recorder import observe
from asgi_resilience.request_headers import watch, watched
from asgi_resilience.telemetry.tracing import Span, Tracing, find_tracing, require_tracing
from asgi_resilience.traceparent import (
    TraceParent,
    parse_datadog,
    parse_traceparent,
    parse_tracestate,
)

__all__ = ("TraceContextMiddleware",)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_BITS: Final = 128 + 64  # of a trace id and a span id
_DIGITS: Final = "%048x"
_HEADERS: Final = frozenset(
    (
        b"traceparent",
        b"tracestate",
        b"x-datadog-trace-id",
        b"x-datadog-parent-id",
        b"x-datadog-sampling-priority",
        b"x-datadog-tags",
    )
)

# Not the module-level generator: an application that seeds that one would get the same ids in every process.
_random = Random()  # noqa: S311 - ids must differ, not be secret
os.register_at_fork(after_in_child=_random.seed)


class TraceContextMiddleware:
    """Set `trace_id`, `span_id` and the `dd.*` log fields of each request.

    ddtrace is used when something else has loaded it, and never loaded otherwise. Its request span then gets the tags
    `http.request_id` and, when the answer is an error, `error.code`.

    Args:
        app: The application.
        trust: Whose trace headers are believed: everybody's (True, the default: ids only join log lines), nobody's (False),
            or those of peers in these networks; see `TrustedProxies` for their forms. It has no say in what ddtrace
            believes.
        response_header: Name of a response header that tells the client the trace id, as 32 hex digits. Default None.
        service: `dd.service` of the log fields, where ddtrace does not know better.
        environment: `dd.env`, likewise.
        version: `dd.version`, likewise.
        ddtrace: None: when it is loaded. True: load it. False: never, even when it is loaded.
        random_bits: Makes the new ids: called with a number of bits.

    Raises:
        ValueError: `response_header` is not a header name, or an entry of `trust` no network.
        ImportError: `ddtrace=True`, and it is not installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trust: bool | Iterable[str] | TrustedProxies = True,
        response_header: str | None = None,
        service: str = "",
        environment: str = "",
        version: str = "",
        ddtrace: bool | None = None,
        random_bits: Callable[[int], int] = _random.getrandbits,
    ) -> None:
        if response_header is not None and not _HEADER_NAME.fullmatch(response_header):
            raise ValueError(
                f"response_header={response_header!r}: expected a header name (RFC 9110 §5.6.2) or None"
            )
        self.app = app
        self._trusted = TrustedProxies.of(("*",) if trust is True else () if trust is False else trust)
        self._response_header = None if response_header is None else response_header.lower().encode("ascii")
        self._tags = {"dd.service": service, "dd.env": environment, "dd.version": version}
        self._random_bits = random_bits
        self._look_for_tracer = ddtrace is None
        self._tracing: Tracing | None = None
        watch(*_HEADERS)
        if ddtrace:
            self._use(require_tracing())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            await observe(self, scope, receive, send)
            return
        if record.trace_id is None:  # otherwise a layer of this kind stands further out
            try:
                self._begin(scope, record)
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(self._begin, error)
        await self.app(scope, receive, send)

    def _begin(self, scope: Scope, record: RequestContext) -> None:
        tracing = self._tracing or (self._find() if self._look_for_tracer else None)
        if tracing is not None:
            record.traced = False
            record.on_start.append(partial(_tag_span, tracing, scope))
        if self._response_header is not None:
            record.on_start.append(partial(_tell_client, self._response_header))
        span = None if tracing is None else tracing.request_span(scope)
        if span is not None:
            _adopt(record, span)
        else:
            self._identify(scope, record)
        record.log_tags = self._tags

    def _find(self) -> Tracing | None:
        tracing = find_tracing()
        if tracing is not None:
            self._use(tracing)
        return tracing

    def _use(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._tags = {name: value or self._tags[name] for name, value in tracing.tags.items()}
        tracing.on_request_span(_on_request_span)

    def _identify(self, scope: Scope, record: RequestContext) -> None:
        # No id is 0 by chance, nor is the upper half of a trace id: that happens once in 10¹⁹.
        digits = _DIGITS % self._random_bits(_BITS)
        headers = watched(record, scope)
        parent = self._inbound(headers, scope, record) if headers else None
        record.trace_id = digits[:32] if parent is None else parent.trace_id
        record.span_id = digits[32:]

    def _inbound(
        self, headers: list[tuple[bytes, bytes]], scope: Scope, record: RequestContext
    ) -> TraceParent | None:
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _HEADERS:
                found.setdefault(name, []).append(value)
        if not found or not self._trusted.trusts(peer(scope)):
            return None
        parent = parse_traceparent(_only(found, b"traceparent"))
        if parent is not None:
            states = found.get(b"tracestate")
            record.tracestate = None if states is None else parse_tracestate(states)
            return parent
        return parse_datadog(
            _only(found, b"x-datadog-trace-id"),
            _only(found, b"x-datadog-parent-id", b"0"),
            _only(found, b"x-datadog-sampling-priority"),
            _only(found, b"x-datadog-tags"),
        )


def _tag_span(tracing: Tracing, scope: Scope, record: RequestContext, _message: Message) -> None:
    span = tracing.request_span(scope)
    if span is not None:
        _adopt(record, span)
        if record.error_code is not None:
            span.set_tag("error.code", record.error_code)


def _tell_client(name: bytes, record: RequestContext, message: Message) -> None:
    if record.trace_id is not None:
        kept = [header for header in message["headers"] if header[0].lower() != name]
        message["headers"] = [*kept, (name, record.trace_id.encode("ascii"))]


def _adopt(record: RequestContext, span: Span) -> None:
    """Take over the ids of a span; that of the whole request is the first one that is seen."""
    if record.traced:
        return
    record.traced = True
    span_id = span.span_id
    record.trace_id = f"{span.trace_id:032x}"
    record.span_id = f"{span_id:016x}"
    if record.request_id is not None:
        span.set_tag("http.request_id", record.request_id)


def _on_request_span(span: Span) -> None:
    record = current_request()
    if record is not None and record.traced is False:
        try:
            _adopt(record, span)
        except Exception as error:  # noqa: BLE001 - as above
            report_failure(_adopt, error)


def _only(found: dict[bytes, list[bytes]], name: bytes, default: bytes = b"") -> bytes:
    """The value of a header; of one that was sent twice, nothing can be believed."""
    values = found.get(name)
    if values is None:
        return default
    return values[0] if len(values) == 1 else b""
