"""What is weighed of load shedding: a request that it refuses, one that it lets in, and what they are compared with."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from asgi_resilience import stack
from asgi_resilience.context import ASGIApp
from asgi_resilience.middleware.load_shed import LoadShedMiddleware
from asgi_resilience.shedding import GradientLimit
from benchmarks.costs import baselines
from benchmarks.subject import build, everything, everything_on, log_to_nowhere, request_of
from benchmarks.timing import Request

__all__ = ("ADMITTED", "NOT_FOUND", "REFUSED", "WAITED", "WITHOUT", "subjects")

NOT_FOUND, REFUSED, WAITED = "Starlette answers 404", "refused at once", "refused after a wait"
WITHOUT, ADMITTED = "answered, without the layer", "answered, with the layer"

_SHEDDING: Mapping[str, Any] = {"load_shed": True, "load_shed_lag_target": 1000.0}
"""While instructions are counted all is so slow that the event loop would seem to lag."""
_BETWEEN_LOOKS_AT_THE_CLOCK = 0.0005
"""Seconds; for the same reason: with two looks a request, a thousand requests a second."""


def subjects() -> dict[str, Request]:
    """The whole stack around an app of Starlette that has no routes, and around the one of the other questions."""
    log_to_nowhere()
    apps: dict[str, ASGIApp] = {
        NOT_FOUND: everything(Starlette()),
        REFUSED: _full(everything(Starlette(), **_SHEDDING, load_shed_limit=1, load_shed_queue=0)),
        WAITED: _full(everything(Starlette(), **_SHEDDING, load_shed_limit=1)),
        WITHOUT: everything(),
        ADMITTED: _roomy(),
    }
    return {**baselines(), **{name: request_of(app) for name, app in apps.items()}}


def _roomy() -> ASGIApp:
    """The whole stack with a limit that finds itself out, and that nobody has to wait for."""
    layers = stack(everything_on(**_SHEDDING))
    [number] = [number for number, layer in enumerate(layers) if layer.cls is LoadShedMiddleware]
    clock = count(step=_BETWEEN_LOOKS_AT_THE_CLOCK).__next__
    options: dict[str, Any] = {**layers[number].kwargs, "limit": GradientLimit(initial=1000), "clock": clock}
    layers[number] = Middleware(LoadShedMiddleware, **options)
    return build(layers)


def _full(app: ASGIApp) -> ASGIApp:
    """The same app with nobody who would ever leave."""
    layer: Any = app
    while not isinstance(layer, LoadShedMiddleware):
        layer = layer.app
    layer.gate.in_flight = 1
    return app
