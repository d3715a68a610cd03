"""Route templates: whole, through mounts, and never the raw path."""

import gc
import weakref
from typing import Annotated

import pytest
from litestar import Litestar, asgi, get, websocket
from litestar.types import Receive, Scope, Send
from quart import Quart, request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute

from asgi_resilience import route as route_module
from asgi_resilience.context import KEY, RequestContext
from asgi_resilience.route import SCOPE_KEY, note_route, route_template
from asgi_resilience.testing import asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio


async def endpoint(_request):
    return PlainTextResponse("ok")


async def talk(socket):
    await socket.accept()
    await socket.close()


async def static(scope, receive, send):
    await PlainTextResponse("file")(scope, receive, send)


def watch(app, seen):
    """Ask for the template at the start of the response, as a layer does."""

    async def watched(scope, receive, send):
        async def watching(message):
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.close"):
                seen.append(route_template(scope))
            await send(message)

        await app(scope, receive, watching)

    return watched


async def template(app, path, method="GET", **options):
    seen = []
    await asgi_request(watch(app, seen), method, path, **options)
    return seen[0]


SHARED = Router([Route("/who", endpoint)])
APP = Starlette(
    routes=[
        Route("/", endpoint),
        Route("/items/{id:int}", endpoint, methods=["GET"]),
        Route("/files/{rest:path}", endpoint),
        Mount(
            "/tenants/{tenant}",
            routes=[
                Route("/items/{id}", endpoint),
                Mount(
                    "/deep/{level:int}",
                    app=Starlette(routes=[Route("/{leaf}", endpoint), Route("/", endpoint)]),
                ),
            ],
        ),
        Mount("/static", app=static),
        Mount("/behind", app=CORSMiddleware(Router([Route("/{x}", endpoint)]), allow_origins=["*"])),
        Mount("/middle", routes=[Route("/{x}", endpoint)], middleware=[Middleware(CORSMiddleware)]),
        Mount("/a/{x:path}/b", app=SHARED),
        Mount("/c/{y}", app=SHARED),
        Host("{sub}.example.org", app=Router([Route("/{page}", endpoint)])),
        WebSocketRoute("/ws/{room}", talk),
        Mount("", routes=[Route("/unprefixed/{x}", endpoint)]),
    ]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/items/5", "/items/{id}"),
        ("/files/a/b/c", "/files/{rest}"),
        ("/tenants/acme/items/5", "/tenants/{tenant}/items/{id}"),
        ("/tenants/acme/deep/7/x", "/tenants/{tenant}/deep/{level}/{leaf}"),
        ("/tenants/acme/deep/7/", "/tenants/{tenant}/deep/{level}/"),
        ("/tenants/items/items/items", "/tenants/{tenant}/items/{id}"),
        ("/static/css/site.css", "/static/{path}"),
        ("/behind/1", "/behind/{x}"),
        ("/middle/1", "/middle/{x}"),
        ("/a/1/2/b/who", "/a/{x}/b/who"),
        ("/c/1/who", "/c/{y}/who"),
        ("/unprefixed/1", "/unprefixed/{x}"),
    ],
)
async def test_a_route_is_told_whole(path, expected):
    """The template goes through all mounts, their parameters as names, and carries no converters (#113)."""
    assert await template(APP, path) == expected


@pytest.mark.parametrize("path", ["/nope", "/items/x", "/tenants/acme/nope", "/tenants/acme/deep/7/8/9"])
async def test_what_matches_no_route_has_none(path):
    """A 404, below mounts too, has no template (#113)."""
    assert await template(Starlette(routes=APP.routes[:4]), path) is None


async def test_a_wrong_method_keeps_the_template():
    """A 405 is an answer of the route that has the path (#113)."""
    app = Starlette(routes=APP.routes[:4])
    assert await template(app, "/items/5", "DELETE") == "/items/{id}"
    assert await template(app, "/tenants/acme/items/5", "DELETE") == "/tenants/{tenant}/items/{id}"


async def test_a_host_adds_nothing_to_the_template():
    """Routes below a host have the template of their path."""
    app = Starlette(routes=APP.routes[9:10])
    assert await template(app, "/about", headers={"host": "x.example.org"}) == "/{page}"


async def test_a_root_path_of_the_server_is_no_part_of_the_template():
    """Where the application is mounted by the server, the template begins below that."""
    scope = {"root_path": "/v1"}
    assert await template(APP, "/v1/tenants/acme/items/5", scope=scope) == "/tenants/{tenant}/items/{id}"
    assert await template(APP, "/v1/c/1/who", scope=scope) == "/c/{y}/who"


async def test_a_websocket_route_has_a_template():
    """Websocket routes are told like others."""
    seen = []
    await asgi_websocket(watch(APP, seen), "/ws/lobby")
    assert seen[0] == "/ws/{room}"


