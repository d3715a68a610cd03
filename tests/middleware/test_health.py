"""The health layer: what each probe is told, when, and that nothing else notices."""

import contextlib
import gc

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from asgi_resilience import context
from asgi_resilience.health_check import HealthCheck
from asgi_resilience.middleware import health as health_module
from asgi_resilience.middleware.health import HealthMiddleware, drain
from asgi_resilience.testing import ASGILint, FailingDependency, Slow, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio

PATHS = ["/health", "/health/live", "/health/ready", "/health/startup"]


async def app(scope, receive, send):
    await PlainTextResponse("the app's own")(scope, receive, send)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


async def test_the_report_has_the_documented_form():
    """Status, timestamp, version, uptime and dependencies, as JSON that nobody stores (#122)."""
    clock = Clock()
    layer = HealthMiddleware(
        app,
        checks={"database": FailingDependency(True), "redis": FailingDependency(True)},
        version="v1.2.3",
        clock=clock,
        wall_clock=lambda: 1760538600.9,
    )
    clock.now += 86400.5
    response = await asgi_request(ASGILint(layer), path="/health")
    assert response.status == 200
    assert response.json() == {
        "status": "healthy",
        "timestamp": "2025-10-15T14:30:00Z",
        "version": "v1.2.3",
        "uptime_seconds": 86400,
        "dependencies": {"database": "healthy", "redis": "healthy"},
    }
    assert list(response.json()) == ["status", "timestamp", "version", "uptime_seconds", "dependencies"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-length"] == str(len(response.body))


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
@pytest.mark.parametrize(
    ("critical", "answer", "status", "health"),
    [(True, "degraded", 200, "degraded"), (True, False, 503, "unhealthy"), (False, False, 200, "degraded")],
)
async def test_unhealthy_is_503_and_degraded_is_200(path, critical, answer, status, health):
    """A failure is told by the status, never by the body alone; a degraded service still works (#122)."""
    layer = HealthMiddleware(app, checks=[HealthCheck("model", FailingDependency(answer), critical=critical)])
    response = await asgi_request(layer, path=path)
    assert response.status == status
    assert response.json()["status"] == health
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/health/live", "/health/startup"])
async def test_liveness_and_startup_ask_nobody(path):
    """A database that is down does not get the service restarted (#118)."""
    database = FailingDependency(False)
    response = await asgi_request(HealthMiddleware(app, checks={"database": database}), path=path)
    assert response.status == 200
    assert response.json()["status"] == "healthy"
    assert response.json()["dependencies"] == {}
    assert database.calls == []


async def test_a_slow_dependency_is_not_waited_for_longer_than_a_probe_waits():
    """The answer comes within a second, whatever the dependencies do (#119)."""
    layer = HealthMiddleware(app, checks={"a": FailingDependency(Slow(60)), "b": FailingDependency(Slow(60))})
    response = await asgi_request(layer, path="/health/ready")
    assert response.status == 503
    assert response.times[-1] < 1.0


async def test_a_flood_of_probes_is_one_question():
    """A thousand probes ask each dependency once (#120)."""
    database = FailingDependency(Slow(0.1))
    layer = HealthMiddleware(app, checks={"database": database}, clock=anyio.current_time)
    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(asgi_request, layer, "GET", "/health/ready")
    assert len(database.calls) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(path):
    """A HEAD probe gets the status and the headers of a GET (#123)."""
    layer = HealthMiddleware(app, clock=lambda: 0.0, wall_clock=lambda: 0.0)
    got, head = (
        await asgi_request(ASGILint(layer), path=path),
        await asgi_request(ASGILint(layer), "HEAD", path),
    )
    assert head.status == got.status
    assert head.headers == got.headers
    assert head.body == b""
    assert got.body


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "get"])
async def test_other_methods_are_refused(method):
    """Other methods are a 405 that says which ones there are."""
    response = await asgi_request(ASGILint(HealthMiddleware(app)), method, "/health")
    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.body == b""


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/health/ready/", ""),
        ("/v1/health/ready", "/v1"),
        ("/v1/health/ready/", "/v1"),
        ("/v1/health/ready", "/v1/"),
        ("/health/ready", "/v1"),
    ],
)
async def test_a_probe_is_never_redirected(path, root_path):
    """A trailing slash and the server's root path are taken as they come (#123)."""
    response = await asgi_request(HealthMiddleware(app), path=path, scope={"root_path": root_path})
    assert response.json()["status"] == "healthy"


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/", ""),
        ("/healthy", ""),
        ("/health/other", ""),
        ("/v1health", "/v1"),
        ("/x/health", ""),
        ("/v1", "/v1"),
    ],
)
async def test_every_other_path_is_the_apps(path, root_path):
    """Only the health paths are answered here."""
    response = await asgi_request(HealthMiddleware(app), path=path, scope={"root_path": root_path})
    assert response.body == b"the app's own"


