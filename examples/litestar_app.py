"""Litestar: its errors are JSON already and stay as they are; a timeout and a quota answer with envelopes."""

from litestar import Litestar, get
from litestar.params import FromPath

from asgi_resilience import Settings, current_request, wrap


@get("/items/{number:int}")
async def item(number: FromPath[int]) -> dict[str, int | str | None]:
    """An item, and the id of the request that asked for it."""
    record = current_request()
    return {"item": number, "request_id": record and record.request_id}


@get("/crash")
async def crash() -> None:
    """A bug."""
    raise ZeroDivisionError


litestar = Litestar([item, crash], openapi_config=None)
app = wrap(litestar, Settings(service="catalogue"))
