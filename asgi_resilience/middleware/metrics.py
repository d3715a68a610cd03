"""Count requests, time them, and hand the numbers to a sink."""

from collections.abc import Callable, Iterable
from math import inf
from time import perf_counter
from typing import Any, Final

from asgi_resilience import metric_names as names
from asgi_resilience.context import (
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    report_failure,
)
from asgi_resilience.error_rule import ErrorRule
from asgi_resilience.metric_names import Metric
from asgi_resilience.metric_sink import NULL, OVERFLOW, MetricSink, Series, Tags
from asgi_resilience.recorder import Observer

__all__ = ("MetricsMiddleware",)

_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY")
)
_OTHER_METHOD: Final = "_OTHER"  # a client may send any word as a method, and each would be a new time series
_UNMATCHED: Final = "__unmatched__"
_GAUGE_INTERVAL: Final = 1.0  # seconds
_FOLDED: Final[Series] = (names.METRICS_FOLDED.name, ())


class MetricsMiddleware(Observer):
    """Feed a sink with the number, the errors and the duration of requests, and with how many are in flight.

    Requests are `api.requests.total`, `.errors`, `.duration` (milliseconds), `.by_endpoint` and `.in_flight`; websockets
    the same under `websocket.connections`. Exceptions that nothing answered and responses that were cut short are
    errors, too. All but `in_flight` have the tags `method` and `route`, all but `by_endpoint` also `status`,
    `status_class`, `outcome` and, where there is one, `error_code`. Nothing that a client makes up becomes a tag: the
    route is its template, or `__unmatched__`, and an unknown method is `_OTHER`.

    With the default sink nothing is measured. A sink that can be started is, by the lifespan or by the first request, and
    closed when the application has shut down.

    Args:
        app: The application.
        sink: Receives the numbers. Default: none does.
        errors: What counts as an error: statuses, classes of them such as `"5xx"`, error codes.
        max_series: How many combinations of tags are told apart; all others share the tag `overflow:true`, and are
            counted in `asgi_resilience.metrics.folded`.
        clock: Gives seconds, monotonic; used where this layer is the outermost.

    Raises:
        ValueError: An option is not what it must be.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sink: MetricSink = NULL,
        errors: Iterable[int | str] = ("5xx",),
        max_series: int = 1000,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if max_series < 1:
            raise ValueError(f"max_series={max_series!r}: expected 1 or more")
        super().__init__(app, clock)
        is_error = ErrorRule(errors)
        self._meters: dict[str, _Meter] | None = None
        # What only some sinks have; `Pipeline` does.
        self._start: Callable[[], None] | None = getattr(sink, "start", None)
        self._close: Callable[[], Any] | None = getattr(sink, "aclose", None)
        if sink is not NULL:
            self._meters = {
                "http": _Meter(
                    sink,
                    is_error,
                    max_series,
                    names.API_REQUESTS_TOTAL,
                    names.API_REQUESTS_ERRORS,
                    names.API_REQUESTS_DURATION,
                    names.API_REQUESTS_BY_ENDPOINT,
                    names.API_REQUESTS_IN_FLIGHT,
                ),
                "websocket": _Meter(
                    sink,
                    is_error,
                    max_series,
                    names.WEBSOCKET_CONNECTIONS_TOTAL,
                    names.WEBSOCKET_CONNECTIONS_ERRORS,
                    names.WEBSOCKET_CONNECTIONS_DURATION,
                    names.WEBSOCKET_CONNECTIONS_BY_ENDPOINT,
                    names.WEBSOCKET_CONNECTIONS_IN_FLIGHT,
                ),
            }

    @property
    def in_flight(self) -> int:
        """How many HTTP requests are in flight now, exactly; 0 without a sink."""
        return 0 if self._meters is None else self._meters["http"].in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self._meters is None:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def begin(self, record: RequestContext, scope: Scope) -> ASGIApp:  # noqa: ARG002 - as in the base class
        """Count a request in."""
        if self._meters is not None and record.ended_at is None and not record.counted:
            record.counted = True
            self._meters[record.kind].began(record)
        return self.app

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the sink with the application, and close it when that has shut down."""
        start, close = self._start, self._close
        if start is not None:
            try:
                start()
            except Exception as error:  # noqa: BLE001 - telemetry may keep no application from starting
                report_failure(start, error)

        async def closing(message: Message) -> None:
            if close is not None and message["type"].startswith("lifespan.shutdown."):
                try:
                    # Before the server hears of the end: it may not come back from that.
                    await close()
                except Exception as error:  # noqa: BLE001 - nor from shutting down
                    report_failure(close, error)
            await send(message)

        await self.app(scope, receive, send if close is None else closing)


