"""The model service: a softmax over weights and features, which the caller sends along."""

from math import exp

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.inference_service.doubles.faults import Faults


async def infer(request: Request) -> Response:
    """The chances of each outcome."""
    asked = await request.json()
    features = {"bias": 1.0, **asked["features"]}
    scores = {
        outcome: exp(sum(weight * features[name] for name, weight in weights.items()))
        for outcome, weights in asked["weights"].items()
    }
    total = sum(scores.values())
    return JSONResponse({"chances": {outcome: round(score / total, 4) for outcome, score in scores.items()}})


app = Faults(Starlette(routes=[Route("/infer", infer, methods=["POST"])]))
