"""What travels with an outbound request: the time it has left, the id of the request it is made for, and its trace.

The receiver can then stop working when nobody waits for the answer any more, and name the same request in its log.
"""

from collections.abc import Iterable, Iterator

from asgi_resilience.context import RequestContext
from asgi_resilience.telemetry.tracing import outbound_trace
from asgi_resilience.trace_ids import new_span_id
from asgi_resilience.traceparent import Trace, TraceParent, format_traceparent

__all__ = ("deadline_header", "trace_headers")


def deadline_header(now: float, timeout: float | None, deadline: float | None) -> str | None:
    """The milliseconds that an attempt has, at least 1; None when nothing limits it."""
    limits = [] if timeout is None else [timeout]
    if deadline is not None:
        limits.append(deadline - now)
    return str(max(1, int(min(limits) * 1000))) if limits else None


def trace_headers(record: RequestContext | None) -> Iterable[tuple[str, str]]:
    """W3C and Datadog headers that put what the receiver does into the trace of this request.

    Those of ddtrace where it has an active span. Without, each call is given a span id of its own, which is the parent of
    whatever the receiver records (W3C Trace Context §3.4).
    """
    if record is None or record.traced is not None:  # None: ddtrace was refused
        headers = outbound_trace()
        if headers:
            return headers.items()
    return () if record is None or record.trace_id is None else _own(record, record.trace_id)


def _own(record: RequestContext, trace_id: str) -> Iterator[tuple[str, str]]:
    trace = record.trace or Trace()
    span_id = new_span_id()
    # Where nobody has decided whether the trace is kept, sampled is the answer that loses nothing. The receiver's tracer
    # finds no priority then, and decides.
    yield (
        "traceparent",
        format_traceparent(TraceParent(trace_id, span_id, sampled=trace.sampled is not False)),
    )
    if trace.tracestate is not None:
        yield "tracestate", trace.tracestate
    yield "x-datadog-trace-id", str(int(trace_id[16:], 16))
    yield "x-datadog-parent-id", str(int(span_id, 16))
    if trace.priority is not None:
        yield "x-datadog-sampling-priority", str(trace.priority)
    tags = [] if trace.tags is None else [trace.tags]
    if trace_id[:16].strip("0"):
        tags.append(f"_dd.p.tid={trace_id[:16]}")
    if tags:
        yield "x-datadog-tags", ",".join(tags)