async def test_below_a_mount_the_paths_count_from_there():
    """Around a mounted app the layer answers below the mount."""
    outer = Starlette(routes=[Mount("/sub", app=HealthMiddleware(app))])
    assert (await asgi_request(outer, path="/sub/health/live")).json()["status"] == "healthy"
    assert (await asgi_request(outer, path="/sub/x")).body == b"the app's own"


async def test_an_app_keeps_the_paths_that_it_wants():
    """An endpoint that is switched off is the app's; another path takes its place."""
    layer = HealthMiddleware(app, path=None, live_path="/livez", ready_path="/readyz/", startup_path=None)
    assert [(await asgi_request(layer, path=path)).body for path in PATHS] == [b"the app's own"] * 4
    assert (await asgi_request(layer, path="/livez")).json()["status"] == "healthy"
    assert (await asgi_request(layer, path="/readyz")).json()["status"] == "healthy"


async def test_a_failing_check_tells_the_client_nothing():
    """No text, no class name of an exception is in the answer (#124, #125)."""
    layer = HealthMiddleware(
        app, checks={"database": FailingDependency(ConnectionError("postgres://u:secret@db"))}
    )
    response = await asgi_request(layer, path="/health")
    assert b"secret" not in response.body
    assert b"ConnectionError" not in response.body


async def test_details_are_for_those_who_may_see_them(monkeypatch):
    """Version and dependencies can be kept from everybody, or from those that a function refuses (#125)."""

    def inside(scope):
        return scope["client"][0] == "10.0.0.1"

    def broken(_scope):
        raise LookupError

    monkeypatch.setattr(context._logger, "disabled", True)
    for details, client, shown in (
        (True, "192.0.2.1", True),
        (False, "10.0.0.1", False),
        (inside, "10.0.0.1", True),
        (inside, "192.0.2.1", False),
        (broken, "10.0.0.1", False),
    ):
        layer = HealthMiddleware(
            app, checks={"database": FailingDependency(False)}, version="v1", details=details, cache_ttl=0
        )
        response = await asgi_request(layer, path="/health", client=(client, 1))
        assert response.status == 503
        assert response.json()["dependencies"] == ({"database": "unhealthy"} if shown else {})
        assert response.json()["version"] == ("v1" if shown else "")


async def test_reports_are_added_on_demand(monkeypatch):
    """`?details` at the report for people adds what functions tell; a probe is never longer, nor its status another."""

    def broken():
        raise LookupError

    monkeypatch.setattr(context._logger, "disabled", True)
    reports = {
        "error_budgets": lambda: {"availability": {"policy": "freeze"}},
        "broken": broken,
        "odd": object,
    }
    layer = HealthMiddleware(app, reports=reports)
    for query in ("?details", "?x=1&details=yes"):
        response = await asgi_request(layer, path=f"/health{query}")
        assert (response.status, response.json()["status"]) == (200, "healthy")
        assert response.json()["details"] == {
            "error_budgets": {"availability": {"policy": "freeze"}},
            "broken": None,
            "odd": None,
        }
    for path in ("/health", "/health?detail", "/health/ready?details", "/health/live?details"):
        assert "details" not in (await asgi_request(layer, path=path)).json()


async def test_reports_are_for_those_who_may_see_details():
    """And where there is none, nothing is added."""
    for layer in (HealthMiddleware(app, details=False, reports={"x": dict}), HealthMiddleware(app)):
        assert "details" not in (await asgi_request(layer, path="/health?details")).json()


async def probe(layer):
    """The statuses of live, startup and ready."""
    return [(await asgi_request(layer, path=path)).status for path in (PATHS[1], PATHS[3], PATHS[2])]


class Server:
    """The server's side of the lifespan protocol, one step at a time."""

    def __init__(self):
        self.sent = []
        self._send, self._receive = anyio.create_memory_object_stream[dict](10)

    async def run(self, layer):
        with contextlib.suppress(LookupError):
            await layer({"type": "lifespan", "asgi": {"version": "3.0"}}, self._receive.receive, self._note)

    async def _note(self, message):
        self.sent.append(message["type"])

    async def tell(self, event):
        await self._send.send({"type": f"lifespan.{event}"})
        await anyio.wait_all_tasks_blocked()

    def close(self):
        self._send.close()
        self._receive.close()


@pytest.fixture
async def server():
    made = Server()
    yield made
    made.close()


async def test_startup_and_readiness_follow_the_lifespan(server):
    """Startup turns healthy with the completed startup, and readiness unhealthy with the shutdown (#121)."""
    database = FailingDependency(True)
    released = anyio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_app):
        await released.wait()
        yield
        await released.wait()

    inner = Starlette(routes=[Route("/", app)], lifespan=lifespan)
    layer = HealthMiddleware(ASGILint(inner), checks={"database": database})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, layer)
        await server.tell("startup")
        assert await probe(layer) == [200, 503, 503]
        assert database.calls == []
        released.set()
        await anyio.wait_all_tasks_blocked()
        assert server.sent == ["lifespan.startup.complete"]
        assert await probe(layer) == [200, 200, 200]
        released = anyio.Event()
        await server.tell("shutdown")
        assert await probe(layer) == [200, 200, 503]
        assert server.sent == ["lifespan.startup.complete"]
        released.set()
    assert server.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_failed_startup_stays_unhealthy(server):
    """An app that says that its startup has failed has not started."""

    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise LookupError

    layer = HealthMiddleware(fails)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, layer)
        await server.tell("startup")
    assert server.sent == ["lifespan.startup.failed"]
    assert await probe(layer) == [200, 503, 503]


