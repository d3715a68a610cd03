"""The trace headers of a request: read together, or taken away from what stands further in.

`traceparent` counts before Datadog's own headers, which add to it what they alone can tell: that the trace is kept by
hand, and why.
"""

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from asgi_resilience.traceparent import (
    Trace,
    parse_datadog,
    parse_priority,
    parse_tags,
    parse_traceparent,
    parse_tracestate,
)

__all__ = ("TRACE_HEADERS", "hide_trace", "read_trace")

TRACE_HEADERS: Final = frozenset(
    (
        b"traceparent",
        b"tracestate",
        b"x-datadog-trace-id",
        b"x-datadog-parent-id",
        b"x-datadog-sampling-priority",
        b"x-datadog-tags",
    )
)
# What a tracer further in may read besides: Datadog's origin, the headers of Zipkin, and what it makes tags of.
_OTHERS: Final = frozenset((b"x-datadog-origin", b"b3", b"baggage"))
_OTHER_PREFIXES: Final = (b"x-b3-", b"ot-baggage-")
_LOWER_HALF: Final = slice(16, None)

_Headers = Iterable[tuple[bytes, bytes]]


def read_trace(headers: _Headers) -> Trace | None:
    """What headers, their names in lower case, tell of a trace; None when they name none.

    Of a header that was sent twice nothing is believed, but for `tracestate`, which is a list.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in TRACE_HEADERS:
            found.setdefault(name, []).append(value)
    if not found:
        return None
    datadog = parse_datadog(
        _only(found, b"x-datadog-trace-id"),
        _only(found, b"x-datadog-parent-id", b"0"),
        _only(found, b"x-datadog-sampling-priority"),
        _only(found, b"x-datadog-tags"),
    )
    standard = parse_traceparent(_only(found, b"traceparent"))
    parent = standard or datadog
    if parent is None:
        return None
    trace = Trace(parent)
    if datadog is not None and datadog.trace_id[_LOWER_HALF] == parent.trace_id[_LOWER_HALF]:
        trace.priority = parse_priority(_only(found, b"x-datadog-sampling-priority"))
        trace.tags = parse_tags(_only(found, b"x-datadog-tags"))
    if standard is not None:
        if trace.priority is None:
            trace.priority = int(standard.sampled)
        trace.tracestate = parse_tracestate(found.get(b"tracestate", []))
    return trace


def hide_trace(scope: MutableMapping[str, Any]) -> None:
    """Take every header of a trace out of a scope, so that a tracer further in begins a new one."""
    scope["headers"] = [pair for pair in scope["headers"] if not _tells(pair[0].lower())]


def _tells(name: bytes) -> bool:
    return name in TRACE_HEADERS or name in _OTHERS or name.startswith(_OTHER_PREFIXES)


def _only(found: dict[bytes, list[bytes]], name: bytes, default: bytes = b"") -> bytes:
    """The value of a header; of one that was sent twice, nothing can be believed."""
    values = found.get(name)
    if values is None:
        return default
    return values[0] if len(values) == 1 else b""
