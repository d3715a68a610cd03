"""What arrives at Datadog's agent: of services under `ddtrace-run uvicorn`, and of those that open their spans here."""

import json
import subprocess
import sys

import pytest

from tests.telemetry.agent.conftest import APPS, LOW_HALF, PATIENCE, ROOT

DROPPED = '[{"sample_rate": 0}]'
APPLICATIONS = [
    ("starlette", True),
    ("starlette", False),
    ("bare", True),
    ("bare", False),
    ("litestar", True),
    ("quart", True),
]
ROUTES = {
    "starlette": "/items/{id}",
    "bare": "/items/{id}",
    "litestar": "/items/{number}",
    "quart": "/items/<int:number>",
}


@pytest.fixture(
    scope="module", params=APPLICATIONS, ids=lambda each: f"{each[0]}-{'auto' if each[1] else 'alone'}"
)
def served(request, agent):
    """One request that is answered, one that fails, one that nobody routes, under a rule that drops every trace."""
    name, auto = request.param
    with agent.service(name, auto=auto, DD_TRACE_SAMPLING_RULES=DROPPED) as service:
        service.name = name
        service.route = (
            "/items/{id:int}" if name == "starlette" and auto else ROUTES[name]
        )  # ddtrace names it itself
        service.answers = [service.get("/items/5", x_request_id="ask_1"), service.get("/boom")]
        service.received = service.traces(2)
    return service


def roots(service):
    """The first span of each trace, by its resource."""
    return {trace[0]["resource"]: trace[0] for trace in service.received}


def test_a_request_is_one_span(served):
    """Each request is one trace of one span: who opens it makes no difference."""
    assert [status for status, _ in served.answers] == [200, 500]
    assert [len(trace) for trace in served.received] == [1, 1]


def test_a_span_has_the_names_of_the_request(served):
    """Resource, route, service, environment, version and request id, as Datadog searches for them."""
    span = roots(served)[f"GET {served.route}"]
    assert span["meta"]["http.route"] == served.route
    assert span["meta"]["http.request_id"] == "ask_1"
    assert span["meta"]["http.status_code"] == "200"
    assert (span["service"], span["meta"]["env"], span["meta"]["version"]) == ("shop", "test", "1.0")
    assert span["type"] == "web"


def test_an_error_arrives_under_a_rule_that_drops_it(served):
    """The rule drops the answered request; the error is kept by hand, with its code."""
    spans = roots(served)
    assert spans[f"GET {served.route}"]["metrics"]["_sampling_priority_v1"] == -1
    error = spans["GET /boom"]
    assert error["metrics"]["_sampling_priority_v1"] == 2
    assert error["meta"]["_dd.p.dm"] == "-4"
    assert error["error"] == 1
    code = (
        None if served.name == "litestar" else "INTERNAL_SERVER_ERROR"
    )  # Litestar answers in a form of its own
    assert error["meta"].get("error.code") == code
    assert error["meta"]["http.status_code"] == "500"


def test_log_lines_join_to_spans(served):
    """The line of each request names its trace and its span, in the forms that Datadog joins by."""
    lines = {line["dd.span_id"]: line for line in served.lines() if "dd.span_id" in line}
    for trace in served.received:
        line = lines[str(trace[0]["span_id"])]
        assert int(line["dd.trace_id"], 16) & LOW_HALF == trace[0]["trace_id"]
        assert line["dd.trace_id"][:16] == trace[0]["meta"]["_dd.p.tid"]
        assert line["dd.service"] == trace[0]["service"]


def test_attributes_arrive(agent):
    """What a handler says of its request stands on the span."""
    with agent.service("starlette") as service:
        service.get("/tenants/acme/items/5")
        ((span, *_),) = service.traces()
    assert span["meta"]["match_id"] == "m5"
    assert span["meta"]["cache_hit"] == "true"
    assert span["resource"] == "GET /tenants/{tenant}/items/{id:int}"


