"""Count requests, time them, and hand the numbers to a sink."""

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

from asgi_resilience import metric_names as names
from asgi_resilience.context import KEY, ASGIApp, Receive, RequestContext, Scope, Send, report_failure
from asgi_resilience.metric_names import Metric
from asgi_resilience.metric_sink import NULL, MetricSink, Tags
from asgi_resilience.recorder import observe

__all__ = ("MetricsMiddleware",)

_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY")
)
_OTHER_METHOD: Final = "_OTHER"  # a client may send any word as a method, and each would be a new time series
_UNMATCHED: Final = "__unmatched__"
_SERVER_ERROR: Final = 500
_GAUGE_INTERVAL: Final = 1.0  # seconds
_MOST_TAGS: Final = 4096  # combinations that are remembered; far more than a service has


class MetricsMiddleware:
    """Feed a sink with the number, the errors and the duration of requests, and with how many are in flight.

    Requests are `api.requests.total`, `.errors`, `.duration` (milliseconds) and `.in_flight`; websockets the same under
    `websocket.connections`. Errors are answers from status 500 on, exceptions that nothing answered, and responses that
    were cut short. All but `in_flight` have the tags `method`, `route`, `status`, `status_class`, `outcome` and, where
    there is one, `error_code`. Nothing that a client makes up becomes a tag: the route is its template, or
    `__unmatched__`, and an unknown method is `_OTHER`.

    With the default sink nothing is measured.

    Args:
        app: The application.
        sink: Receives the numbers. Default: none does.
        clock: Gives seconds, monotonic; used where this layer is the outermost.
    """

    def __init__(
        self, app: ASGIApp, *, sink: MetricSink = NULL, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.app = app
        self._sink = sink
        self._clock = clock
        self._meters: dict[str, _Meter] | None = None
        if sink is not NULL:
            self._meters = {
                "http": _Meter(
                    sink,
                    names.API_REQUESTS_TOTAL,
                    names.API_REQUESTS_ERRORS,
                    names.API_REQUESTS_DURATION,
                    names.API_REQUESTS_IN_FLIGHT,
                ),
                "websocket": _Meter(
                    sink,
                    names.WEBSOCKET_CONNECTIONS_TOTAL,
                    names.WEBSOCKET_CONNECTIONS_ERRORS,
                    names.WEBSOCKET_CONNECTIONS_DURATION,
                    names.WEBSOCKET_CONNECTIONS_IN_FLIGHT,
                ),
            }

    @property
    def in_flight(self) -> int:
        """How many HTTP requests are in flight now, exactly; 0 without a sink."""
        return 0 if self._meters is None else self._meters["http"].in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self._meters is not None:
            record: RequestContext | None = scope.get(KEY)
            if record is None:
                await observe(self, scope, receive, send, clock=self._clock)
                return
            if record.ended_at is None and not record.counted:
                record.counted = True
                self._meters[record.kind].began(record)
        await self.app(scope, receive, send)


class _Meter:
    """The numbers of one kind of connection.

    The gauge is told when it would be off by more than a factor of two, when it goes back to 0, and once a second while
    requests come: two calls for each request would cost more than all the rest.
    """

    def __init__(
        self, sink: MetricSink, total: Metric, errors: Metric, duration: Metric, in_flight: Metric
    ) -> None:
        self.in_flight = 0
        self._sink = sink
        self._total, self._errors, self._duration = total.name, errors.name, duration.name
        self._gauge = in_flight.name
        self._fewest, self._most, self._due = 0, 0, -inf
        self._known: dict[tuple[object, ...], tuple[Tags, bool]] = {}
        self._hook = self._ended  # bound once, not for every request

    def began(self, record: RequestContext) -> None:
        # The record calls each of its end hooks exactly once, so the count is back where it was after every request.
        self.in_flight += 1
        record.on_end.append(self._hook)
        if self.in_flight > self._most or record.started_at >= self._due:
            self._due = record.started_at + _GAUGE_INTERVAL
            try:
                self._tell_gauge()
            except Exception as error:  # noqa: BLE001 - telemetry may never change a response
                report_failure(self._sink.gauge, error)

    def _ended(self, record: RequestContext) -> None:
        self.in_flight -= 1
        if self.in_flight < self._fewest:
            self._tell_gauge()
        sink = self._sink
        tags, failed = self._known.get(
            (record.method, record.route, record.status, record.outcome, record.error_code)
        ) or self._learn(record)
        sink.increment(self._total, 1, tags)
        sink.histogram(self._duration, record.duration * 1000, tags)
        if failed:
            sink.increment(self._errors, 1, tags)

    def _tell_gauge(self) -> None:
        count = self.in_flight
        self._fewest, self._most = (count + 1) // 2, max(1, 2 * count)
        self._sink.gauge(self._gauge, count)

    def _learn(self, record: RequestContext) -> tuple[Tags, bool]:
        """The tags of a request, and whether it is an error; methods that a client makes up share one entry."""
        method = record.method if record.method in _METHODS or record.kind == "websocket" else _OTHER_METHOD
        key = (method, record.route, record.status, record.outcome, record.error_code)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_TAGS:
                self._known.clear()
            failed = record.outcome in ("server_error", "truncated") or (record.status or 0) >= _SERVER_ERROR
            known = self._known[key] = _format(*key), failed
        return known


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
