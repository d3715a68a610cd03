"""The metrics layer: what reaches the sink, for every way a request can end."""

import gc
import weakref

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from asgi_resilience import context
from asgi_resilience.context import KEY
from asgi_resilience.metric_sink import NULL, OVERFLOW
from asgi_resilience.middleware.metrics import MetricsMiddleware
from asgi_resilience.recorder import observe
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio


class Recorded:
    """A sink that writes down what it gets."""

    def __init__(self):
        self.calls = []

    def increment(self, name, /, value=1, tags=()):
        self.calls.append(("increment", name, value, tags))

    def gauge(self, name, /, value, tags=()):
        self.calls.append(("gauge", name, value, tags))

    def histogram(self, name, /, value, tags=()):
        self.calls.append(("histogram", name, value, tags))

    def of(self, name):
        return [(value, tags) for _, each, value, tags in self.calls if each == name]

    def tags(self):
        return [dict(tag.split(":", 1) for tag in tags) for _, tags in self.of("api.requests.total")]


class Broken(Recorded):
    """A sink that always fails."""

    def gauge(self, name, /, value, tags=()):
        raise RuntimeError("no socket")

    increment = histogram = gauge


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


async def endpoint(_request):
    return PlainTextResponse("ok")


async def boom(_request):
    raise LookupError("secret")


async def talk(socket):
    await socket.accept()
    await socket.receive()
    await socket.close()


APP = Starlette(
    routes=[
        Mount("/tenants/{tenant}", routes=[Route("/items/{id}", endpoint)]),
        Route("/boom", boom),
        WebSocketRoute("/ws/{room}", talk),
    ]
)


async def test_a_request_is_counted_timed_and_tagged():
    """One request is one count and one duration in milliseconds, by its template and never by its path (#113)."""
    sink, clock = Recorded(), Clock()

    async def app(scope, receive, send):
        clock.now += 0.25
        await APP(scope, receive, send)

    await asgi_request(
        ASGILint(MetricsMiddleware(app, sink=sink, clock=clock)), path="/tenants/acme/items/5?q=1"
    )
    tags = (
        "method:GET",
        "route:/tenants/{tenant}/items/{id}",
        "status:200",
        "status_class:2xx",
        "outcome:ok",
    )
    assert sink.calls == [
        ("gauge", "api.requests.in_flight", 1, ()),
        ("gauge", "api.requests.in_flight", 0, ()),
        ("increment", "api.requests.total", 1, tags),
        ("increment", "api.requests.by_endpoint", 1, tags[:2]),
        ("histogram", "api.requests.duration", 250.0, tags),
    ]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        (
            "GET",
            "/nope",
            {"route": "__unmatched__", "status": "404", "status_class": "4xx", "outcome": "client_error"},
        ),
        ("GET", "/tenants/acme/nope", {"route": "__unmatched__", "status": "404"}),
        ("DELETE", "/tenants/acme/items/5", {"route": "/tenants/{tenant}/items/{id}", "status": "405"}),
        ("FOOBAR", "/nope", {"method": "_OTHER"}),
        ("get", "/nope", {"method": "_OTHER"}),
        ("QUERY", "/nope", {"method": "QUERY"}),
        (
            "GET",
            "/boom",
            {"route": "/boom", "status": "500", "status_class": "5xx", "outcome": "server_error"},
        ),
    ],
)
async def test_nothing_that_a_client_makes_up_becomes_a_tag(method, path, expected):
    """Unmatched paths share one route, unknown methods are `_OTHER`, a 405 keeps its route (#113, #114)."""
    sink = Recorded()
    await asgi_request(MetricsMiddleware(APP, sink=sink), method, path)
    assert expected.items() <= sink.tags()[0].items()


async def test_a_request_is_counted_once():
    """Of several metrics layers around one app, as of a wrapped app that is mounted in another, the outermost counts."""
    sink = Recorded()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    await asgi_request(MetricsMiddleware(MetricsMiddleware(app, sink=sink), sink=sink))
    assert len(sink.of("api.requests.total")) == 1


