"""What a handler tells its request's span, without knowing which tracer there is, or whether there is one."""

from typing import Any, Final

from asgi_resilience.context import current_request
from asgi_resilience.telemetry.request_span import RequestSpan
from asgi_resilience.telemetry.tracing import Tracing, find_tracing
from asgi_resilience.traceparent import Trace

__all__ = ("keep_trace", "set_attributes")

_KEPT: Final = 2  # Datadog's USER_KEEP


def set_attributes(**attributes: str | float | bool | None) -> None:
    """Add attributes to the span of the current request; outside of one to the span that is active.

    Without ddtrace, and once the response is complete, nothing happens. Numbers stay numbers; True and False become
    `true` and `false`; None leaves an attribute out. For names with dots write `set_attributes(**{"match.id": "a1"})`.
    """
    span = _span(find_tracing())
    if span is None or span.finished:
        return
    for name, value in attributes.items():
        if value is not None:
            span.set_tag(name, str(value).lower() if isinstance(value, bool) else value)


def keep_trace() -> None:
    """Have the trace of the current request kept, whatever the rules of sampling say; outside of one, the active trace.

    Say so early: a service that was called before has been told another decision. Without ddtrace, the services that are
    called from now on are told.
    """
    tracing = find_tracing()
    span = _span(tracing)
    if span is not None and tracing is not None:
        tracing.keep(span)
        return
    record = current_request()
    if record is not None:
        record.trace = record.trace or Trace()
        record.trace.keep = True
        record.trace.priority = _KEPT


def _span(tracing: Tracing | None) -> Any:
    if tracing is None:
        return None
    record = current_request()
    if record is not None and isinstance(record.trace, RequestSpan) and record.trace.span is not None:
        return record.trace.span
    return tracing.active_span()
