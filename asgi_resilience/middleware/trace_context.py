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
    observe,
    report_failure,
)
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.route import note_route
from asgi_resilience.telemetry.tracing import Span, Tracing, find_tracing, require_tracing
from asgi_resilience.traceparent import (
    TraceParent,
    log_trace_id,
    parse_datadog,
    parse_traceparent,
    parse_tracestate,
)

__all__ = ("TraceContextMiddleware",)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_SPAN_BITS: Final = 64
_SPAN_MASK: Final = (1 << _SPAN_BITS) - 1

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
        if ddtrace:
            self._use(require_tracing())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            await observe(self, scope, receive, send)
            return
        if record.trace_id is not None:  # a layer of this kind stands further out
            await self.app(scope, receive, send)
            return
        try:
            self._begin(scope, record)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(self._begin, error)
        try:
            await self.app(scope, receive, send)
        finally:
            if not record.response_started:  # nor will it: no hook has noted the route
                try:
                    note_route(scope, record)
                except Exception as error:  # noqa: BLE001 - as above
                    report_failure(note_route, error)

    def _begin(self, scope: Scope, record: RequestContext) -> None:
        tracing = self._tracing or self._find()
        if tracing is None and self._response_header is None:
            record.on_start.append(partial(note_route, scope))
        else:
            record.on_start.append(partial(self._on_start, scope))
        if tracing is not None:
            record.traced = False
            span = tracing.request_span(scope)
            if span is not None:
                record.log_fields = self._tags
                _adopt(record, span)
                return
        self._identify(scope, record)

    def _find(self) -> Tracing | None:
        if self._look_for_tracer:
            tracing = find_tracing()
            if tracing is not None:
                self._use(tracing)
        return self._tracing

    def _use(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._tags = {name: value or self._tags[name] for name, value in tracing.tags.items()}
        tracing.on_request_span(_on_request_span)

    def _identify(self, scope: Scope, record: RequestContext) -> None:
        parent = _inbound(scope, record) if self._trusted.trusts(peer(scope)) else None
        bits = self._random_bits(3 * _SPAN_BITS)
        span_id = bits & _SPAN_MASK or 1
        trace_id = (bits >> _SPAN_BITS or 1) if parent is None else parent.trace_id
        record.trace_id = f"{trace_id:032x}"
        record.span_id = f"{span_id:016x}"
        record.log_fields = {"dd.trace_id": log_trace_id(trace_id), "dd.span_id": str(span_id), **self._tags}

    def _on_start(self, scope: Scope, record: RequestContext, message: Message) -> None:
        note_route(scope, record)
        if self._tracing is not None:
            span = self._tracing.request_span(scope)
            if span is not None:
                _adopt(record, span)
                if record.error_code is not None:
                    span.set_tag("error.code", record.error_code)
        name, trace_id = self._response_header, record.trace_id
        if name is not None and trace_id is not None:
            kept = [header for header in message["headers"] if header[0].lower() != name]
            message["headers"] = [*kept, (name, trace_id.encode("ascii"))]


def _adopt(record: RequestContext, span: Span) -> None:
    """Take over the ids of a span; that of the whole request is the first one that is seen."""
    if record.traced:
        return
    record.traced = True
    trace_id, span_id = span.trace_id, span.span_id
    record.trace_id = f"{trace_id:032x}"
    record.span_id = f"{span_id:016x}"
    record.log_fields = {
        **(record.log_fields or {}),
        "dd.trace_id": log_trace_id(trace_id),
        "dd.span_id": str(span_id),
    }
    if record.request_id is not None:
        span.set_tag("http.request_id", record.request_id)


def _on_request_span(span: Span) -> None:
    record = current_request()
    if record is not None and record.traced is False:
        try:
            _adopt(record, span)
        except Exception as error:  # noqa: BLE001 - as above
            report_failure(_adopt, error)


def _inbound(scope: Scope, record: RequestContext) -> TraceParent | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found = [value for name, value in headers if name == b"traceparent"]
    if len(found) == 1:
        parent = parse_traceparent(found[0])
        if parent is not None:
            record.tracestate = parse_tracestate([value for name, value in headers if name == b"tracestate"])
            return parent
    datadog: dict[bytes, bytes] = {}
    for name, value in headers:
        if name[:10] == b"x-datadog-":
            datadog[name[10:]] = (
                b"" if name[10:] in datadog else value
            )  # b"": sent twice, so not to be believed
    if not datadog:
        return None
    return parse_datadog(
        datadog.get(b"trace-id", b""),
        datadog.get(b"parent-id", b"0"),
        datadog.get(b"sampling-priority", b""),
        datadog.get(b"tags", b""),
    )
