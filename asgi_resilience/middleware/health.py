"""Answer health probes: is the process alive, is it ready for traffic, has it started, and how is all of it?

The answers come from this layer alone, so probes are neither logged, limited nor timed out when it stands outermost.
What each asks differs, because the consequence does: an orchestrator restarts what is not alive, so that never depends
on others; it sends no traffic to what is not ready, and that does.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final
from weakref import WeakSet

import orjson

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send, report_failure
from asgi_resilience.drain_phase import DrainPhase
from asgi_resilience.health_check import Check, HealthCheck, HealthChecks, HealthStatus

__all__ = ("HealthMiddleware", "drain")

_Report = tuple[HealthStatus, dict[str, HealthStatus]]

_SERVED: Final = b"GET, HEAD"
_layers: "WeakSet[HealthMiddleware]" = WeakSet()


def drain() -> None:
    """Make this process's readiness 503, so that load balancers send no more requests; what is under way goes on.

    From now on each HTTP/1 response closes its connection, so that none is idle when the server closes them all.
    There is no way back. Safe to call from a signal handler, from any thread, and more than once.
    """
    for layer in list(_layers):
        layer.drain()


class HealthMiddleware:
    """Answer GET and HEAD on the health paths; everything else goes to the app.

    The answer is 200, or 503 when unhealthy, with a JSON report: `status`, `timestamp`, `version`, `uptime_seconds` and
    `dependencies`. A degraded service answers 200: it works.

    - `live`: healthy while the process can answer at all. Asks nobody.
    - `startup`: healthy once the app has completed its lifespan startup; from the beginning for an app, or a server,
      that does without lifespan. Asks nobody.
    - `ready`, and the report at `path`: healthy when started, not draining, and the dependencies are. They are asked only
      then. Draining begins with `drain()`, and with lifespan shutdown at the latest; servers stop listening before
      that, so load balancers only see the 503 of a `drain()`, or of `drain_seconds`.

    Args:
        app: The application.
        checks: The dependencies: async functions by name, or `HealthCheck`s.
        version: Of the service; stands in the report.
        path: Where the report is. None: nowhere; the app may use the path itself.
        live_path: As `path`.
        ready_path: As `path`.
        startup_path: As `path`.
        check_timeout: Seconds for each check that names no other. The checks run at the same time, so the answer takes no
            longer. Default 0.8: an orchestrator gives a probe 1 s.
        cache_ttl: Seconds for which a check's answer is kept. Default 1.0.
        details: Whether the report names version and dependencies: always, never, or as a function of the scope says.
        reports: More for people: functions by name, whose answers `?details` at `path` adds as `details`, to whoever may
            see these at all. They change no status, so a probe need not know of them. They must not block.
        drain_seconds: For which SIGTERM is held back from the server after a `drain()`; a second one is not.
            Default 0.0: it is the server's alone. It begins with the server's lifespan call; see `DrainPhase`.
        clock: Seconds, monotonic.
        wall_clock: Seconds since the epoch, for `timestamp`.

    Raises:
        ValueError: A path does not begin with a slash or is used twice, `drain_seconds` is below 0 or endless, or as
            `HealthChecks`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        checks: Iterable[HealthCheck] | Mapping[str, HealthCheck | Check] = (),
        version: str = "",
        path: str | None = "/health",
        live_path: str | None = "/health/live",
        ready_path: str | None = "/health/ready",
        startup_path: str | None = "/health/startup",
        check_timeout: float = 0.8,
        cache_ttl: float = 1.0,
        details: bool | Callable[[Scope], bool] = True,
        reports: Mapping[str, Callable[[], object]] | None = None,
        drain_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = self._pass_on = app
        self._drain_phase = DrainPhase(drain_seconds, drain)
        self._checks = HealthChecks(checks, timeout=check_timeout, ttl=cache_ttl, clock=clock)
        self._version = version
        self._details = details
        self._more = dict(reports or {})
        self._clock = clock
        self._wall_clock = wall_clock
        self._born = clock()
        self._started = True  # until a server says by its lifespan call that there is something to wait for
        self._draining = False
        self._reports: dict[str, Callable[[], Awaitable[_Report]]] = {}
        for option, where, report in (
            ("path", path, self._whole),
            ("live_path", live_path, self._live),
            ("ready_path", ready_path, self._ready),
            ("startup_path", startup_path, self._startup),
        ):
            if where is not None:
                self._serve(option, where, report)
        _layers.add(self)

    def _serve(self, option: str, path: str, report: Callable[[], Awaitable[_Report]]) -> None:
        if not path.startswith("/"):
            raise ValueError(f"{option}={path!r}: expected a path that begins with '/', or None")
        path = path.rstrip("/")
        if path in self._reports:
            raise ValueError(f"{option}={path!r}: another health path is the same")
        self._reports[path] = self._reports[f"{path}/"] = report

    def drain(self) -> None:
        """As the function `drain`, for this layer alone."""
        self._draining = True
        self._pass_on = self._pass_on_and_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            report = self._reports.get(scope["path"])
            if report is None and scope.get("root_path"):
                report = self._below_root(scope)
            if report is not None:
                await self._answer(scope, send, report)
                return
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on_and_close(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("http_version", "1.1") not in ("1.0", "1.1"):
            await self.app(scope, receive, send)  # RFC 9113 §8.2.2: HTTP/2 knows no such header
            return

        async def closing_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [field for field in message.get("headers", ()) if field[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
            await send(message)

        await self.app(scope, receive, closing_send)

    def _below_root(self, scope: Scope) -> Callable[[], Awaitable[_Report]] | None:
        path: str = scope["path"]
        root: str = scope["root_path"].rstrip("/")
        return self._reports.get(path[len(root) :]) if path.startswith(f"{root}/") else None

    async def _answer(self, scope: Scope, send: Send, report: Callable[[], Awaitable[_Report]]) -> None:
        headers = [(b"cache-control", b"no-store")]
        if scope["method"] in ("GET", "HEAD"):
            health, dependencies = await report()
            status = 503 if health == "unhealthy" else 200
            details = self._may_see_details(scope)
            told: dict[str, object] = {
                "status": health,
                "timestamp": datetime.fromtimestamp(self._wall_clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "version": self._version if details else "",
                "uptime_seconds": int(self._clock() - self._born),
                "dependencies": dependencies if details else {},
            }
            if details and self._more and report == self._whole and _asks_for_details(scope):
                told["details"] = {name: _told(more) for name, more in self._more.items()}
            body = orjson.dumps(told)
            headers.append((b"content-type", b"application/json"))
        else:
            status, body = 405, b""
            headers.append((b"allow", _SERVED))
        headers.append((b"content-length", str(len(body)).encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _may_see_details(self, scope: Scope) -> bool:
        details = self._details
        if isinstance(details, bool):
            return details
        try:
            return details(scope)
        except Exception as error:  # noqa: BLE001 - a probe must get its answer
            report_failure(details, error)
            return False

    async def _whole(self) -> _Report:
        return await self._ready()

    async def _live(self) -> _Report:
        return "healthy", {}

    async def _startup(self) -> _Report:
        return "healthy" if self._started else "unhealthy", {}

    async def _ready(self) -> _Report:
        if self._draining or not self._started:
            return "unhealthy", {}
        return await self._checks.ask()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.drain()
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "lifespan.startup.complete":
                answered = self._started = True
            elif message["type"] == "lifespan.startup.failed":
                answered = True
            await send(message)

        self._started = self._draining = False
        self._pass_on = self.app
        self._drain_phase.install()
        try:
            await self.app(scope, watched_receive, watched_send)
        finally:
            if answered:
                self._drain_phase.remove()
            else:  # an app without lifespan: the server goes on without it, too
                self._started = True


def _asks_for_details(scope: Scope) -> bool:
    query: bytes = scope.get("query_string", b"")
    return any(part.partition(b"=")[0] == b"details" for part in query.split(b"&"))


def _told(report: Callable[[], object]) -> orjson.Fragment | None:
    try:
        return orjson.Fragment(orjson.dumps(report()))
    except Exception as error:  # noqa: BLE001 - the rest of the report is to be seen all the same
        report_failure(report, error)
        return None
