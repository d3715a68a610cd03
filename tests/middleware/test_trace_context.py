"""The trace layer without a tracer: the ids of every request, and where they come from."""

import gc
import random
import re
import subprocess
import sys
import weakref

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from asgi_resilience import context
from asgi_resilience.context import KEY, current_request
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
DATADOG = {
    "x-datadog-trace-id": "5227067944695535468",
    "x-datadog-parent-id": "7583858654768121590",
    "x-datadog-sampling-priority": "1",
    "x-datadog-tags": "_dd.p.dm=-0,_dd.p.tid=6b0457f400000000",
}
DATADOG_TRACE = "6b0457f400000000488a4699fc68976c"


async def ids(*, headers=(), client=("192.0.2.1", 1), **options):
    """The record of one request, as its handler sees it."""
    records = []

    async def app(scope, receive, send):
        records.append(current_request())
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(app, **options)
    response = await asgi_request(ASGILint(layer), headers=headers, client=client)
    assert response.status == 200
    return records[0]


async def test_a_request_without_a_trace_begins_one():
    """Without trace headers every request has fresh ids, in the forms that the record promises."""
    one, other = await ids(), await ids()
    for record in (one, other):
        assert re.fullmatch("[0-9a-f]{32}", record.trace_id)
        assert re.fullmatch("[0-9a-f]{16}", record.span_id)
        assert not record.traced
    assert one.trace_id != other.trace_id
    assert one.span_id != other.span_id


async def test_log_fields_have_datadogs_form():
    """Five strings: the trace id in hex, the span id in decimal, and what the service is."""
    record = await ids(service="shop", environment="prod", version="v1")
    assert record.log_fields == {
        "dd.trace_id": record.trace_id,
        "dd.span_id": str(int(record.span_id, 16)),
        "dd.service": "shop",
        "dd.env": "prod",
        "dd.version": "v1",
    }


async def test_seeding_the_random_module_repeats_no_ids():
    """An application that seeds `random`, as models do, gets other ids in each process all the same."""
    random.seed(1)
    one = await ids()
    random.seed(1)
    other = await ids()
    assert one.trace_id != other.trace_id


async def test_the_source_of_randomness_is_an_argument():
    """New ids are made of the bits that the layer was given: 128 for the trace, 64 for the span."""
    record = await ids(random_bits=lambda count: (1 << count) - 2)
    assert (record.trace_id, record.span_id) == ("f" * 32, "f" * 15 + "e")


async def test_the_trace_of_traceparent_goes_on():
    """The trace id is the caller's, the span id is new, and the tracestate is kept as it came."""
    record = await ids(headers={"traceparent": TRACEPARENT, "tracestate": "dd=s:1,other=x"})
    assert record.trace_id == TRACE
    assert record.span_id not in (SPAN, None)
    assert record.trace.tracestate == "dd=s:1,other=x"
    assert record.trace.sampled is True
    assert record.log_fields["dd.trace_id"] == TRACE


async def test_the_trace_of_datadogs_headers_goes_on():
    """Without a traceparent, Datadog's own headers count."""
    record = await ids(headers=DATADOG)
    assert record.trace_id == DATADOG_TRACE
    assert record.log_fields["dd.trace_id"] == DATADOG_TRACE


async def test_a_trace_of_64_bits_is_logged_in_decimal():
    """A short trace id is logged as Datadog's integrations log it, and recorded in 32 digits."""
    record = await ids(headers={"x-datadog-trace-id": "5"})
    assert record.trace_id == f"{5:032x}"
    assert record.log_fields["dd.trace_id"] == "5"


