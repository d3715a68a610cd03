"""Too much work: what can't be done in time is refused at once, so that the rest is still done in time.

Two signals say that there is too much. The first is concurrency: a limit that finds out by itself how many requests the
application can work on at once (`asgi_resilience/shedding/`). A request is counted until its response starts; how fast a
client reads is no work. The second is the lag of the event loop, where handlers that compute keep requests waiting that no
layer has seen yet. A refusal is a 503 that asks not to be tried again, because retries are what keeps an overload alive.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final

from asgi_resilience.context import (
    KEY,
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    header,
    report_failure,
)
from asgi_resilience.error_catalogue import Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.metric_names import (
    LOAD_SHED_IN_FLIGHT,
    LOAD_SHED_LIMIT,
    LOAD_SHED_SHED,
    LOAD_SHED_WAITING,
)
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.paths import PathTable
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.recorder import observe
from asgi_resilience.shedding import ConcurrencyLimit, FixedLimit, GradientLimit
from asgi_resilience.shedding.gate import PRIORITIES, Gate, Priority
from asgi_resilience.shedding.overload import LagController

__all__ = ("LoadShedMiddleware",)

_logger = logging.getLogger("asgi_resilience.load_shed")
_DO_NOT_RETRY: Final = ((b"x-retry", b"no"),)
_BY_NAME: Final[dict[bytes, Priority]] = {each.encode(): each for each in PRIORITIES}
_TURN: Final = 0.01
"""Seconds between two looks at the lag of the event loop."""
_CALM: Final = 10.0
"""Seconds without a refusal after which an overload is over."""
_ERROR: Final = 400
_OVERLOADED: Final = (503, 504)


class LoadShedMiddleware:
    """Refuse what the application could not do in time.

    Args:
        app: The ASGI app to guard.
        limit: How many requests may be worked on at once: a `ConcurrencyLimit`, or a fixed number. None: a
            `GradientLimit`, which finds it out.
        queue: How many more may wait for their turn. 0: none does. Default 100.
        max_wait: Seconds that one may wait in a burst; in a standing overload a twentieth of it. Default 0.1.
        lag_target: Seconds that the event loop may be behind before a share of the requests is refused. None: it is not
            watched. Watched on asyncio only. Default 0.05.
        paths: Priorities of some paths and everything below them: `"critical"` is refused last, `"sheddable"` first;
            all others are `"normal"`.
        priority_header: Request header with the priority, believed from `trusted_proxies`. None: not read.
        exempt_paths: Paths that are never refused, and not counted, with everything below them.
        trusted_proxies: Addresses and networks whose `priority_header` counts.
        retry_after: Seconds that a refusal asks for, spread from half to one and a half of it. Default 2.0.
        errors: How the 503 looks.
        sink: Gets `load_shed.*`.
        clock: In seconds; monotonic.
        rnd: The dice, uniform between 0.0 and 1.0.

    Raises:
        ValueError: An option is malformed; it names the option and the value.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: ConcurrencyLimit | int | None = None,
        queue: int = 100,
        max_wait: float = 0.1,
        lag_target: float | None = 0.05,
        paths: Mapping[str, Priority] | None = None,
        priority_header: str | None = None,
        exempt_paths: Iterable[str] = (),
        trusted_proxies: TrustedProxies | Iterable[str] = (),
        retry_after: float = 2.0,
        errors: ErrorRenderer | None = None,
        sink: MetricSink = NULL,
        clock: Callable[[], float] = time.monotonic,
        rnd: Callable[[], float] = random.random,
    ) -> None:
        if queue < 0:
            raise ValueError(f"queue={queue!r}: expected 0 or more")
        for option, value in (("max_wait", max_wait), ("retry_after", retry_after)):
            if not 0 < value < inf:
                raise ValueError(f"{option}={value!r}: expected seconds above 0")
        self.app = app
        self.limit = (
            GradientLimit() if limit is None else FixedLimit(limit) if isinstance(limit, int) else limit
        )
        self.gate = Gate(self.limit, queue=queue, longest=max_wait, clock=clock)
        self._lag = None if lag_target is None else LagController(lag_target)
        self._paths = _table(paths or {}, exempt_paths)
        self._header = None if priority_header is None else priority_header.lower().encode("latin-1")
        self._trusted = TrustedProxies.of(trusted_proxies)
        self._retry_after = retry_after
        self._errors = ErrorRenderer() if errors is None else errors
        self._sink = sink
        self.clock = clock
        self._rnd = rnd
        self._measuring = False
        self._look_at = self._tell_at = -inf
        self._shed, self._shed_since, self._shed_at = 0, 0.0, -inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or refuse it."""
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            return await observe(self, scope, receive, send)
        priority: Priority | None = (
            "normal" if self._paths is None else self._paths.get(scope["path"], "normal")
        )
        if priority is None:
            return await self.app(scope, receive, send)
        if self._header is not None:
            priority = self._claimed(scope, priority)
        now = self.clock()
        if now >= self._look_at:
            self._look(now)
        if self._lag is not None and self._lag.share and self._rnd() < _share(self._lag.share, priority):
            return await self._refuse(scope, send, record, priority, "event_loop_lag")
        if record.kind != "http":  # a connection that is open for an hour is not an hour's work
            return await self.app(scope, receive, send)
        if not self.gate.enter(priority):
            if not await self.gate.wait(priority):
                return await self._refuse(scope, send, record, priority, "concurrency")
            now = self.clock()
        permit = _Permit(self, now)
        record.on_start.append(permit.answered)
        try:
            return await self.app(scope, receive, send)
        finally:
            permit.give_back()

    def _claimed(self, scope: Scope, otherwise: Priority) -> Priority:
        assert self._header is not None
        value = header(scope, self._header)
        if value is None or not self._trusted.trusts(peer(scope)):
            return otherwise
        return _BY_NAME.get(value.strip().lower(), otherwise)

    async def _refuse(
        self, scope: Scope, send: Send, record: RequestContext, priority: Priority, reason: str
    ) -> None:
        now = self.clock()
        if not self._shed:
            self._shed_since = now
            _logger.warning("Overloaded (%s): requests are refused with 503 SERVICE_OVERLOADED", reason)
        self._shed += 1
        self._shed_at = now
        record.outcome = "shed"
        record.bind(load_shed=reason)
        try:
            self._sink.increment(LOAD_SHED_SHED.name, 1, (f"reason:{reason}", f"priority:{priority}"))
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(self._sink.increment, error)
        spec = self._errors.catalogue["SERVICE_OVERLOADED"]
        failure = Failure(spec, spec.message, retry_after=self._retry_after * (0.5 + self._rnd()))
        await self._errors.answer(scope, send, failure, headers=_DO_NOT_RETRY)

    def _look(self, now: float) -> None:
        """Look at what does not change with every request."""
        self._look_at = now + _TURN
        if self._lag is not None:
            try:
                asyncio.get_running_loop().call_soon(self._turned, self._lag, now)
            except RuntimeError:  # not asyncio
                self._lag = None
            else:
                if not self._measuring:
                    self._lag.forget(now)
                self._measuring = True
        if now >= self._tell_at:
            self._tell_at = now + 1.0
            self._tell(now)

    def _turned(self, lag: LagController, asked: float) -> None:
        """The event loop has come round, and has run everything that was ready before."""
        self._measuring = False
        now = self.clock()
        lag.update(now - asked, now)

    def _tell(self, now: float) -> None:
        if self._shed and now - self._shed_at > _CALM:
            seconds = self._shed_at - self._shed_since
            _logger.warning("No longer overloaded: %d requests were refused in %.1f s", self._shed, seconds)
            self._shed = 0
        try:
            self._sink.gauge(LOAD_SHED_LIMIT.name, self.limit.limit)
            self._sink.gauge(LOAD_SHED_IN_FLIGHT.name, self.gate.in_flight)
            self._sink.gauge(LOAD_SHED_WAITING.name, self.gate.waiting)
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(self._sink.gauge, error)


class _Permit:
    """A place at work, from the admission to the start of the response."""

    __slots__ = ("_began", "_held", "_layer")

    def __init__(self, layer: LoadShedMiddleware, began: float) -> None:
        self._layer = layer
        self._began = began
        self._held = True

    def answered(self, _: RequestContext, message: Message) -> None:
        """The response starts: the work is done, and how long it took is worth knowing."""
        if not self._held:
            return
        self._held = False
        layer = self._layer
        gate = layer.gate
        in_flight = gate.in_flight
        gate.leave()
        status: int = message["status"]
        # What else fails, fails fast, and would pass for good health.
        if status < _ERROR or status in _OVERLOADED:
            now = layer.clock()
            layer.limit.sample(now - self._began, in_flight, now, dropped=status >= _ERROR)

    def give_back(self) -> None:
        """Let the next one in, unless the response has started."""
        if self._held:
            self._held = False
            self._layer.gate.leave()


def _share(share: float, priority: Priority) -> float:
    """The share of a priority: `sheddable` is gone before half of `normal` is, and that before `critical` suffers."""
    if priority == "normal":
        return share
    return 2 * share if priority == "sheddable" else 2 * share - 1


def _table(paths: Mapping[str, Priority], exempt: Iterable[str]) -> PathTable[Priority | None] | None:
    table: dict[str, Priority | None] = dict.fromkeys(exempt)
    for path, priority in paths.items():
        if path in table:
            raise ValueError(f"paths and exempt_paths both name {path!r}: only one of them may")
        if priority not in PRIORITIES:
            raise ValueError(f"paths[{path!r}]={priority!r}: expected one of {', '.join(PRIORITIES)}")
        table[path] = priority
    return PathTable(table, "paths and exempt_paths") if table else None
