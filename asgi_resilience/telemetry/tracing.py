"""All that is needed of ddtrace. No other file imports it, and this one only when a function asks for it.

When can a request's span be read and written? ddtrace opens it inside our layers or around them, finishes it with the
last body chunk, and forgets it before an exception reaches us: a 500 that is answered further out finds neither an active
span nor one in the scope. So `Tracing.listen` has the start and the end of each request span told. These events are
internal to ddtrace; where a version lacks them, spans are found at the start of the response, and only those of
unanswered exceptions are missed.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Protocol, cast

__all__ = ("Span", "SpanListener", "Tracing", "find_tracing", "outbound_trace", "require_tracing")

_SPAN_STARTED: Final = "asgi.start_request"
_SPAN_ENDS: Final = "web.request.final_tags"
_SPAN_OPENS: Final = "context.started.asgi.request"
_TAGS: Final = ("dd.service", "dd.env", "dd.version")
_KEEP: Final = "manual.keep"
_DEEPEST: Final = 50
"""How far `spans_inside` looks: an object that makes up its attributes has no end of them."""


class Span(Protocol):
    """The part of ddtrace's `Span` that is used here."""

    error: int
    resource: str

    @property
    def trace_id(self) -> int:
        """128 bits."""
        ...

    @property
    def span_id(self) -> int:
        """64 bits."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing that is set any more will be sent."""
        ...

    def get_tag(self, key: str) -> str | None:
        """A tag that is text."""
        ...

    def set_tag(self, key: str, value: str | float | None = None) -> None:
        """Add a tag; ignored once the span is finished."""
        ...

    def set_link(self, trace_id: int, span_id: int, *, attributes: Mapping[str, str]) -> None:
        """Name a span of another trace that has to do with this one."""
        ...


class SpanListener(Protocol):
    """Who wants to know of request spans; called in the context of the request."""

    def opens(self, scope: Mapping[str, Any]) -> None:
        """A span is being opened for this scope: the first of the request, or one below it."""

    def opened(self, span: Span) -> None:
        """The span of a request, or one below it, is active."""

    def ends(self, span: Span, error: BaseException | None) -> None:
        """A request's span is about to be finished. May come more than once, the last time right before that."""


class Tracing:
    """The process's tracer.

    Attributes:
        tags: `dd.service`, `dd.env` and `dd.version` as ddtrace was configured, "" where it was not.
    """

    def __init__(self) -> None:
        from ddtrace.trace import tracer  # noqa: PLC0415 - takes 0.4 s and 28 MiB: only for those who use it

        self._tracer: Any = tracer
        self._active: Callable[[], Any] = tracer.context_provider.active
        correlation: Mapping[str, str] = tracer.get_log_correlation_context()
        self.tags = {name: correlation[name] for name in _TAGS}

    @property
    def enabled(self) -> bool:
        """Whether spans are made at all."""
        enabled: bool = self._tracer.enabled
        return enabled

    def active_span(self) -> Span | None:
        """The span that is active here; None without one, or with tracing off."""
        active = self._active()
        # A remote parent may be active, too: a context, with the ids of someone else's span.
        return active if hasattr(active, "set_tag") and self._tracer.enabled else None

    def request_span(self, scope: Mapping[str, Any]) -> Span | None:
        """The span that was opened for the request, else the one that is active; None without, or with tracing off."""
        if "datadog" in scope:
            spans: list[Span] | None = scope["datadog"].get("request_spans")
            if spans and self._tracer.enabled:
                return spans[0]
        return self.active_span()

    def keep(self, span: Span) -> None:
        """Have the span's whole trace kept, with the reason that a person has decided so."""
        span.set_tag(_KEEP)

    @cached_property
    def middleware(self) -> Any:
        """The ASGI middleware of ddtrace, which opens a span for each request. The first time takes 0.05 s."""
        from ddtrace.contrib.asgi import TraceMiddleware  # noqa: PLC0415 - as above

        return TraceMiddleware

    def spans_inside(self, app: Any) -> bool:
        """Whether a middleware of ddtrace can be seen in an app: around it, or in the list that its framework was given."""
        middleware = self.middleware
        for _ in range(_DEEPEST):
            if isinstance(app, middleware):
                return True
            for name in ("user_middleware", "middleware"):  # of Starlette, and of Litestar
                listed = getattr(app, name, None)
                if isinstance(listed, list | tuple) and any(
                    middleware in (each, getattr(each, "cls", None), getattr(each, "middleware", None))
                    for each in cast("list[Any]", listed)
                ):
                    return True
            outer = app
            app = getattr(outer, "app", None) or getattr(outer, "asgi_app", None)  # the latter is Quart's
            if app is None:
                break
        return False

    def outbound(self) -> dict[str, str]:
        """The headers that ddtrace sends from here; none without an active span, or with tracing off."""
        headers: dict[str, str] = {}
        span = self.active_span()
        if span is not None:
            from ddtrace.propagation.http import HTTPPropagator  # noqa: PLC0415 - as above

            cast("Any", HTTPPropagator).inject(span, headers)
        return headers

    def flush(self) -> None:
        """Send what is finished; blocks."""
        self._tracer.flush()

    def listen(self, listener: SpanListener) -> bool:
        """Have a listener told of each request span; False when ddtrace has no such events."""

        def opens(ctx: Any) -> None:
            listener.opens(ctx.get_item("scope"))

        def started(_integration: str) -> None:
            span = self.active_span()
            if span is not None:
                listener.opened(span)

        def ends(span: Span) -> None:
            listener.ends(span, sys.exc_info()[1])

        try:
            from ddtrace.internal import core  # noqa: PLC0415 - as above

            on = cast("Any", core).on
            on(_SPAN_OPENS, opens, __name__)
            on(_SPAN_STARTED, started, __name__)
            on(_SPAN_ENDS, ends, __name__)
        except Exception:  # noqa: BLE001 - internals of another package: anything may have become of them
            return False
        return True


_found: Tracing | None = None


def find_tracing() -> Tracing | None:
    """The tracer if this process has one already; imports nothing that is not loaded."""
    global _found  # noqa: PLW0603 - one tracer a process
    if _found is None and "ddtrace.trace" in sys.modules:
        _found = Tracing()
    return _found


def require_tracing() -> Tracing:
    """The tracer, loaded if need be.

    Raises:
        ImportError: ddtrace is not installed; the message says how to get it.
    """
    global _found  # noqa: PLW0603 - as above
    try:
        _found = _found or Tracing()
    except ImportError as error:
        raise ImportError("ddtrace is not installed: pip install 'asgi-resilience[datadog]'") from error
    return _found


def outbound_trace() -> dict[str, str]:
    """The trace headers that ddtrace sends from here; none where it is not loaded, or has no active span."""
    tracing = find_tracing()
    return {} if tracing is None else tracing.outbound()