async def test_errors_are_counted_apart():
    """A status from 500 on counts as an error, with the same tags; one below does not."""
    sink = Recorded()
    app = MetricsMiddleware(APP, sink=sink)
    await asgi_request(app, path="/nope")
    assert sink.of("api.requests.errors") == []
    await asgi_request(app, path="/boom")
    assert sink.of("api.requests.errors") == sink.of("api.requests.total")[1:]


async def test_an_unanswered_exception_is_an_error():
    """An exception that nothing below answers has no status, and is counted."""
    sink = Recorded()

    async def app(scope, receive, send):
        scope["route"] = Route("/x/{y}", endpoint)
        raise LookupError

    response = await asgi_request(MetricsMiddleware(app, sink=sink))
    assert isinstance(response.exception, LookupError)
    assert {
        "route": "/x/{y}",
        "status": "none",
        "status_class": "none",
        "outcome": "server_error",
    }.items() <= (sink.tags()[0].items())
    assert len(sink.of("api.requests.errors")) == 1


async def test_a_response_cut_short_is_an_error():
    """Half a body with status 200 is an error, as nobody can use it."""
    sink = Recorded()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    await asgi_request(MetricsMiddleware(app, sink=sink))
    assert sink.tags()[0]["outcome"] == "truncated"
    assert len(sink.of("api.requests.errors")) == 1


async def test_an_error_code_is_a_tag():
    """The code that another layer leaves in the record becomes a tag."""
    sink = Recorded()

    async def app(scope, receive, send):
        scope[KEY].error_code = "AUTH_TOKEN_EXPIRED"
        await PlainTextResponse("no", 401)(scope, receive, send)

    await asgi_request(MetricsMiddleware(app, sink=sink))
    assert sink.tags()[0]["error_code"] == "AUTH_TOKEN_EXPIRED"


async def test_in_flight_is_exact_when_requests_are_cancelled():
    """Whatever ends a request, the gauge goes back to where it was (#115)."""
    sink = Recorded()

    async def app(scope, receive, send):
        await anyio.sleep_forever()

    layer = MetricsMiddleware(app, sink=sink)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(asgi_request, layer)
        await anyio.wait_all_tasks_blocked()
        assert sink.of("api.requests.in_flight")[-1] == (3, ())
        tasks.cancel_scope.cancel()
    assert sink.of("api.requests.in_flight")[-1] == (0, ())
    assert [tags["outcome"] for tags in sink.tags()] == ["aborted_by_client"] * 3


async def test_background_work_is_not_in_flight():
    """A request ends with its response: what the app does afterwards counts neither as in flight nor as duration."""
    sink, clock = Recorded(), Clock()

    async def app(scope, receive, send):
        await PlainTextResponse("ok")(scope, receive, send)
        assert sink.of("api.requests.in_flight")[-1] == (0, ())
        clock.now += 60

    response = await asgi_request(MetricsMiddleware(app, sink=sink, clock=clock))
    assert response.exception is None
    assert sink.of("api.requests.duration")[0][0] == 0


async def test_websockets_have_names_of_their_own():
    """A websocket is never in the latency of requests (#117)."""
    sink = Recorded()
    await asgi_websocket(MetricsMiddleware(APP, sink=sink), "/ws/lobby", messages=["hello"])
    assert {name.rpartition(".")[0] for _, name, _, _ in sink.calls} == {"websocket.connections"}
    ((_, tags),) = sink.of("websocket.connections.total")
    assert "route:/ws/{room}" in tags
    assert "status:101" in tags
    assert "method:WEBSOCKET" in tags
    assert [value for value, _ in sink.of("websocket.connections.in_flight")] == [1, 0]


async def test_tags_of_equal_requests_are_one_tuple():
    """A sink may key on the tags: equal ones are the same object, until too many are remembered."""
    sink = Recorded()
    app = MetricsMiddleware(APP, sink=sink)
    await asgi_request(app, path="/tenants/a/items/1")
    await asgi_request(app, path="/tenants/b/items/2")
    (_, first), (_, second) = sink.of("api.requests.total")
    assert first is second


async def test_made_up_methods_share_their_tags():
    """However many words a client uses as a method, one entry is remembered for all of them."""
    sink = Recorded()
    app = MetricsMiddleware(APP, sink=sink)
    for method in ("FOO", "BAR", "FOO"):
        await asgi_request(app, path="/nope", method=method)
    (_, first), (_, second), (_, third) = sink.of("api.requests.total")
    assert first is second is third
    assert len(app._meters["http"]._known) == 1


