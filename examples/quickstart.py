"""A service that has everything go wrong: serve it with `asgi-resilience run examples.quickstart:app`.

Nothing here knows of asgi_resilience but one error and one record: the command wraps `app`.
"""

import logging
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from asgi_resilience import NotFound, current_request

logger = logging.getLogger("quickstart")
ITEMS = {"1": "anvil", "2": "rocket skates"}


async def item(request: Request) -> Response:
    """200, or a 404 that says which item is missing."""
    number = request.path_params["number"]
    if number not in ITEMS:
        raise NotFound(details=f"There is no item {number}")
    if record := current_request():
        record.user_id = "user_ada"
        record.bind(item=number)
    return JSONResponse({"item": ITEMS[number]})


async def crash(_: Request) -> Response:
    """500: the client learns nothing of the reason, and the log no secret."""
    raise RuntimeError("login of ada@example.com failed with password=hunter2")


async def slow(_: Request) -> Response:
    """504 as soon as the timeout is over."""
    await anyio.sleep(60)
    return JSONResponse({"late": True})


async def stream(_: Request) -> Response:
    """A body in pieces; a timeout counts while the application is silent."""

    async def count() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"
            await anyio.sleep(0.1)

    return StreamingResponse(count(), media_type="text/plain")


async def order(_: Request) -> Response:
    """An answer at once, and work after it that the timeout leaves alone."""
    return JSONResponse({"ordered": True}, status_code=202, background=BackgroundTask(pack))


async def pack() -> None:
    """The log line bears the id of the request that caused it."""
    await anyio.sleep(0.1)
    logger.info("packed", extra={"parcels": 1})


app = Starlette(
    routes=[
        Route("/items/{number}", item),
        Route("/crash", crash),
        Route("/slow", slow),
        Route("/stream", stream),
        Route("/orders", order, methods=["POST"]),
    ]
)