async def test_a_router_without_an_application_has_templates():
    """A bare Starlette router is enough."""
    assert (
        await template(Router([Mount("/x/{y}", routes=[Route("/{z}", endpoint)])]), "/x/1/2") == "/x/{y}/{z}"
    )


async def test_a_route_that_stands_alone_has_its_own_template():
    """A route that no router holds has what it knows itself."""
    route = Route("/alone/{id:int}", endpoint)
    assert route_template({"route": route}) == "/alone/{id}"


async def test_a_mounted_router_that_is_hidden_gives_the_part_that_is_known():
    """Behind a wrapper that does not show what it wraps, the mount is missing, and no raw parameter takes its place."""
    inner = Router([Route("/{id}", endpoint)])

    async def opaque(scope, receive, send):
        await inner(scope, receive, send)

    assert await template(Router([Mount("/t/{tenant}", app=opaque)]), "/t/acme/5") == "/{id}"


class Tree:
    """A router in the widest sense."""

    def __init__(self, path="", routes=()):
        self.path = path
        self.routes = routes


async def test_an_application_that_contains_itself_is_searched_once():
    """A ring of mounts, or of wrappers, is not followed round."""
    leaf, ring = Route("/leaf", endpoint), Tree("/ring")
    ring.routes = [ring, Tree("/branch", (leaf,))]
    wrapper = Tree()
    wrapper.app = wrapper
    assert route_template({"route": leaf, "router": ring}) == "/branch/leaf"
    assert route_template({"route": Route("/x", endpoint), "router": wrapper}) == "/x"


class Slotted:
    """A route that can't be referred to weakly."""

    __slots__ = ("path_format",)

    def __init__(self, path_format):
        self.path_format = path_format


@pytest.mark.parametrize(
    ("route", "expected"), [(Slotted("/slotted/{id}"), "/slotted/{id}"), (object(), None)]
)
async def test_any_object_may_be_a_route(route, expected):
    """What has a `path_format` has a template; what has not, has none, and does no harm."""
    assert route_template({"route": route}) == expected
    assert route_template({"route": route}) == expected


async def test_a_route_is_looked_for_once_and_not_kept_alive():
    """The place of a route is remembered as long as the route lives."""
    route = Route("/short-lived", endpoint)
    key, alive = id(route), weakref.ref(route)
    assert route_template({"route": route}) == "/short-lived"
    assert key in route_module._places
    del route
    gc.collect()
    assert alive() is None
    assert key not in route_module._places


async def test_an_id_that_is_used_again_is_not_mistaken():
    """A remembered place only counts for the very object that it was found for."""
    old, new = Route("/old", endpoint), Route("/new", endpoint)
    assert route_template({"route": old}) == "/old"
    route_module._places[id(new)] = route_module._places[id(old)]
    assert route_template({"route": new}) == "/new"


@get("/items/{item_id:int}")
async def get_item(item_id: Annotated[int, "id"]) -> str:
    return str(item_id)


@websocket("/ws/{room:str}")
async def get_socket(socket: "object", room: str) -> None:
    await socket.accept()
    await socket.close()


@asgi("/mounted", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await static(scope, receive, send)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items/5", "/items/{item_id}"),
        ("/nope", None),
        ("/mounted/a/b", "/mounted/{path}"),
        ("/below/acme/items/5", "/below/{tenant}/items/{item_id}"),
        ("/below/acme/nope", None),
    ],
)
async def test_litestar_tells_its_templates(path, expected):
    """Litestar's own templates are taken, below a Starlette mount too (#113)."""
    app = Litestar([get_item, mounted])
    if path.startswith("/below"):
        app = Starlette(routes=[Mount("/below/{tenant}", app=app)])
    assert await template(app, path) == expected


def quart_app():
    app = Quart(__name__)

    @app.get("/items/<int:item_id>")
    async def item(item_id):
        return str(item_id)

    return app


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_app_can_tell_the_template_itself():
    """Quart leaves nothing in the scope; a template under our key counts, from a hook of the application."""
    silent, telling = quart_app(), quart_app()

    @telling.after_request
    async def tell(response):
        request.scope[SCOPE_KEY] = request.url_rule.rule
        return response

    assert await template(silent, "/items/5") is None
    assert await template(telling, "/items/5") == "/items/<int:item_id>"


async def test_a_mount_that_is_not_recognised_adds_nothing():
    """Where a route has several places and the root path fits none of them, its own part is the answer."""
    assert route_template({"route": SHARED.routes[0], "router": APP, "root_path": "/rewritten"}) == "/who"


async def test_the_record_keeps_what_the_handler_said():
    """A route that stands in the record already is not replaced; otherwise it comes from the scope."""
    scope = {"type": "http", "path": "/items/5", "route": Route("/items/{id}", endpoint)}
    record = scope[KEY] = RequestContext(scope)
    note_route(scope, record)
    assert record.route == "/items/{id}"
    record.route = "/mine"
    note_route(scope, record)
    assert record.route == "/mine"
