"""The services whose traces the test agent gets: uvicorn serves them in processes of their own.

`PEER` is the address of the service that `/call` asks.
"""

import os
import sys

import ddtrace.trace  # noqa: F401 - where ddtrace-run has not loaded it, this has
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from asgi_resilience import Settings, configure_logging, current_request, wrap
from asgi_resilience.client import Dependency
from asgi_resilience.client.http import ResilientClient
from asgi_resilience.telemetry import set_attributes

settings = Settings.from_env(environment="test", version="1.0", reraise=False)
configure_logging(settings)


async def call():
    dependency = Dependency("peer")
    async with ResilientClient(dependency=dependency, base_url=os.environ["PEER"]) as client:
        return await client.get("/items/7")


async def item(request):
    set_attributes(match_id=f"m{request.path_params['id']}", cache_hit=True)
    return JSONResponse({"trace": current_request().trace_id})


async def boom(_request):
    raise LookupError("boom")


async def ask(_request):
    response = await call()
    return JSONResponse({"trace": current_request().trace_id, "peer": response.json()})


ROUTES = [Route("/items/{id:int}", item), Route("/boom", boom), Route("/call", ask)]


def starlette():
    app = Starlette(routes=[*ROUTES, Mount("/tenants/{tenant}", routes=ROUTES)])
    return wrap(app, settings)


def bare():
    def route(scope):
        first, _, rest = scope["path"].strip("/").partition("/")
        return f"/{first}/{{id}}" if rest else f"/{first}"

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/boom":
            raise LookupError("boom")
        if scope["path"] == "/call":
            await (await ask(Request(scope)))(scope, receive, send)
            return
        await PlainTextResponse(current_request().trace_id)(scope, receive, send)

    return wrap(app, Settings(**{**as_options(settings), "route_resolver": route}))


def as_options(made):
    return {
        "service": made.service,
        "environment": made.environment,
        "version": made.version,
        "reraise": False,
    }


def litestar():
    from litestar import Litestar, get

    @get("/items/{number:int}")
    async def numbered(number: int) -> dict[str, int]:
        return {"item": number}

    @get("/boom")
    async def fails() -> None:
        raise LookupError("boom")

    return wrap(Litestar([numbered, fails]), settings)


def quart():
    from quart import Quart, request

    app = Quart(__name__)

    @app.before_request
    def remember():
        request.scope["asgi_resilience.route"] = request.url_rule.rule

    @app.get("/items/<int:number>")
    async def numbered(number):
        return {"item": number}

    @app.get("/boom")
    async def fails():
        raise LookupError("boom")

    return wrap(app, settings)


if "uvicorn" not in sys.argv[0]:
    # The last trace of a process that ends right after its lifespan, as workers of a forking server do.
    import anyio
    from asgi_lifespan import LifespanManager

    from asgi_resilience.testing import asgi_request

    async def main():
        app = bare()
        async with LifespanManager(app):
            await asgi_request(app, path="/items/5")

    anyio.run(main)
    os._exit(0)
