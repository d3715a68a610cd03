"""What the trace layer needs of ddtrace. No other file imports it, and this one only when a function asks for it.

When are a request's ids readable? ddtrace opens the request's span inside our layers, finishes it with the last body
chunk, and forgets it before an exception reaches us: a 500 that is answered further out finds neither an active span nor
one in the scope. So `Tracing` listens for the start of each request span. That event is internal to ddtrace; where a
version lacks it, the ids are found at the start of the response, and only those of unanswered exceptions are missed.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

__all__ = ("Span", "Tracing", "find_tracing", "require_tracing")

_SPAN_STARTED: Final = "asgi.start_request"
_TAGS: Final = ("dd.service", "dd.env", "dd.version")


class Span(Protocol):
    """The part of ddtrace's `Span` that is used here."""

    @property
    def trace_id(self) -> int:
        """128 bits."""
        ...

    @property
    def span_id(self) -> int:
        """64 bits."""
        ...

    def set_tag(self, key: str, value: str) -> None:
        """Add a tag; ignored once the span is finished."""
        ...


class Tracing:
    """The process's tracer.

    Attributes:
        tags: `dd.service`, `dd.env` and `dd.version` as ddtrace was configured, "" where it was not.
    """

    def __init__(self) -> None:
        from ddtrace.trace import tracer  # noqa: PLC0415 - takes 0.4 s and 28 MiB: only for those who use it

        self._tracer: Any = tracer
        correlation: Mapping[str, str] = tracer.get_log_correlation_context()
        self.tags = {name: correlation[name] for name in _TAGS}

    def request_span(self, scope: Mapping[str, Any]) -> Span | None:
        """The span that was opened for the request, else the one that is active; None without, or with tracing off."""
        tracer = self._tracer
        if not tracer.enabled:
            return None
        spans: list[Span] | None = scope.get("datadog", {}).get("request_spans")
        if spans:
            return spans[0]
        active = tracer.context_provider.active()
        # A remote parent may be active, too: a context, with the ids of someone else's span.
        return active if hasattr(active, "set_tag") else None

    def on_request_span(self, opened: Callable[[Span], None]) -> bool:
        """Have `opened` called, in the request's context, for each request span; False when ddtrace has no such event."""

        def started(_integration: str) -> None:
            span = self.request_span({})
            if span is not None:
                opened(span)

        try:
            from ddtrace.internal import core  # noqa: PLC0415 - as above

            cast("Any", core).on(_SPAN_STARTED, started, __name__)
        except Exception:  # noqa: BLE001 - internals of another package: anything may have become of them
            return False
        return True


def find_tracing() -> Tracing | None:
    """The tracer if this process has one already; imports nothing that is not loaded."""
    return Tracing() if "ddtrace.trace" in sys.modules else None


def require_tracing() -> Tracing:
    """The tracer, loaded if need be.

    Raises:
        ImportError: ddtrace is not installed; the message says how to get it.
    """
    try:
        return Tracing()
    except ImportError as error:
        raise ImportError("ddtrace is not installed: pip install 'asgi-resilience[datadog]'") from error
