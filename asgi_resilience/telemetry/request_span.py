"""What the span of a request is told: its ids go to the record, and the facts of the record to the span.

    the span opens        request id, link to a trace that was not believed, keep if the request is to be kept
    the response starts   route and resource, status, error code; an error is kept
    the span ends         the same for an exception that is answered further out, where ddtrace sees no answer
    the request ends      the same for one that nobody answers, and for a response that breaks off

A finished span takes no tags, so each fact is told as soon as it is known.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from asgi_resilience.context import Message, RequestContext, current_request, report_failure
from asgi_resilience.route import note_route
from asgi_resilience.telemetry.tracing import Span, Tracing
from asgi_resilience.traceparent import Trace

__all__ = ("Answer", "RequestSpan", "RequestSpans")

Answer = Callable[[Exception], tuple[int, str]]
"""How the error envelope will answer an exception: its status and its code."""

_SERVER_ERROR: Final = 500
_NOT_FOUND: Final = 404
_BROKEN: Final = frozenset(("server_error", "timeout", "truncated"))
_REASON: Final = {"reason": "terminated_context"}


class RequestSpan(Trace):
    """A request's trace where ddtrace is at work.

    Args:
        tracing: The tracer.
        told: What the request's headers tell.
        answer: See `Answer`; None where no envelope stands around the span.
    """

    __slots__ = ("_answer", "_tracing", "around", "inner", "place")

    def __init__(self, tracing: Tracing, told: Trace | None, answer: Answer | None) -> None:
        if told is None:
            self.parent = self.tracestate = self.priority = self.tags = None
        else:
            self.parent, self.tracestate = told.parent, told.tracestate
            self.priority, self.tags = told.priority, told.tags
        self.keep = False
        self.span = None
        self._tracing = tracing
        self._answer = answer
        self.around = False
        """The span stands around our layers, so whoever opened it sees what we send."""
        self.place: tuple[str, str] | None = None
        """Path and root path of a request that we have opened the span of."""
        self.inner = False
        """A second span was opened for it, by someone further in."""

    def adopt(self, record: RequestContext, span: Span) -> None:
        """Take over the ids of a span; that of the whole request is the first one that is seen."""
        if self.span is not None:
            return
        self.span = span
        record.traced = True
        record.trace_id = f"{span.trace_id:032x}"
        record.span_id = f"{span.span_id:016x}"
        if record.request_id is not None:
            span.set_tag("http.request_id", record.request_id)
        if record.route is not None:
            self._name(record, span)
        if self.keep:
            self._tracing.keep(span)
        caller = self.parent
        if caller is not None and caller.trace_id != record.trace_id:
            span_id = int(caller.span_id, 16)
            if span_id:  # Datadog's headers may leave it out
                span.set_link(int(caller.trace_id, 16), span_id, attributes=_REASON)

    def on_start(self, record: RequestContext, _message: Message) -> None:
        """The response starts."""
        if self.span is None and record.scope is not None:
            span = self._tracing.request_span(record.scope)
            if span is not None:
                self.adopt(record, span)
        span = self.span
        if span is None or span.finished:
            return
        self._name(record, span)
        status = record.status or 0
        failed = status >= _SERVER_ERROR
        if (
            not self.around and span.get_tag("http.status_code") is None
        ):  # an answer that ddtrace does not see
            span.set_tag("http.status_code", str(status))
            span.error = int(failed)
        self._judge(record, span, failed=bool(span.error) or (self.around and failed))

    def on_end(self, record: RequestContext) -> None:
        """The request is over, however it ended."""
        span: Span | None = self.span
        if span is not None and record.outcome in _BROKEN and not span.finished:
            self._name(record, span)
            span.error = 1
            self._judge(record, span, failed=True)

    def ends(self, record: RequestContext, span: Span, error: BaseException | None) -> None:
        """The span is about to end, because of an exception or not."""
        if not isinstance(error, Exception):
            return
        self._name(record, span)
        status, code = _SERVER_ERROR, record.error_code
        if self._answer is not None and not record.response_started:
            status, code = self._answer(error)
            span.set_tag("http.status_code", str(status))
            span.error = int(status >= _SERVER_ERROR)
        if code is not None:
            span.set_tag("error.code", code)
        if status >= _SERVER_ERROR:
            self._tracing.keep(span)

    def _judge(self, record: RequestContext, span: Span, *, failed: bool) -> None:
        if record.error_code is not None:
            span.set_tag("error.code", record.error_code)
        if failed:
            self._tracing.keep(span)

    def _name(self, record: RequestContext, span: Span) -> None:
        """Name the route that was taken, unless an integration of ddtrace has done so."""
        if span.get_tag("http.route") is not None:
            return
        if record.scope is not None:
            note_route(record.scope, record)
        if record.route is not None:
            method = record.method if record.kind == "http" else "websocket"
            span.resource = f"{method} {record.route}"
            span.set_tag("http.route", record.route)
        elif record.status == _NOT_FOUND:  # ddtrace names the path, and anybody can make those up
            span.resource = f"{record.method} {_NOT_FOUND}"


class RequestSpans:
    """Tells the `RequestSpan` of the current request what ddtrace tells of spans."""

    def opens(self, scope: Mapping[str, Any]) -> None:
        """Notice a second span for the same request: not that of a mounted app, which sees another path."""
        record, trace = _current()
        if record is not None and trace is not None and trace.span is not None and trace.place is not None:
            trace.inner = trace.inner or trace.place == (scope["path"], scope.get("root_path", ""))

    def opened(self, span: Span) -> None:
        """The request has its span."""
        record, trace = _current()
        if record is not None and trace is not None:
            try:
                trace.adopt(record, span)
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(trace.adopt, error)

    def ends(self, span: Span, error: BaseException | None) -> None:
        """The request's span is about to end."""
        record, trace = _current()
        if record is not None and trace is not None and trace.span is span:
            try:
                trace.ends(record, span, error)
            except Exception as mistake:  # noqa: BLE001 - as above
                report_failure(trace.ends, mistake)


def _current() -> tuple[RequestContext | None, RequestSpan | None]:
    record = current_request()
    trace = None if record is None else record.trace
    return record, trace if isinstance(trace, RequestSpan) else None