class _Meter:
    """The numbers of one kind of connection.

    The gauge is told when it would be off by more than a factor of two, when it goes back to 0, and once a second while
    requests come: two calls for each request would cost more than all the rest. What else a request costs is one call
    of a function that is looked up by its tags.
    """

    def __init__(
        self,
        sink: MetricSink,
        is_error: ErrorRule,
        max_series: int,
        total: Metric,
        errors: Metric,
        duration: Metric,
        by_endpoint: Metric,
        in_flight: Metric,
    ) -> None:
        self.in_flight = 0
        self._sink = sink
        self._start: Callable[[], None] | None = getattr(sink, "start", None)
        self._meter: Callable[[Series, tuple[Series, ...]], Callable[[float], None]]
        self._meter = getattr(sink, "meter", None) or self._separate_calls
        self._is_error = is_error
        self._max_series = max_series
        self._total, self._errors, self._duration = total.name, errors.name, duration.name
        self._by_endpoint, self._gauge = by_endpoint.name, in_flight.name
        self._fewest, self._most, self._due = 0, 0, -inf
        self._known: dict[tuple[object, ...], Callable[[float], None]] = {}
        self._hook = self._ended  # bound once, not for every request

    def began(self, record: RequestContext) -> None:
        # The record calls each of its end hooks exactly once, so the count is back where it was after every request.
        self.in_flight += 1
        record.on_end.append(self._hook)
        if self.in_flight > self._most or record.started_at >= self._due:
            self._due = record.started_at + _GAUGE_INTERVAL
            try:
                self._tell_gauge()
                if self._start is not None:  # by now, another loop may serve requests, or another process
                    self._start()
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(self._sink.gauge, error)

    def _ended(self, record: RequestContext) -> None:
        self.in_flight -= 1
        if self.in_flight < self._fewest:
            self._tell_gauge()
        tell = self._known.get(
            (record.method, record.route, record.status, record.outcome, record.error_code)
        ) or self._learn(record)
        tell((record.ended_at - record.started_at) * 1000)  # type: ignore[operator] # it has ended

    def _tell_gauge(self) -> None:
        count = self.in_flight
        self._fewest, self._most = (count + 1) // 2, max(1, 2 * count)
        self._sink.gauge(self._gauge, count)

    def _learn(self, record: RequestContext) -> Callable[[float], None]:
        """What counts and times a request; methods that a client makes up share one entry."""
        method = record.method if record.method in _METHODS or record.kind == "websocket" else _OTHER_METHOD
        key = (method, record.route, record.status, record.outcome, record.error_code)
        tell = self._known.get(key)
        if tell is None:
            failed = record.outcome in ("server_error", "truncated") or self._is_error(
                record.status, record.error_code
            )
            if len(self._known) >= self._max_series:
                return self._made(OVERFLOW, OVERFLOW, _FOLDED, failed=failed)
            tags = _format(*key)
            tell = self._known[key] = self._made(tags, tags[:2], failed=failed)
        return tell

    def _made(self, tags: Tags, endpoint: Tags, *more: Series, failed: bool) -> Callable[[float], None]:
        counted = [(self._total, tags), (self._by_endpoint, endpoint), *more]
        if failed:
            counted.append((self._errors, tags))
        return self._meter((self._duration, tags), tuple(counted))

    def _separate_calls(self, measured: Series, counted: tuple[Series, ...]) -> Callable[[float], None]:
        sink = self._sink

        def tell(value: float) -> None:
            for name, tags in counted:
                sink.increment(name, 1, tags)
            sink.histogram(measured[0], value, measured[1])

        return tell


def _format(
    method: str, route: str | None, status: int | None, outcome: str | None, error_code: str | None
) -> Tags:
    tags = (
        f"method:{method}",
        f"route:{_UNMATCHED if route is None else route}",
        f"status:{'none' if status is None else status}",
        f"status_class:{'none' if status is None else f'{status // 100}xx'}",
        f"outcome:{outcome}",
    )
    return tags if error_code is None else (*tags, f"error_code:{error_code}")