async def test_traceparent_wins_over_datadogs_headers():
    """Where both are valid, the standard counts; where traceparent is not, the other does."""
    both = {"traceparent": TRACEPARENT, **DATADOG}
    assert (await ids(headers=both)).trace_id == TRACE
    assert (await ids(headers={**both, "traceparent": TRACEPARENT.upper()})).trace_id == DATADOG_TRACE


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", TRACEPARENT)] * 2,
        [("traceparent", TRACEPARENT.upper())],
        [("traceparent", f"00-{'0' * 32}-{SPAN}-01")],
        [("traceparent", "\x00" * 8000)],
        [("x-datadog-trace-id", "5")] * 2,
        [("x-datadog-trace-id", "0")],
        [("x-datadog-parent-id", "5")],
        [("x-datadog-", "5")],
    ],
)
async def test_what_is_not_a_trace_starts_a_new_one(headers):
    """Duplicated, malformed and missing ids are no error and no id (#109)."""
    record = await ids(headers=[*headers, ("tracestate", "foo=1")])
    assert re.fullmatch("[0-9a-f]{32}", record.trace_id)
    assert record.trace_id not in (TRACE, f"{5:032x}", "0" * 32)
    assert record.trace is None


async def test_an_illegal_tracestate_is_dropped_and_the_trace_goes_on():
    """A tracestate counts as a whole; without it the traceparent still does (#110)."""
    record = await ids(
        headers=[("traceparent", TRACEPARENT), ("tracestate", "foo=1"), ("tracestate", "Foo=2")]
    )
    assert record.trace_id == TRACE
    assert record.trace.tracestate is None


@pytest.mark.parametrize(
    ("trust", "client", "believed"),
    [
        (True, "192.0.2.1", True),
        (False, "192.0.2.1", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "192.0.2.1", False),
    ],
)
async def test_only_trusted_peers_name_the_trace(trust, client, believed):
    """Headers of a peer that is not trusted are not read (#111)."""
    record = await ids(headers={"traceparent": TRACEPARENT}, trust=trust, client=(client, 1))
    assert (record.trace_id == TRACE) is believed


@pytest.mark.parametrize(("client", "seen"), [("10.1.2.3", True), ("192.0.2.1", False)])
async def test_what_is_not_believed_goes_no_further(client, seen):
    """Tracers further in don't find the headers of a peer that is not trusted; everything else is as it came."""
    names = []

    async def app(scope, receive, send):
        names.extend(name for name, _ in scope["headers"])
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(app, trust=("10.0.0.0/8",))
    headers = {"accept": "text/plain", "traceparent": TRACEPARENT, "baggage": "user.id=1", **DATADOG}
    await asgi_request(ASGILint(layer), headers=headers, client=(client, 1))
    assert b"accept" in names
    assert ({b"traceparent", b"baggage", b"x-datadog-tags"} <= {*names}) is seen
    assert any(name.startswith(b"x-datadog") for name in names) is seen


@pytest.mark.parametrize(
    ("keep", "path", "headers", "client", "priority"),
    [
        ("/paid", "/paid/1", {}, "10.0.0.1", 2),
        ("/paid", "/free/1", {}, "10.0.0.1", None),
        ("/paid", "/paid/1", {"traceparent": f"00-{TRACE}-{SPAN}-00"}, "10.0.0.1", 2),
        ("header:X-Debug", "/", {"X-Debug": "1"}, "10.0.0.1", 2),
        ("header:X-Debug", "/", {"X-Debug": "1"}, "192.0.2.1", None),
        (lambda scope: scope["method"] == "GET", "/", {}, "192.0.2.1", 2),
    ],
)
async def test_a_request_that_is_to_be_kept_is_kept_further_on(keep, path, headers, client, priority):
    """Without a tracer, the services that are called are told; a header counts from those who are believed."""
    records = []

    async def app(scope, receive, send):
        records.append(current_request())
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(app, keep=keep, trust=("10.0.0.0/8",))
    await asgi_request(layer, path=path, headers=headers, client=(client, 1))
    trace = records[0].trace
    assert (None if trace is None else trace.priority) == priority
    assert records[0].trace_id != TRACE or trace.parent.span_id == SPAN


