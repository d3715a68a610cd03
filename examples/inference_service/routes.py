"""What is asked over HTTP."""

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asgi_resilience import InvalidRequest, ValuesInvalid, current_request
from asgi_resilience.client import dependencies
from examples.inference_service.tracing import span

__all__ = ("ROUTES",)

_MATCH_ID: Final = re.compile(r"match_[a-z0-9_]{3,40}")


async def match(request: Request) -> Response:
    """A match, and its odds."""
    await request.state.auth.user(request, "read")
    return _json(await request.state.predictions.match_with_odds(_match_id(request)))


async def newest_prediction(request: Request) -> Response:
    """The newest prediction of a match."""
    await request.state.auth.user(request, "read")
    return _json(await request.state.predictions.newest(_match_id(request)))


async def make_prediction(request: Request) -> Response:
    """A new prediction (201); or an older one (200), if there can't be a new one now."""
    await request.state.auth.user(request, "predict")
    match_id = _match_id(request)
    market = request.query_params.get("market", "1x2")
    if market != "1x2":
        raise ValuesInvalid(details=f"market={market!r}: expected '1x2'")
    prediction = await request.state.predictions.make(match_id)
    record = current_request()
    an_older_one = record is not None and "prediction" in record.degraded
    return _json(prediction, status=200 if an_older_one else 201)


async def status(_: Request) -> Response:
    """How the dependencies are doing, for whoever is on call. Not for strangers: keep it off the public listener."""
    statuses = {each.name: each.status() for each in dependencies() if each.breaker is not None}
    return _json(
        {
            name: {
                "breaker": each.state,
                "retry_after": round(each.retry_after, 1),
                "failures_in_a_row": each.failures_in_a_row,
                "last_error": each.last_error,
                "waiting": each.waiting,
            }
            for name, each in statuses.items()
        }
    )


def _match_id(request: Request) -> str:
    match_id: str = request.path_params["match_id"]
    if not _MATCH_ID.fullmatch(match_id):
        raise InvalidRequest(details="A match id reads match_ and then letters, digits and underscores")
    return match_id


def _json(content: Any, status: int = 200) -> Response:
    with span("response.serialize", "Response Serialization"):
        return JSONResponse(content, status)


ROUTES: Final = [
    Route("/matches/{match_id}", match),
    Route("/matches/{match_id}/predictions", newest_prediction, methods=["GET"]),
    Route("/matches/{match_id}/predictions", make_prediction, methods=["POST"]),
    Route("/internal/status", status),
]
