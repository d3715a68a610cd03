"""Serve an app of known capacity with uvicorn, with or without load shedding around it.

`python -m benchmarks.saturated NAME LOOP BACKLOG` prints the port; it ends with its input.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

import uvicorn

from asgi_resilience import Settings, wrap
from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from asgi_resilience.telemetry.pipeline import Pipeline
from benchmarks.subject import hello, log_to_nowhere

__all__ = ("APPS", "COMPUTES", "WAITS")

POOL = 10
SECONDS_OF_POOL, SECONDS_OF_CPU = 0.05, 0.02


def waits() -> ASGIApp:
    """An app whose requests each need one of ten connections for 50 ms: 200 a second, and not one more."""
    pool = asyncio.Semaphore(POOL)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with pool:
            await asyncio.sleep(SECONDS_OF_POOL)
        await hello(scope, receive, send)

    return app


def computes() -> ASGIApp:
    """An app that computes for 20 ms, however fast the machine is, and holds the event loop meanwhile."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        until = time.thread_time() + SECONDS_OF_CPU
        while time.thread_time() < until:
            pass
        await hello(scope, receive, send)

    return app


def _stack(app: ASGIApp, *, load_shed: bool) -> ASGIApp:
    return wrap(app, Settings(load_shed=load_shed, metric_sink=Pipeline()))


WAITS, COMPUTES = "waits for a pool", "computes"
APPS: Mapping[str, Callable[[], ASGIApp]] = {
    WAITS: lambda: _stack(waits(), load_shed=False),
    f"{WAITS}, shedding": lambda: _stack(waits(), load_shed=True),
    COMPUTES: lambda: _stack(computes(), load_shed=False),
    f"{COMPUTES}, shedding": lambda: _stack(computes(), load_shed=True),
}


def _end() -> None:
    sys.stdin.read()
    os._exit(0)


def _serve(name: str, loop: str, backlog: str) -> None:
    log_to_nowhere()
    listener = socket.create_server(("127.0.0.1", 0), backlog=int(backlog))
    threading.Thread(target=_end, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        APPS[name](), loop=loop, backlog=int(backlog), log_level="critical", access_log=False, lifespan="off"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve(*sys.argv[1:4])
