"""A service's own error codes, and what the exceptions of its libraries mean."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from asgi_resilience import AppError, Settings, map_exception, register_error, wrap

register_error(
    "AUTH_TOKEN_EXPIRED", status=401, message="Your session has expired", docs_path="token-expired"
)
register_error(
    "DATABASE_CONNECTION_FAILED", status=503, message="Service temporarily unavailable", retry=True
)
register_error("PREDICTION_GENERATION_FAILED", status=500, message="Unable to generate a prediction")


class TokenExpired(AppError):
    """401: the session is over."""

    code = "AUTH_TOKEN_EXPIRED"


class ConnectionLost(Exception):
    """What a database driver raises; it knows nothing of HTTP."""


map_exception(ConnectionLost, "DATABASE_CONNECTION_FAILED")


async def session(_: Request) -> Response:
    """An error of our own."""
    raise TokenExpired(details="Expired 3 minutes ago", headers={"WWW-Authenticate": "Bearer"})


async def accounts(_: Request) -> Response:
    """Someone else's error."""
    raise ConnectionLost("server closed the connection unexpectedly")


async def prediction(_: Request) -> Response:
    """A code without a class, with facts that only the log gets."""
    raise AppError(code="PREDICTION_GENERATION_FAILED", context={"model_id": "model_v2.3"})


starlette = Starlette(
    routes=[Route("/session", session), Route("/accounts", accounts), Route("/prediction", prediction)]
)
app = wrap(starlette, Settings(service="inference", docs_url="https://docs.example.com/errors"))