async def test_a_resolver_names_the_route():
    """A function of the scope tells the template, at once, or when the app has routed; what a router says stays."""
    records = []
    asked = []

    def resolver(scope):
        asked.append(scope["path"])
        return scope.get("routed")

    async def app(scope, receive, send):
        records.append(current_request())
        if scope["path"] == "/late":
            scope["routed"] = "/{late}"
        elif scope["path"] == "/own":
            records[-1].route = "/{own}"
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(app, route_resolver=resolver)
    await asgi_request(layer, path="/early", scope={"routed": "/{early}"})
    await asgi_request(layer, path="/late")
    await asgi_request(layer, path="/own")
    await asgi_request(layer, path="/never")
    assert [record.route for record in records] == ["/{early}", "/{late}", "/{own}", None]
    assert asked == ["/early", "/late", "/late", "/own", "/never", "/never"]


async def test_a_resolver_that_raises_changes_no_response(monkeypatch):
    """The request is answered without a route, with its ids, and the failure is counted."""
    monkeypatch.setattr(context, "failures", {})
    monkeypatch.setattr(context._logger, "disabled", True)

    def broken(scope):
        raise LookupError

    record = await ids(route_resolver=broken)
    assert record.route is None
    assert record.trace_id is not None
    assert sum(context.failures.values()) == 2


async def test_the_trace_id_can_be_told_to_the_client():
    """A response header carries the trace id once, in place of one that the app has set."""

    async def app(scope, receive, send):
        await PlainTextResponse("ok", headers={"X-Trace-Id": "mine", "x-other": "1"})(scope, receive, send)

    layer = TraceContextMiddleware(app, response_header="X-Trace-ID")
    response = await asgi_request(ASGILint(layer), headers={"traceparent": TRACEPARENT})
    assert response.headers.getlist("x-trace-id") == [TRACE]
    assert response.headers["x-other"] == "1"