@pytest.mark.parametrize("raises", [True, False])
async def test_an_app_without_lifespan_has_started(server, raises):
    """An app that raises at the lifespan scope, or ignores it, is started: servers go on without lifespan, too."""

    async def no_lifespan(scope, receive, send):
        if scope["type"] == "lifespan" and raises:
            raise LookupError

    layer = HealthMiddleware(no_lifespan)
    await server.run(layer)
    assert server.sent == []
    assert await probe(layer) == [200, 200, 200]


async def test_a_second_life_begins_anew(server):
    """A layer whose app is started again, as test clients do, is ready again."""
    layer = HealthMiddleware(Starlette())
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run, layer)
            await server.tell("startup")
            assert await probe(layer) == [200, 200, 200]
            await server.tell("shutdown")
        assert await probe(layer) == [200, 200, 503]


async def test_draining_makes_it_unready_and_nothing_else():
    """`drain()` flips readiness before the server begins to shut down; dependencies are no longer asked (#121)."""
    database = FailingDependency(True)
    one, other = HealthMiddleware(app, checks={"database": database}), HealthMiddleware(app)
    one.drain()
    assert await probe(one) == [200, 200, 503]
    assert await probe(other) == [200, 200, 200]
    assert database.calls == []
    drain()
    drain()
    assert await probe(other) == [200, 200, 503]
    assert (await asgi_request(other, path="/health")).status == 503
    assert (await asgi_request(other, path="/")).body == b"the app's own"


async def test_while_draining_each_response_closes_its_connection():
    """Of HTTP/1, whatever the app says of the connection; HTTP/2 knows no such header (RFC 9113 §8.2.2)."""

    async def keeping(scope, receive, send):
        await PlainTextResponse("kept", headers={"connection": "keep-alive", "x-own": "1"})(
            scope, receive, send
        )

    layer = HealthMiddleware(ASGILint(keeping))
    assert (await asgi_request(layer)).headers["connection"] == "keep-alive"
    layer.drain()
    answer = await asgi_request(layer)
    assert [value for name, value in answer.start["headers"] if name == b"connection"] == [b"close"]
    assert (answer.status, answer.body, answer.headers["x-own"]) == (200, b"kept", "1")

    async def second(scope, receive, send):
        await layer({**scope, "http_version": "2"}, receive, send)

    assert (await asgi_request(second)).headers["connection"] == "keep-alive"


async def test_while_draining_websockets_pass():
    """A websocket has no response that could close its connection."""

    async def accepting(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    layer = HealthMiddleware(accepting)
    layer.drain()
    assert (await asgi_websocket(layer)).accepted


def test_draining_keeps_no_layer_alive():
    """The function `drain` only knows layers that are in use."""
    gc.collect()
    before = len(health_module._layers)
    layer = HealthMiddleware(app)
    assert len(health_module._layers) == before + 1
    del layer
    gc.collect()
    assert len(health_module._layers) == before


async def test_websockets_and_unknown_scopes_pass_untouched():
    """A websocket on a health path is the app's, and so is every kind of scope that is not known."""
    seen = []

    async def inner(scope, receive, send):
        seen.append((scope, receive, send))

    await asgi_websocket(HealthMiddleware(inner), "/health")
    scope, receive, send = {"type": "mqtt"}, object(), object()
    await HealthMiddleware(inner)(scope, receive, send)
    assert seen[0][0]["path"] == "/health"
    assert seen[1] == (scope, receive, send)
    assert seen[1][0] is scope


async def test_ordinary_requests_pass_untouched():
    """Other requests reach the app with the very objects that the server gave."""
    seen = []

    async def inner(scope, receive, send):
        seen.append((scope, receive, send))

    scope, receive, send = {"type": "http", "path": "/", "method": "GET"}, object(), object()
    await HealthMiddleware(inner)(scope, receive, send)
    assert all(got is given for got, given in zip(seen[0], (scope, receive, send), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "health"}, "path='health'"),
        ({"live_path": ""}, "live_path=''"),
        ({"ready_path": "/health"}, "ready_path='/health'"),
        ({"startup_path": "/health/"}, "startup_path='/health'"),
        ({"check_timeout": 0}, "check_timeout=0"),
        ({"cache_ttl": -1}, "cache_ttl=-1"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    """The error names the option and its value."""
    with pytest.raises(ValueError, match=f"^{message}"):
        HealthMiddleware(app, **options)
