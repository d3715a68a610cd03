"""The layer that refuses what could not be done in time."""

import asyncio
import logging

import anyio
import pytest

from asgi_resilience.context import failures
from asgi_resilience.metric_sink import NullSink
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.middleware.load_shed import LoadShedMiddleware
from asgi_resilience.settings import Settings
from asgi_resilience.shedding import AIMDLimit, FixedLimit, GradientLimit
from asgi_resilience.stack import stack, wrap
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio


def app_of(seconds=1.0, status=200, after=0.0):
    """An app that takes its time before its response starts, and before it ends."""

    async def app(scope, receive, send):
        await anyio.sleep(seconds)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await anyio.sleep(after)
        await send({"type": "http.response.body", "body": b"done"})

    return app


async def ask(app, count=1, **options):
    """So many requests at once; their responses, in the order in which they came."""
    responses = [None] * count

    async def one(number):
        responses[number] = await asgi_request(ASGILint(app), **options)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
    return responses


def statuses(responses):
    return [each.status for each in responses]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit=0: expected 1 or more"),
        ({"queue": -1}, "queue=-1: expected 0 or more"),
        ({"max_wait": 0}, "max_wait=0: expected seconds above 0"),
        ({"retry_after": float("inf")}, "retry_after=inf: expected seconds above 0"),
        ({"lag_target": 0}, "lag_target=0: expected seconds above 0"),
        ({"paths": {"/a": "urgent"}}, "paths['/a']='urgent': expected one of critical, normal, sheddable"),
        (
            {"paths": {"/a": "normal"}, "exempt_paths": ["/a"]},
            "paths and exempt_paths both name '/a': only one",
        ),
        ({"exempt_paths": ["a"]}, "paths and exempt_paths: 'a' is no path"),
    ],
)
def test_a_wrong_option(options, message):
    """A wrong option is refused when the layer is made, with option, value and range."""
    with pytest.raises(ValueError) as raised:
        LoadShedMiddleware(app_of(), **options)
    assert str(raised.value).startswith(message)


def test_the_limit():
    """A number is a fixed limit, none is found out, and an object is taken as it is."""
    own = AIMDLimit(0.5)
    assert isinstance(LoadShedMiddleware(app_of(), limit=5).limit, FixedLimit)
    assert isinstance(LoadShedMiddleware(app_of()).limit, GradientLimit)
    assert LoadShedMiddleware(app_of(), limit=own).limit is own


async def test_a_refusal():
    """Beyond limit and queue it is a 503 at once, in the envelope, that says when and whether to come again."""
    app = LoadShedMiddleware(app_of(), limit=2, queue=0, rnd=lambda: 0.5)
    *served, refused = await ask(app, 3)
    assert statuses(served) == [200, 200]
    assert refused.status == 503
    assert refused.times == [0, 0]
    assert refused.json()["error"]["code"] == "SERVICE_OVERLOADED"
    assert refused.json()["error"]["message"] == "Service is overloaded. Try again in 2 seconds"
    assert (refused.headers["retry-after"], refused.headers["x-retry"]) == ("2", "no")
    assert statuses(await ask(app, 2)) == [200, 200]


async def test_one_waits_for_a_place():
    """Within the longest wait a place may become free."""
    app = LoadShedMiddleware(app_of(0.08), limit=1, queue=2)
    assert statuses(await ask(app, 3)) == [200, 200, 503]


async def test_a_place_is_free_when_the_response_starts():
    """How long a client takes to read is no work: the next one comes in at the start of the response."""
    app = LoadShedMiddleware(app_of(0.05, after=60.0), limit=1, queue=1)
    assert statuses(await ask(app, 2)) == [200, 200]


async def test_a_place_is_free_when_the_app_fails():
    """Also an app that ends without a response has left."""

    async def broken(scope, receive, send):
        raise KeyError

    app = LoadShedMiddleware(broken, limit=1, queue=0)
    for _ in range(3):
        assert isinstance((await ask(app))[0].exception, KeyError)
    assert app.gate.in_flight == 0