async def test_the_gauge_is_not_told_of_every_request():
    """It is told once a second, when it would be off by more than a factor of two, and of the way back to 0."""
    sink, clock = Recorded(), Clock()

    async def app(scope, receive, send):
        if scope["path"] != "/0":
            await asgi_request(layer, path=f"/{int(scope['path'][1:]) - 1}")
        await PlainTextResponse("ok")(scope, receive, send)

    layer = MetricsMiddleware(app, sink=sink, clock=clock)
    gauge = "api.requests.in_flight"

    def told():
        values = [value for value, _ in sink.of(gauge)]
        sink.calls.clear()
        return values

    await asgi_request(layer, path="/0")
    assert told() == [1, 0]
    await asgi_request(layer, path="/0")
    assert told() == []
    clock.now += 1
    await asgi_request(layer, path="/0")
    assert told() == [1, 0]
    await asgi_request(layer, path="/7")
    assert told() == [2, 5, 2, 0]
    assert layer.in_flight == 0


async def test_remembered_tags_are_bounded():
    """An app that makes up codes makes no more series than it may; what comes later is counted as one, and as folded."""
    sink = Recorded()

    async def app(scope, receive, send):
        scope[KEY].error_code = scope["path"]
        await PlainTextResponse("no", 400)(scope, receive, send)

    layer = MetricsMiddleware(app, sink=sink, max_series=3, errors=["4xx"])
    for number in range(5):
        await asgi_request(layer, path=f"/{number}")
    assert len(layer._meters["http"]._known) == 3
    for name in ("total", "errors", "duration", "by_endpoint"):
        told = [tags for _, tags in sink.of(f"api.requests.{name}")]
        assert len(told) == 5
        assert told[3:] == [OVERFLOW, OVERFLOW]
        assert OVERFLOW not in told[:3]
    assert sink.of("asgi_resilience.metrics.folded") == [(1, ())] * 2
    await asgi_request(layer, path="/0")
    assert "error_code:/0" in sink.of("api.requests.total")[-1][1]


async def test_what_counts_as_an_error_can_be_said():
    """`errors` replaces the statuses; what was not answered, or not completely, is an error all the same."""
    sink = Recorded()
    app = MetricsMiddleware(APP, sink=sink, errors=("404",))
    await asgi_request(app, path="/nope")
    await asgi_request(app, path="/tenants/a/items/1")
    assert [tags[2] for _, tags in sink.of("api.requests.errors")] == ["status:404"]
    await asgi_request(app, path="/boom")
    assert len(sink.of("api.requests.errors")) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_series": 0}, "max_series=0: expected 1"),
        ({"errors": ["6xx"]}, "errors='6xx': expected a status"),
    ],
)
def test_wrong_options_are_refused(options, problem):
    """A ValueError names the option, the value and what is expected."""
    with pytest.raises(ValueError, match=problem):
        MetricsMiddleware(APP, **options)


class Metering(Recorded):
    """A sink with all that a sink may have."""

    def __init__(self):
        super().__init__()
        self.made = []
        self.life = []

    def meter(self, measured, counted):
        self.made.append((measured, counted))
        return lambda value: self.calls.append(("meter", measured[0], value, measured[1]))

    def start(self):
        self.life.append("start")

    async def aclose(self):
        self.life.append("close")


async def test_a_sink_that_takes_all_at_once_gets_one_call():
    """Where the sink has `meter`, it is told once of the series of a request, and after that of a duration only."""
    sink = Metering()
    app = MetricsMiddleware(APP, sink=sink)
    for _ in range(2):
        await asgi_request(app, path="/boom")
    ((measured, counted),) = sink.made
    assert measured[0] == "api.requests.duration"
    assert [name for name, _ in counted] == [
        "api.requests.total",
        "api.requests.by_endpoint",
        "api.requests.errors",
    ]
    assert {tags for _, tags in counted} == {measured[1], measured[1][:2]}
    assert [kind for kind, *_ in sink.calls].count("meter") == 2
    assert {kind for kind, *_ in sink.calls} == {"meter", "gauge"}


