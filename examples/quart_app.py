"""Quart: its error pages are HTML, and become envelopes."""

from quart import Quart

from asgi_resilience import Settings, current_request, wrap

quart = Quart(__name__)


@quart.get("/items/<int:number>")
async def item(number: int) -> dict[str, int | str | None]:
    """An item, and the id of the request that asked for it."""
    record = current_request()
    return {"item": number, "request_id": record and record.request_id}


@quart.get("/crash")
async def crash() -> None:
    """A bug."""
    raise ZeroDivisionError


app = wrap(quart, Settings(service="catalogue"))