async def test_an_exception_teaches_nothing(kept_lines):
    """The envelope answers after the app has left: the place is free, and its 500 is not the app's latency."""

    async def broken(scope, receive, send):
        raise KeyError

    limit = GradientLimit()
    app = ErrorEnvelopeMiddleware(LoadShedMiddleware(broken, limit=limit))
    assert statuses(await ask(app)) == [500]
    assert limit._count == 0


async def test_what_the_limit_learns():
    """Latency is that of the application, without the wait; failures are no health, timeouts are overload."""

    class Learns(FixedLimit):
        __slots__ = ("samples",)

        def sample(self, latency, in_flight, now, *, dropped):
            self.samples.append((round(latency, 3), in_flight, dropped))

    for status, samples in (
        (200, [(0.05, 1, False), (0.05, 1, False)]),
        (404, []),
        (500, []),
        (503, [(0.05, 1, True), (0.05, 1, True)]),
        (504, [(0.05, 1, True), (0.05, 1, True)]),
    ):
        limit = Learns(1)
        limit.samples = []
        await ask(LoadShedMiddleware(app_of(0.05, status), limit=limit, clock=anyio.current_time), 2)
        assert limit.samples == samples


async def test_priorities_by_path():
    """What matters is let in when others wait, and what does not is refused first; exempt paths don't count."""
    app = LoadShedMiddleware(
        app_of(),
        limit=4,
        queue=0,
        paths={"/pay": "critical", "/feed": "sheddable"},
        exempt_paths=["/internal"],
    )
    async with anyio.create_task_group() as tasks:
        for path in ("/internal", "/feed", "/feed", "/feed", "/"):
            tasks.start_soon(fetch, app, path)
            await anyio.wait_all_tasks_blocked()
        assert app.gate.in_flight == 4
        assert statuses(await ask(app, path="/feed")) == [503]
        assert statuses(await ask(app, path="/")) == [503]
        assert statuses(await ask(app, path="/pay/now")) == [200]


async def fetch(app, path):
    assert (await asgi_request(app, path=path)).status == 200


async def test_a_priority_is_believed_from_trusted_proxies_only():
    """Anybody could call himself critical: only a trusted peer's header counts, and only a known word in it."""
    options = {"limit": 4, "queue": 0, "priority_header": "X-Priority", "trusted_proxies": ["10.0.0.0/8"]}
    for client, value, admitted in (
        (("10.1.1.1", 1), "critical", True),
        (("10.1.1.1", 1), " Critical", True),
        (("10.1.1.1", 1), "urgent", False),
        (("192.0.2.1", 1), "critical", False),
    ):
        app = LoadShedMiddleware(app_of(0.0), **options)
        app.gate.in_flight = 4
        (response,) = await ask(app, headers={"x-priority": value}, client=client)
        assert response.status == (200 if admitted else 503)
        (response,) = await ask(app, client=client)
        assert response.status == 503


# --------------------------------------------------------------------------------------------------- the event loop

only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


class Clock:
    """A clock that the handlers move on, as if they had computed."""

    now = 0.0

    def __call__(self):
        return self.now


async def lagging(seconds, **options):
    """Turns of an event loop with handlers that compute, ten a turn; the layer afterwards."""
    clock = Clock()

    async def computes(scope, receive, send):
        clock.now += seconds
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = LoadShedMiddleware(computes, clock=clock, rnd=lambda: 0.5, **options)
    for _ in range(40):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(asgi_request(app))
        clock.now += 0.01
    return app


@only_asyncio
async def test_a_lagging_loop_refuses_a_share():
    """Handlers that compute hold the loop; when it is behind for longer than the target, a share is refused."""
    app = await lagging(0.02)
    assert app._shed > 0
    assert (await lagging(0.0001))._shed == 0
    assert (await lagging(0.02, lag_target=None))._shed == 0


@only_asyncio
async def test_a_long_turn_of_the_loop():
    """An overload in which a turn takes longer than a second is not taken for a pause."""
    app = await lagging(0.15)
    assert app._lag.share == 0.95


@only_asyncio
async def test_after_a_pause_nobody_is_refused():
    """An overload is over when nobody has come for a second: the first one after it meets an idle loop."""
    app = await lagging(0.02)
    assert app._lag.share > 0.5
    app._rnd = lambda: 0.0
    app.clock.now += 2.0
    assert statuses(await ask(app)) == [200]