async def test_a_sink_is_started_by_requests():
    """Without a lifespan, the first request starts the sink, and once a second another sees to it that it still runs."""
    sink, clock = Metering(), Clock()
    app = MetricsMiddleware(APP, sink=sink, clock=clock)
    await asgi_request(app, path="/nope")
    await asgi_request(app, path="/nope")
    assert sink.life == ["start"]
    clock.now += 1
    await asgi_request(app, path="/nope")
    assert sink.life == ["start", "start"]


async def lifespan(app, *received):
    """What the app sends in a lifespan in which it receives these messages."""
    waiting, sent = list(received), []

    async def receive():
        return {"type": f"lifespan.{waiting.pop(0)}"}

    async def send(message):
        sent.append(message["type"].removeprefix("lifespan."))

    await app({"type": "lifespan"}, receive, send)
    return sent


@pytest.mark.parametrize("end", ["complete", "failed"])
async def test_a_sink_lives_as_long_as_the_application(end):
    """It starts before the application does, and is closed after it, before the server hears of that."""
    sink = Metering()

    async def app(scope, receive, send):
        sink.life.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        sink.life.append((await receive())["type"])
        await send({"type": f"lifespan.shutdown.{end}"})

    assert await lifespan(MetricsMiddleware(app, sink=sink), "startup", "shutdown") == [
        "startup.complete",
        f"shutdown.{end}",
    ]
    assert sink.life == ["start", "lifespan.startup", "lifespan.shutdown", "close"]


async def test_a_sink_that_can_not_live_keeps_no_application_from_it():
    """What starting and closing a sink raises is reported, and the lifespan goes on."""

    class Stillborn(Recorded):
        def start(self):
            raise RuntimeError

        async def aclose(self):
            raise RuntimeError

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    before = sum(context.failures.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        sent = await lifespan(MetricsMiddleware(app, sink=Stillborn()), "startup", "shutdown")
    assert sent == ["startup.complete", "shutdown.complete"]
    assert sum(context.failures.values()) == before + 2


async def test_a_failing_sink_changes_no_response():
    """What a sink raises is counted and reported, and the client gets its answer (#112)."""
    before = dict(context.failures)
    app = MetricsMiddleware(APP, sink=Broken())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        response = await asgi_request(app, path="/tenants/acme/items/5")
    assert response.status == 200
    assert response.exception is None
    assert sum(context.failures.values()) == sum(before.values()) + 2
    assert app.in_flight == 0


@pytest.mark.parametrize("sink", [NULL, Recorded()])
async def test_other_scopes_pass_untouched(sink):
    """Lifespan goes to the app as it came; with no sink everything does."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    scope, receive, send = {"type": "lifespan"}, object(), object()
    await MetricsMiddleware(app, sink=sink)(scope, receive, send)
    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope


async def test_without_a_sink_nothing_is_measured():
    """The default sink costs no record and no hook."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await PlainTextResponse("ok")(scope, receive, send)

    await asgi_request(MetricsMiddleware(app))
    assert KEY not in scopes[0]


async def test_a_request_that_is_over_is_not_counted():
    """Where an outer layer has answered and calls the app all the same, nothing stays in flight."""
    sink = Recorded()
    inner = MetricsMiddleware(APP, sink=sink)

    class Answered:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await PlainTextResponse("mine")(scope, receive, send)
            await self.app(scope, receive, lambda _message: anyio.lowlevel.checkpoint())

    async def app(scope, receive, send):
        await observe(Answered(inner), scope, receive, send)

    response = await asgi_request(app, path="/tenants/acme/items/5")
    assert response.body == b"mine"
    assert sink.calls == []


async def test_a_request_leaves_no_reference_cycle():
    """What a scope holds is freed with the request, without the garbage collector."""
    app = MetricsMiddleware(APP, sink=Recorded())
    await asgi_request(app, path="/tenants/acme/items/5")
    held = Recorded()
    alive = weakref.ref(held)
    gc.disable()
    try:
        await asgi_request(app, path="/nope", scope={"held": held})
        del held
        assert alive() is None
    finally:
        gc.enable()
