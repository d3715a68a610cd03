"""Serve one app of the comparison with uvicorn, and tell the CPU time of the process whenever asked.

`python -m benchmarks.served NAME LOOP` prints the port, and then the CPU seconds so far for each line of standard input; the
lines `begin` and `mark` are for callgrind, too. It ends with its input.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

import uvicorn

from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from benchmarks import assembly, callgrind
from benchmarks.subject import everything, hello, log_to_nowhere, no_ops

__all__ = ("APPS",)


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that waits 2 ms for somebody else."""
    await asyncio.sleep(0.002)
    await hello(scope, receive, send)


async def computes(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that computes for 2 ms, however fast the machine is."""
    until = time.thread_time() + 0.002
    while time.thread_time() < until:
        pass
    await hello(scope, receive, send)


GENEROUS = "10000000/minute"  # a single client asks, for all of them

APPS: Mapping[str, Callable[[], ASGIApp]] = {
    "bare": lambda: hello,
    "seven no-op layers": lambda: no_ops(7, hello),
    "forty no-op layers": lambda: no_ops(40, hello),
    "whole stack": lambda: everything(hello, rate_limit=GENEROUS),
    "put together": lambda: assembly.everything(GENEROUS)(hello),
    "one empty BaseHTTPMiddleware": lambda: assembly.base_http()(hello),
    "bare, waits 2 ms": lambda: waits,
    "whole stack, waits 2 ms": lambda: everything(waits, rate_limit=GENEROUS),
    "bare, computes 2 ms": lambda: computes,
    "whole stack, computes 2 ms": lambda: everything(computes, rate_limit=GENEROUS),
}


_ACTIONS = {"begin": callgrind.begin, "mark": callgrind.mark}


def _tell() -> None:
    for asked in sys.stdin:
        if action := _ACTIONS.get(asked.strip()):
            action()
        print(time.process_time(), flush=True)
    os._exit(0)


def _serve(name: str, loop: str) -> None:
    log_to_nowhere()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    threading.Thread(target=_tell, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(APPS[name](), loop=loop, http="httptools", log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve(*sys.argv[1:3])
