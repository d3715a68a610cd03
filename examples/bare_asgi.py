"""No framework at all: an ASGI callable, wrapped in code."""

from asgi_resilience import Settings, wrap
from asgi_resilience.context import Receive, Scope, Send


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Say hello at /, and nothing but a status anywhere else."""
    del receive
    if scope["type"] != "http":
        return
    found = scope["path"] == "/"
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": []})
    await send({"type": "http.response.body", "body": b"hello" if found else b""})


app = wrap(hello, Settings(service="hello", timeout=5.0))