@only_asyncio
@pytest.mark.parametrize(
    ("share", "path", "status"),
    [(0.6, "/", 503), (0.4, "/", 200), (0.3, "/feed", 503), (0.6, "/pay", 200), (0.9, "/pay", 503)],
)
async def test_the_share_of_a_priority(share, path, status):
    """By the dice: sheddable twice the share, critical only when more than half of the rest is refused."""
    priorities = {"/pay": "critical", "/feed": "sheddable"}
    app = LoadShedMiddleware(app_of(0.0), paths=priorities, rnd=lambda: 0.5)
    app._lag.share, app._look_at = share, float("inf")
    assert statuses(await ask(app, path=path)) == [status]


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_trio_has_no_lag():
    """On trio the loop is not watched; concurrency is."""
    app = LoadShedMiddleware(app_of(), limit=1, queue=0)
    assert statuses(await ask(app, 2)) == [200, 503]
    assert app._lag is None


async def test_websockets():
    """An open websocket is no work, so it has no place; a loop that is behind refuses it."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    shed = LoadShedMiddleware(app, limit=1, queue=0, rnd=lambda: 0.0)
    shed.gate.in_flight = 1
    assert (await asgi_websocket(shed)).accepted
    if shed._lag is not None:
        shed._lag.share, shed._look_at = 0.9, float("inf")
        assert not (await asgi_websocket(shed)).accepted


# ------------------------------------------------------------------------------------------------ what can be seen of it


async def test_the_log_tells_once(caplog):
    """One line when it begins, one when it is over; each refused request has its own line of the access log."""
    app = LoadShedMiddleware(app_of(), limit=1, queue=0, clock=anyio.current_time)
    caplog.set_level(logging.INFO, "asgi_resilience.load_shed")
    await ask(app, 3)
    await ask(app, 2)
    await anyio.sleep(20)
    await ask(app)
    assert caplog.messages == [
        "Overloaded (concurrency): requests are refused with 503 SERVICE_OVERLOADED",
        "No longer overloaded: 3 requests were refused in 1.0 s",
    ]


async def test_the_metrics():
    """Refusals by reason and priority, and once a second the limit, what is in flight and what waits."""

    class Sink(NullSink):
        def __init__(self):
            self.seen = []

        def increment(self, *numbers):
            self.seen.append(numbers)

        def gauge(self, *numbers):
            self.seen.append(numbers)

    sink = Sink()
    app = LoadShedMiddleware(app_of(), limit=1, queue=0, sink=sink, clock=anyio.current_time)
    await ask(app, 2)
    gauges = [("load_shed.limit", 1), ("load_shed.in_flight", 0), ("load_shed.waiting", 0)]
    assert sink.seen == [*gauges, ("load_shed.shed", 1, ("reason:concurrency", "priority:normal"))]


async def test_a_failing_sink_changes_nothing():
    """What the sink raises is reported, and the answers are the same."""

    class Broken(NullSink):
        def increment(self, *_):
            raise OSError

        def gauge(self, *_):
            raise OSError

    assert statuses(await ask(LoadShedMiddleware(app_of(), limit=1, queue=0, sink=Broken()), 2)) == [200, 503]
    assert failures.pop(Broken.increment.__qualname__) == failures.pop(Broken.gauge.__qualname__) == 1


async def test_in_the_stack(kept_lines):
    """It stands behind the rate limit, before the timeout; the line says why a request was refused."""
    settings = Settings(load_shed=True, load_shed_limit=1, load_shed_queue=0, rate_limit="10/second")
    names = [layer.cls.__name__ for layer in stack(settings)]
    assert names[-3:] == ["RateLimitMiddleware", "LoadShedMiddleware", "TimeoutMiddleware"]
    assert "LoadShedMiddleware" not in [layer.cls.__name__ for layer in stack(Settings())]
    assert statuses(await ask(wrap(app_of(), settings), 2)) == [200, 503]
    refused = kept_lines.of_requests()[0]
    assert (refused["outcome"], refused["context"]) == ("shed", {"load_shed": "concurrency"})
    assert refused["error"]["code"] == "SERVICE_OVERLOADED"


async def test_lifespan_passes():
    """Other scopes are handed on."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await LoadShedMiddleware(app)({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
