"""The sports data provider: odds, as a bookmaker with a margin of 5 % would offer them."""

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.inference_service.doubles.faults import Faults
from examples.inference_service.parts.matches import MATCHES, TEAMS, Match

_MARGIN: Final = 1.05
_DRAW: Final = 0.26


def odds(match: Match) -> dict[str, float]:
    """Decimal odds, from the difference of the teams' ratings."""
    home = 1 / (1 + 10 ** ((TEAMS[match.away].elo - TEAMS[match.home].elo - 60) / 400))
    chances = {"home": home * (1 - _DRAW), "draw": _DRAW, "away": (1 - home) * (1 - _DRAW)}
    return {outcome: round(1 / chance / _MARGIN, 2) for outcome, chance in chances.items()}


async def one(request: Request) -> Response:
    """The odds of one match."""
    match_id = request.path_params["match_id"]
    for match in MATCHES:
        if match.id == match_id:
            return JSONResponse({"match_id": match_id, "odds": odds(match)})
    return JSONResponse({"error": "no such match"}, 404)


async def all_of_them(_: Request) -> Response:
    """The odds of every match."""
    return JSONResponse({match.id: odds(match) for match in MATCHES})


app = Faults(Starlette(routes=[Route("/odds", all_of_them), Route("/odds/{match_id}", one)]))
