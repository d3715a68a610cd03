"""How the public surface is used, for the type checkers: mypy and pyright read it, nobody runs it."""

from collections.abc import Mapping
from typing import Any, assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware

from asgi_resilience import (
    AccessLogMiddleware,
    AppError,
    ErrorEnvelopeMiddleware,
    HealthMiddleware,
    MetricsMiddleware,
    NotFound,
    RateLimit,
    RateLimitMiddleware,
    RequestContext,
    RequestIDMiddleware,
    Settings,
    TimeoutMiddleware,
    Timeouts,
    TraceContextMiddleware,
    configure_logging,
    current_request,
    map_exception,
    register_error,
    stack,
    wrap,
)
from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from asgi_resilience.error_specs import ErrorSpec


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An app by our own names for the protocol."""


async def foreign(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An app whose author annotated it loosely."""


class Framework:
    """An app as frameworks are: an object."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""


# `wrap` takes every kind of app, and gives one that servers and frameworks take.
assert_type(wrap(bare), ASGIApp)
assert_type(wrap(Framework()), ASGIApp)
assert_type(wrap(Starlette(), Settings(service="shop")), ASGIApp)
starlette = Starlette(middleware=stack(Settings()))
starlette.mount("/inner", wrap(bare))
assert_type(stack(), list[Middleware])

# Settings: every kind of value that a field takes.
settings = Settings(
    service="shop",
    timeout=None,
    timeout_paths={"/reports": 120.0, "/exports": Timeouts(response=60.0, stream=None)},
    rate_limit=("100/minute", RateLimit(limit=5, per=1.0)),
    rate_limit_key=lambda scope: str(scope["path"]),
    trust_request_id=("10.0.0.0/8",),
    log_level="WARN",
)
assert_type(Settings.from_env(), Settings)
assert_type(Settings.from_env({"DD_SERVICE": "shop"}, timeout=5.0), Settings)
configure_logging(settings)

# Each layer works with Starlette's Middleware, with add_middleware, and with a plain call.
one: list[Middleware] = [
    Middleware(HealthMiddleware),
    Middleware(RequestIDMiddleware, header="X-Correlation-ID"),
    Middleware(TraceContextMiddleware),
    Middleware(AccessLogMiddleware),
    Middleware(MetricsMiddleware),
    Middleware(ErrorEnvelopeMiddleware, reraise=False),
    Middleware(TimeoutMiddleware, seconds=5.0),
]
starlette.add_middleware(TimeoutMiddleware, seconds=5.0, paths={"/reports": None})
app: ASGIApp = RateLimitMiddleware(TimeoutMiddleware(bare), limit="10/second")


# The record of a request.
def handler() -> float | None:
    """Read and write the record."""
    record = current_request()
    assert_type(record, RequestContext | None)
    if record is None:
        return None
    record.user_id = "user_ada"
    record.bind(cart="c42", items=3)
    assert_type(record.request_id, str | None)
    assert_type(record.duration, float)
    return record.remaining()


# Errors.
class TokenExpired(AppError):
    """An error of the application's own."""

    code = "AUTH_TOKEN_EXPIRED"


def meaning(error: KeyError) -> AppError | str:
    """What an exception means, decided case by case."""
    return NotFound(details=str(error)) if error.args else "RESOURCE_NOT_FOUND"


headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}
assert_type(register_error("AUTH_TOKEN_EXPIRED", status=401, message="Your session has expired"), ErrorSpec)
map_exception(KeyError, meaning)
map_exception(LookupError, "RESOURCE_NOT_FOUND")
raise TokenExpired(details={"expired": 3}, headers=headers, context={"token": "…"}, retry_after=1)
