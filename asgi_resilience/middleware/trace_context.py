"""Give every request the ids of its trace, so that its log lines and outbound calls can be found from each other.

With ddtrace at work they are the ids of the request's span, which this layer opens where nothing else does. Without, the
trace goes on that the caller names in `traceparent` or `x-datadog-trace-id`, or a new one begins.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from sys import modules
from typing import Final

import anyio

from asgi_resilience.context import (
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    report_failure,
)
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.recorder import Observer
from asgi_resilience.request_headers import watch, watched
from asgi_resilience.telemetry.keep import KeepRule, KeepRules
from asgi_resilience.telemetry.request_span import RequestSpan, RequestSpans
from asgi_resilience.telemetry.tracing import Tracing, find_tracing, require_tracing
from asgi_resilience.trace_headers import TRACE_HEADERS, hide_trace, read_trace
from asgi_resilience.trace_ids import new_digits
from asgi_resilience.trace_ids import random_bits as _random_bits
from asgi_resilience.traceparent import Trace

__all__ = ("TraceContextMiddleware",)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_TRACER: Final = "ddtrace.trace"
_KEPT: Final = 2  # Datadog's USER_KEEP
_LONGEST_FLUSH: Final = 5.0
"""Seconds that a shutdown waits for the tracer."""


class TraceContextMiddleware(Observer):
    """Set `trace_id`, `span_id` and the `dd.*` log fields of each request, and tell its span what it should know.

    ddtrace is used when something else has loaded it, and never loaded otherwise. The request's span then gets the route's
    template as `http.route` and in its resource, the tags `http.request_id` and, when the answer is an error, `error.code`;
    an error's trace is kept, whatever the rules of sampling say.

    Args:
        app: The application.
        trust: Whose trace headers are believed: everybody's (True, the default), nobody's (False), or those of peers in these
            networks; see `TrustedProxies` for their forms. From the requests of others they are taken away, so that tracers
            further in begin a new trace, too. A tracer further out has read them already.
        response_header: Name of a response header that tells the client the trace id, as 32 hex digits. Default None.
        service: `dd.service` of the log fields, where ddtrace does not know better.
        environment: `dd.env`, likewise.
        version: `dd.version`, likewise.
        route_resolver: Tells the template of a request's route from the scope, for routers that leave nothing there. Called
            when the request arrives and, while it returns None, again when the response starts.
        keep: Requests whose traces are kept: paths, `"header:NAME"`, `"header:NAME=VALUE"`, functions of the scope; one or
            several. A header counts when its sender is believed.
        ddtrace: None: when it is loaded. True: load it. False: never, even when it is loaded.
        open_span: Open the request's span where no integration of ddtrace does.
        errors: How exceptions are answered outside of ddtrace's middlewares, for spans that end before that; None: nobody
            answers them.
        random_bits: Makes the new ids: called with a number of bits.

    Raises:
        ValueError: `response_header` is not a header name, an entry of `trust` no network, or one of `keep` no rule.
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
        route_resolver: Callable[[Scope], str | None] | None = None,
        keep: KeepRule | Iterable[KeepRule] = (),
        ddtrace: bool | None = None,
        open_span: bool = True,
        errors: ErrorRenderer | None = None,
        random_bits: Callable[[int], int] = _random_bits,
    ) -> None:
        if response_header is not None and not _HEADER_NAME.fullmatch(response_header):
            raise ValueError(
                f"response_header={response_header!r}: expected a header name (RFC 9110 §5.6.2) or None"
            )
        super().__init__(app)
        self._trusted = TrustedProxies.of(("*",) if trust is True else () if trust is False else trust)
        self._trusts_all = trust is True
        self._response_header = None if response_header is None else response_header.lower().encode("ascii")
        self._tags = {"dd.service": service, "dd.env": environment, "dd.version": version}
        self._route_resolver = route_resolver
        rules = KeepRules(keep)
        self._keep = rules or None
        self._new_digits = new_digits if random_bits is _random_bits else partial(new_digits, random_bits)
        self._errors = errors
        self._looks = ddtrace is None
        self._tracing: Tracing | None = None
        self._does_more = not (
            trust is True and response_header is None and route_resolver is None and self._keep is None
        )
        self._opening: ASGIApp | None = None
        self._opens = open_span
        watch(*TRACE_HEADERS, *rules.header_names)
        if ddtrace:
            self._use(require_tracing())
        elif ddtrace is None:
            self._find()

    def begin(self, record: RequestContext, scope: Scope) -> ASGIApp:
        """Give a request its ids, and its span what is known so far."""
        if record.trace_id is not None:  # a layer of this kind stands further out
            return self.app
        if self._looks and _TRACER in modules:
            self._find()
        digits = self._new_digits()
        record.trace_id, record.span_id = digits[:32], digits[32:]
        record.log_tags = self._tags
        headers = watched(record, scope)
        return self._continue(record, scope, headers) if headers or self._does_more else self.app

    def _continue(self, record: RequestContext, scope: Scope, headers: list[tuple[bytes, bytes]]) -> ASGIApp:
        """All that most requests without a tracer have no need of."""
        if self._route_resolver is not None:
            self._resolve(record)
            record.on_start.append(self._resolve)
        told = read_trace(headers) if headers else None
        believed = self._trusts_all or self._trusted.trusts(peer(scope))
        if not believed:
            hide_trace(scope)
            told = None if told is None else Trace(told.parent)  # for a link to it
        kept = self._keep is not None and self._keep.match(scope, headers if believed else ())
        if believed and told is not None and told.parent is not None:
            record.trace = told
            record.trace_id = told.parent.trace_id
        app = self.app
        if self._tracing is not None:
            trace = RequestSpan(self._tracing, told, None if self._errors is None else self._answer)
            trace.keep = kept
            app = self._join(self._tracing, trace, record, scope)
        elif kept:
            record.trace = record.trace or Trace()
            record.trace.priority = _KEPT
        if self._response_header is not None:
            record.on_start.append(self._tell_client)
        return app

    def _join(self, tracing: Tracing, trace: RequestSpan, record: RequestContext, scope: Scope) -> ASGIApp:
        """Take the ids of the span that is there, or have one opened; until it is, the ids are our own."""
        record.trace = trace
        record.traced = False
        record.on_start.append(trace.on_start)
        record.on_end.append(trace.on_end)
        span = tracing.request_span(scope)
        if span is not None:
            trace.around = True
            trace.adopt(record, span)
            return self.app
        if not self._opens or not tracing.enabled:
            return self.app
        opening = self._opening
        if opening is None:
            if tracing.spans_inside(self.app):
                self._opens = False
                return self.app
            opening = self._opening = tracing.middleware(self.app)
        trace.place = (scope["path"], scope.get("root_path", ""))
        record.on_end.append(self._learn)
        return opening

    def _learn(self, record: RequestContext) -> None:
        """Leave the span to whoever opens a second one for the same request, from the next one on."""
        if isinstance(record.trace, RequestSpan) and record.trace.inner:
            self._opens = False

    def _find(self) -> None:
        tracing = find_tracing()
        if tracing is not None:
            self._use(tracing)

    def _use(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._looks = False
        self._does_more = True
        self._tags = {name: value or self._tags[name] for name, value in tracing.tags.items()}
        tracing.listen(RequestSpans())
        if self._opens:
            _ = tracing.middleware  # not while the first request waits

    def _answer(self, error: Exception) -> tuple[int, str]:
        assert self._errors is not None
        spec = self._errors.catalogue.classify(error).spec
        return spec.status, spec.code

    def _resolve(self, record: RequestContext, _message: Message | None = None) -> None:
        resolver = self._route_resolver
        if record.route is None and record.scope is not None and resolver is not None:
            try:
                record.route = resolver(record.scope)
            except Exception as error:  # noqa: BLE001 - as above
                report_failure(resolver, error)

    def _tell_client(self, record: RequestContext, message: Message) -> None:
        name = self._response_header
        assert name is not None
        assert record.trace_id is not None
        kept = [header for header in message["headers"] if header[0].lower() != name]
        message["headers"] = [*kept, (name, record.trace_id.encode("ascii"))]

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the tracer send what it holds before the server is told that it may end."""

        async def flushing_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self._flush()
            await send(message)

        await self.app(scope, receive, flushing_send)

    async def _flush(self) -> None:
        """Send the last traces: a worker may be ended right after its lifespan, before ddtrace does so by itself."""
        if self._looks:
            self._find()
        tracing = self._tracing
        if tracing is not None:
            try:
                with anyio.move_on_after(_LONGEST_FLUSH):
                    await anyio.to_thread.run_sync(tracing.flush, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001 - as above
                report_failure(tracing.flush, error)