async def test_by_default_the_response_is_untouched():
    """Without a response header, the app's headers go out as they are."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"x-one", b"1")])})
        await send({"type": "http.response.body"})

    response = await asgi_request(ASGILint(TraceContextMiddleware(ASGILint(app))))
    assert response.headers.raw == [(b"x-one", b"1")]


async def test_the_outermost_layer_decides():
    """A second layer of the kind, around a mounted app, changes nothing."""
    seen = []

    async def app(scope, receive, send):
        seen.append((current_request().trace_id, scope[KEY].log_fields["dd.service"]))
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(TraceContextMiddleware(app, service="inner", trust=False), service="outer")
    await asgi_request(layer, headers={"traceparent": TRACEPARENT})
    assert seen == [(TRACE, "outer")]


async def endpoint(_request):
    return PlainTextResponse("ok")


async def boom(_request):
    raise LookupError


async def talk(socket):
    await socket.accept()
    await socket.close()


APP = Starlette(
    routes=[Route("/items/{id}", endpoint), Route("/boom/{id}", boom), WebSocketRoute("/ws/{room}", talk)]
)


def recording(app, records):
    async def recorded(scope, receive, send):
        records.append(scope[KEY])
        await app(scope, receive, send)

    return recorded


@pytest.mark.parametrize(
    ("path", "route"), [("/items/5", "/items/{id}"), ("/boom/5", "/boom/{id}"), ("/nope", None)]
)
async def test_the_record_learns_the_route(path, route):
    """The template of the route stands in the record for the log and the metrics."""
    records = []
    await asgi_request(TraceContextMiddleware(recording(APP, records)), path=path)
    assert records[0].route == route


async def test_an_unanswered_exception_has_its_route():
    """When nothing starts a response, the route is noted as the exception passes."""
    records = []

    async def app(scope, receive, send):
        scope["route"] = APP.routes[0]
        raise LookupError

    response = await asgi_request(TraceContextMiddleware(recording(app, records)))
    assert isinstance(response.exception, LookupError)
    assert records[0].route == "/items/{id}"


async def test_a_websocket_has_ids_and_a_route():
    """Websockets belong to traces, too."""
    records = []
    layer = TraceContextMiddleware(recording(APP, records), response_header="x-trace-id")
    socket = await asgi_websocket(layer, "/ws/lobby", headers={"traceparent": TRACEPARENT})
    assert records[0].trace_id == TRACE
    assert records[0].route == "/ws/{room}"
    assert socket.headers["x-trace-id"] == TRACE


async def test_lifespan_passes():
    """What is neither http nor websocket is the app's, message by message."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, await receive()))
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        seen.append(message["type"])

    scope = {"type": "lifespan"}
    await TraceContextMiddleware(app)(scope, receive, send)
    assert seen[0][0] is scope
    assert seen[1:] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class NoRoute:
    """A route that can't be looked at."""

    @property
    def path_format(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("answers", [True, False])
async def test_a_failure_changes_no_response(answers, monkeypatch):
    """When ids or route can't be found, the request is answered without them (#112)."""
    monkeypatch.setattr(context, "failures", {})
    monkeypatch.setattr(context._logger, "disabled", True)

    def broken(_bits):
        raise OSError("no entropy")

    async def app(scope, receive, send):
        scope["route"] = NoRoute()
        if answers:
            await PlainTextResponse("ok")(scope, receive, send)
        else:
            raise LookupError

    response = await asgi_request(
        TraceContextMiddleware(app, random_bits=broken, response_header="x-trace-id")
    )
    assert response.status == (200 if answers else None)
    assert "x-trace-id" not in response.headers
    assert isinstance(response.exception, LookupError) is not answers
    assert context.failures["TraceContextMiddleware.begin"] == 1
    assert sum(context.failures.values()) == 2


async def test_a_request_leaves_no_reference_cycle():
    """What a scope holds is freed with the request, without the garbage collector."""

    class Held:
        pass

    layer = TraceContextMiddleware(APP, response_header="x-trace-id")
    await asgi_request(layer, path="/nope")
    held = Held()
    alive = weakref.ref(held)
    gc.disable()
    try:
        await asgi_request(layer, path="/nope", scope={"held": held})
        del held
        assert alive() is None
    finally:
        gc.enable()


async def test_concurrent_requests_keep_their_ids():
    """Each of many concurrent requests sees its own trace."""
    wrong = []

    async def app(scope, receive, send):
        await anyio.sleep(0.1)
        if current_request().trace_id != scope["path"][1:]:
            wrong.append(scope["path"])
        await PlainTextResponse("ok")(scope, receive, send)

    layer = TraceContextMiddleware(app)

    async def request(number):
        trace = f"{number:032x}"
        await asgi_request(layer, path=f"/{trace}", headers={"traceparent": f"00-{trace}-{SPAN}-00"})

    async with anyio.create_task_group() as tasks:
        for number in range(1, 101):
            tasks.start_soon(request, number)
    assert wrong == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response_header": "x trace"}, "response_header='x trace'"),
        ({"response_header": ""}, "response_header=''"),
        ({"trust": ("10.0.0.300/8",)}, "10.0.0.300/8"),
        ({"keep": "paid"}, "keep: 'paid'"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    """The error names the option and its value."""
    with pytest.raises(ValueError, match=message):
        TraceContextMiddleware(APP, **options)


FORKING = """
import os, anyio
from asgi_resilience.context import KEY
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.testing import asgi_request
async def app(scope, receive, send):
    os.write(1, f"{scope[KEY].trace_id}\\n".encode())
layer = TraceContextMiddleware(app)
child = os.fork()
anyio.run(asgi_request, layer)
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


def test_forked_processes_make_different_ids():
    """A server that loads the application and then forks its workers gets different ids in each of them."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    one, other = done.stdout.split()
    assert one != other