@pytest.mark.parametrize(
    ("name", "auto", "rate", "priorities"),
    [
        ("starlette", True, 1.0, {1, 2}),
        ("starlette", False, 0.0, {-1}),
        ("bare", True, 0.0, {-1}),
        ("bare", False, 1.0, {1, 2}),
    ],
)
def test_a_trace_goes_through_two_services(agent, name, auto, rate, priorities):
    """Through `ResilientClient` the second service's span is a child in the first one's trace, kept or dropped with it."""
    rules = json.dumps([{"sample_rate": rate}])
    with (
        agent.service("starlette", DD_SERVICE="stock") as stock,
        agent.service(
            name, auto=auto, PEER=f"http://127.0.0.1:{stock.port}", DD_TRACE_SAMPLING_RULES=rules
        ) as shop,
    ):
        status, body = shop.get("/call")
        ((*asking,),) = shop.traces()
        ((answering, *_),) = stock.traces()
    assert status == 200
    assert json.loads(body)["trace"] == json.loads(body)["peer"]["trace"]
    assert {span["trace_id"] for span in asking} == {answering["trace_id"]}
    assert answering["parent_id"] in {span["span_id"] for span in asking}
    assert answering["metrics"]["_sampling_priority_v1"] in priorities
    assert asking[0]["metrics"]["_sampling_priority_v1"] == answering["metrics"]["_sampling_priority_v1"]


def test_rules_know_the_route(agent):
    """A rule of sampling matches the route's template, for a callable without a router too."""
    rules = [{"resource": "GET /items/{id}", "sample_rate": 1.0}, {"sample_rate": 0.0}]
    with agent.service("bare", auto=False, DD_TRACE_SAMPLING_RULES=json.dumps(rules)) as service:
        service.get("/items/5")
        service.get("/orders/5")
        spans = {trace[0]["resource"]: trace[0] for trace in service.traces(2)}
    assert spans["GET /items/{id}"]["metrics"]["_sampling_priority_v1"] == 2
    assert spans["GET /items/{id}"]["meta"]["_dd.p.dm"] == "-3"
    assert spans["GET /orders/{id}"]["metrics"]["_sampling_priority_v1"] == -1


def test_headers_of_a_caller_are_continued(agent):
    """Datadog's headers and the W3C's each carry a trace in; at an untrusted edge neither does."""
    datadog = {
        "x_datadog_trace_id": "5227067944695535468",
        "x_datadog_parent_id": "7",
        "x_datadog_sampling_priority": "2",
        "x_datadog_tags": "_dd.p.tid=6b0457f400000000",
    }
    standard = {"traceparent": "00-6b0457f4000000001111111111111111-00000000000000aa-01"}
    with (
        agent.service("starlette") as inside,
        agent.service("starlette", ASGI_RESILIENCE_TRUST_TRACE="no") as edge,
    ):
        for headers in (datadog, standard):
            inside.get("/items/5", **headers)
            edge.get("/items/5", **headers)
        continued = {trace[0]["parent_id"]: trace[0] for trace in inside.traces(2)}
        restarted = [trace[0] for trace in edge.traces(2)]
    assert continued[7]["trace_id"] == 5227067944695535468
    assert continued[7]["metrics"]["_sampling_priority_v1"] == 2
    assert continued[0xAA]["trace_id"] == 0x1111111111111111
    assert {span["parent_id"] for span in restarted} == {0}
    assert not {span["trace_id"] for span in restarted} & {span["trace_id"] for span in continued.values()}
    assert 2 not in {span["metrics"]["_sampling_priority_v1"] for span in restarted}


def test_the_last_trace_is_sent_at_shutdown(agent):
    """A process that ends right after its lifespan has sent its traces, though the writer's turn had not come."""
    session, environment = agent.environment(DD_TRACE_WRITER_INTERVAL_SECONDS="600")
    subprocess.run(
        [sys.executable, "-m", APPS],
        env=environment,
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
    )
    ((span, *_),) = agent.traces(session, 1)
    assert span["resource"] == "GET /items/{id}"
