"""The same work done by other packages, each used as its documentation says, in its fastest documented way.

Where a package is a library and no middleware, the few lines that its users write around it are here. Lines go to
`/dev/null`, packets to a socket that nobody reads.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send

__all__ = (
    "PACKAGES",
    "Around",
    "LogWriter",
    "base_http",
    "error_handlers",
    "everything",
    "log_writers",
    "peers",
)

PACKAGES = (
    "asgi-correlation-id",
    "starlette-context",
    "opentelemetry-instrumentation-asgi",
    "structlog",
    "python-json-logger",
    "datadog",
    "timing-asgi",
    "starlette-problem",
    "limits",
    "slowapi",
)

Around = Callable[[ASGIApp], ASGIApp]
LogWriter = Callable[[str, Mapping[str, Any]], None]
"""Writes a message and fields as a line."""


@cache
def peers() -> Mapping[str, Around]:
    """The packages by what the tables call them; those that are not installed are left out."""
    found: dict[str, Around] = {}
    for name, make in _MAKERS.items():
        with suppress(ImportError):
            found[name] = make()
    return found


def everything(limit: str = "100/minute") -> Around:
    """What a careful team puts together: an id, a line, a metric, error pages, a quota and a timeout."""
    layers = [_correlation_id(), _structlog(), _datadog(), _starlette_errors(), _limits(limit), _fail_after()]

    def around(app: ASGIApp) -> ASGIApp:
        for layer in reversed(layers):
            app = layer(app)
        return app

    return around


def error_handlers() -> Mapping[str, Around]:
    """What answers an `HTTPException`."""
    found: dict[str, Around] = {"404 of Starlette": ExceptionMiddleware}
    with suppress(ImportError):
        from starlette.exceptions import HTTPException
        from starlette_problem.handler import ExceptionHandler, http_exception_handler_

        handler = ExceptionHandler(handlers={HTTPException: http_exception_handler_})
        found["404 of starlette-problem"] = partial(ExceptionMiddleware, handlers={HTTPException: handler})
    return found


def base_http() -> Around:
    """One `BaseHTTPMiddleware` that does nothing."""

    class Empty(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    return Empty


# ------------------------------------------------------------------------------------------------- middlewares


def _correlation_id() -> Around:
    from asgi_correlation_id import CorrelationIdMiddleware

    return CorrelationIdMiddleware


def _starlette_context() -> Around:
    from starlette_context.middleware import RawContextMiddleware
    from starlette_context.plugins import RequestIdPlugin

    return partial(RawContextMiddleware, plugins=(RequestIdPlugin(),))


def _opentelemetry() -> Around:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider

    return partial(OpenTelemetryMiddleware, tracer_provider=TracerProvider(shutdown_on_exit=False))


def _timing() -> Around:
    from timing_asgi import TimingMiddleware

    return partial(TimingMiddleware, client=SimpleNamespace(timing=lambda *_, **__: None))


def _starlette_errors() -> Around:
    return lambda app: ServerErrorMiddleware(ExceptionMiddleware(app))


def _slowapi() -> Around:
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address

    async def endpoint(_: Any) -> None: ...

    application = Starlette(routes=[Route("/api/v1/orders/{number}", endpoint)])
    application.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=["100/minute"], headers_enabled=True
    )

    def around(app: ASGIApp) -> ASGIApp:
        layer = SlowAPIASGIMiddleware(app)

        async def inside(scope: Scope, receive: Receive, send: Send) -> None:
            scope["app"] = application  # as it is when Starlette calls the layer
            await layer(scope, receive, send)

        return inside

    return around


# ------------------------------------------------------------------------------- libraries, with what users write


def _structlog_writer(path: Path) -> LogWriter:
    import orjson
    import structlog

    logger = structlog.wrap_logger(
        structlog.BytesLogger(path.open("ab")),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        cache_logger_on_first_use=True,
    )
    return lambda message, fields: logger.info(message, **fields)


def _json_logger_writer(path: Path) -> LogWriter:
    from pythonjsonlogger.json import JsonFormatter

    return _logging_writer(path, JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))


def _stdlib_writer(path: Path) -> LogWriter:
    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            fields = {name: record.__dict__[name] for name in _EXTRA if name in record.__dict__}
            when = self.formatTime(record)
            return json.dumps(
                {"timestamp": when, "level": record.levelname, "message": record.getMessage(), **fields}
            )

    return _logging_writer(path, Formatter())


def _logging_writer(path: Path, formatter: logging.Formatter) -> LogWriter:
    handler = logging.FileHandler(path)
    handler.setFormatter(formatter)
    logger = logging.getLogger(f"benchmarks.{type(formatter).__module__}")
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [handler], False
    return lambda message, fields: logger.info(message, extra=fields)


@cache
def log_writers(path: Path) -> Mapping[str, LogWriter]:
    """Packages that write a line of JSON to a file; those that are not installed are left out."""
    found: dict[str, LogWriter] = {}
    for name, make in _LOG_WRITERS.items():
        with suppress(ImportError):
            found[name] = make(path)
    return found


def _structlog() -> Around:
    return _access_log(_structlog_writer(_NOWHERE))


def _json_logger() -> Around:
    return _access_log(_json_logger_writer(_NOWHERE))


def _access_log(write: LogWriter) -> Around:
    """The layer that nearly everybody has written once."""

    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            began = perf_counter()
            status = size = 0

            async def wrapped(message: Message) -> None:
                nonlocal status, size
                if message["type"] == "http.response.start":
                    status = message["status"]
                elif message["type"] == "http.response.body":
                    size += len(message.get("body", b""))
                await send(message)

            try:
                await app(scope, receive, wrapped)
            finally:
                headers = dict(scope["headers"])
                write(
                    f"{scope['method']} {scope['path']} {status}",
                    {
                        "service": "orders",
                        "environment": "production",
                        "version": "1.4.2",
                        "http_method": scope["method"],
                        "http_status": status,
                        "path": scope["path"],
                        "user_agent": headers.get(b"user-agent", b"").decode("latin-1"),
                        "client_ip": scope["client"][0],
                        "bytes_written": size,
                        "duration_ms": (perf_counter() - began) * 1000,
                    },
                )

        return layer

    return around


@cache
def _datadog() -> Around:
    from datadog.dogstatsd import DogStatsd

    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    statsd = DogStatsd(host="127.0.0.1", port=nobody.getsockname()[1])

    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send, _socket: Any = nobody) -> None:
            began = perf_counter()
            status = 0

            async def wrapped(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, wrapped)
            finally:
                tags = [f"method:{scope['method']}", "route:/orders/{number}", f"status:{status}"]
                statsd.increment("api.requests.total", tags=tags)
                statsd.histogram("api.requests.duration", (perf_counter() - began) * 1000, tags=tags)

        return layer

    return around


def _limits(rate: str = "100/minute") -> Around:
    from limits import parse
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    limiter, limit = FixedWindowRateLimiter(MemoryStorage()), parse(rate)

    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            client = scope["client"][0]
            if not limiter.hit(limit, client):
                await send({"type": "http.response.start", "status": 429, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            left = limiter.get_window_stats(limit, client).remaining

            async def wrapped(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-ratelimit-remaining", b"%d" % left)]
                await send(message)

            await app(scope, receive, wrapped)

        return layer

    return around


def _asyncio_timeout() -> Around:
    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            async with asyncio.timeout(30):
                await app(scope, receive, send)

        return layer

    return around


def _fail_after() -> Around:
    def around(app: ASGIApp) -> ASGIApp:
        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            with anyio.fail_after(30):
                await app(scope, receive, send)

        return layer

    return around


_NOWHERE = Path(os.devnull)
_EXTRA = frozenset(
    ("service", "environment", "version", "http_method", "http_status", "path", "user_agent", "client_ip")
) | {"bytes_written", "duration_ms", "request_id"}

_LOG_WRITERS: Mapping[str, Callable[[Path], LogWriter]] = {
    "structlog with orjson": _structlog_writer,
    "python-json-logger": _json_logger_writer,
    "logging and json": _stdlib_writer,
}

_MAKERS: Mapping[str, Callable[[], Around]] = {
    "asgi-correlation-id": _correlation_id,
    "starlette-context": _starlette_context,
    "opentelemetry-instrumentation-asgi": _opentelemetry,
    "structlog, one line": _structlog,
    "python-json-logger, one line": _json_logger,
    "datadog, two metrics": _datadog,
    "timing-asgi": _timing,
    "Starlette's two error layers": _starlette_errors,
    "limits, in memory": _limits,
    "slowapi": _slowapi,
    "asyncio.timeout": _asyncio_timeout,
    "anyio.fail_after": _fail_after,
    "put together": everything,
    "one empty BaseHTTPMiddleware": base_http,
}
