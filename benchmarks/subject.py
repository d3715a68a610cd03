"""What is measured: a hello-world, the requests that it gets, the unit of cost, and the stack with everything on."""

import asyncio
import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from starlette.middleware import Middleware

from asgi_resilience import Settings, stack
from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send
from asgi_resilience.logs.sink import LogSink, set_default_sink
from asgi_resilience.telemetry.pipeline import Pipeline
from benchmarks.timing import Request

UNIT_LAYERS = 8
"""No-op layers that are stacked to weigh one of them: a single one is too light for any scale."""

_REQUEST = b"\r\n".join((
    b"host: api.example.com",
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
    b"accept: application/json, text/plain, */*",
    b"accept-encoding: gzip, deflate, br, zstd",
    b"accept-language: en-GB,en;q=0.9,de;q=0.8",
    b"content-type: application/json",
    b"cookie: theme=dark; session=0b8f2c1e9d7a4f36",
    b"x-forwarded-for: 203.0.113.7",
    b"connection: keep-alive",
))  # fmt: skip
# Each of 4,096 clients asks five times in a row: most find themselves known to the quota, and nobody is refused.
_clients = cycle(
    [(f"198.51.{net}.{host}", 40_000 + host) for net in range(16) for host in range(256) for _ in range(5)]
)

_START = 200, (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"13")


def http_scope() -> Scope:
    """A fresh scope with fresh headers, as uvicorn hands it over."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("10.0.0.5", 8000),
        "client": next(_clients),
        "scheme": "http",
        "root_path": "",
        "headers": [tuple(line.split(b": ", 1)) for line in _REQUEST.split(b"\r\n")],
        "state": {},
        "method": "GET",
        "path": "/api/v1/orders/42",
        "raw_path": b"/api/v1/orders/42",
        "query_string": b"page=2&sort=created",
    }


async def receive() -> Message:
    """The server's `receive` of a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_: Message) -> None:
    """The server's `send`, with an infinitely fast client behind it."""


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The smallest app: one start, one body."""
    status, *headers = _START
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def pausing(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of most questions: it lets the event loop turn once, as one does that asks a database, and says hello."""
    await asyncio.sleep(0)
    await hello(scope, receive, send)


def request_of(app: ASGIApp) -> Request:
    """One request after the other to the app."""
    return lambda: app(http_scope(), receive, send)


def no_op(app: ASGIApp) -> ASGIApp:
    """The unit of cost: a pure ASGI middleware that wraps `send` and calls through."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped(message: Message) -> None:
            await send(message)

        await app(scope, receive, wrapped)

    return layer


def no_ops(count: int, app: ASGIApp = pausing) -> ASGIApp:
    """`count` no-op layers around the app."""
    for _ in range(count):
        app = no_op(app)
    return app


def everything_on(**changes: Any) -> Settings:
    """Settings with every layer at work; nobody is refused, and the numbers are summed up for real."""
    return Settings(
        **{
            "service": "orders",
            "environment": "production",
            "version": "1.4.2",
            "rate_limit": "100/minute",
            "metric_sink": Pipeline(flush_interval=3600.0),  # a flush would be counted now and then
            **changes,
        }
    )


def name_of(layer: Middleware) -> str:
    """What the tables call a layer: `ErrorEnvelopeMiddleware` is the error envelope."""
    words = "".join(f" {each.lower()}" if each.isupper() else each for each in layer.cls.__name__)
    return words.removesuffix(" middleware").strip().replace("i d", "id")


def build(layers: Sequence[Middleware], app: ASGIApp = pausing) -> ASGIApp:
    """`app` inside the layers, outermost first."""
    make: Callable[..., Any]
    for layer in reversed(layers):
        make = layer.cls
        app = make(app, *layer.args, **layer.kwargs)
    return app


def log_to_nowhere() -> None:
    """Have all lines written for real, by the sink's thread, to where they disturb nobody."""
    set_default_sink(LogSink(os.open(os.devnull, os.O_WRONLY)))


def everything(app: ASGIApp = pausing, **changes: Any) -> ASGIApp:
    """`app` inside the whole stack with everything on."""
    return build(stack(everything_on(**changes)), app)
