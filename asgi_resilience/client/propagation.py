"""What travels with an outbound request: the time it has left, the id of the request it is made for, and its trace.

The receiver can then stop working when nobody waits for the answer any more, and name the same request in its log.
"""

from collections.abc import Iterator

from asgi_resilience.context import RequestContext
from asgi_resilience.traceparent import TraceParent, format_traceparent

__all__ = ("deadline_header", "trace_headers")


def deadline_header(now: float, timeout: float | None, deadline: float | None) -> str | None:
    """The milliseconds that an attempt has, at least 1; None when nothing limits it."""
    limits = [] if timeout is None else [timeout]
    if deadline is not None:
        limits.append(deadline - now)
    return str(max(1, int(min(limits) * 1000))) if limits else None


def trace_headers(record: RequestContext) -> Iterator[tuple[str, str]]:
    """W3C and Datadog headers that make the receiver's span a child of this request's."""
    trace_id, span_id = record.trace_id, record.span_id
    if trace_id is None or span_id is None:
        return
    # Whether the caller records the trace is not known here. Sampled is the answer that loses nothing.
    yield "traceparent", format_traceparent(TraceParent(trace_id, span_id, sampled=True))
    if record.tracestate is not None:
        yield "tracestate", record.tracestate
    yield "x-datadog-trace-id", str(int(trace_id[16:], 16))
    yield "x-datadog-parent-id", str(int(span_id, 16))
    if trace_id[:16].strip("0"):
        yield "x-datadog-tags", f"_dd.p.tid={trace_id[:16]}"
