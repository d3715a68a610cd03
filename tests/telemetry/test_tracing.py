"""Trace correlation under a real ddtrace, in processes of their own, and without one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.telemetry.tracing import find_tracing

SCENARIOS = Path(__file__).with_name("ddtrace_scenarios.py")
QUIET = {
    "DD_SERVICE": "shop",
    "DD_ENV": "test",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_STATS_COMPUTATION_ENABLED": "false",
    "DD_CODE_ORIGIN_FOR_SPANS_ENABLED": "false",
    "DD_TRACE_SAMPLING_RULES": '[{"sample_rate": 0}]',  # what is kept all the same was kept by hand
}
INBOUND_TRACE = "0af7651916cd43dd8448eb211c80319c"

needs_ddtrace = pytest.mark.skipif(find_spec("ddtrace") is None, reason="ddtrace is not installed")


def run(*arguments, **environment):
    """The standard output of a Python process with ddtrace kept quiet."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **QUIET, **environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def told(request):
    """What every scenario saw, on each event loop."""
    return json.loads(run(str(SCENARIOS), request.param))


TRACED = [
    "bare",
    "bare_exception",
    "bare_answered",
    "bare_missing",
    "bare_breaks_off",
    "alone",
    "child",
    "around",
    "around_error",
    "inbound",
    "untrusted",
    "opened",
    "opened_exception",
    "opened_error",
    "opened_inbound",
    "untaggable",
    "starlette",
    "starlette_exception",
    "websocket",
]


def request_span(seen):
    """The span of the whole request: the one that no span of this process is the parent of."""
    own = {int(span["span_id"], 16) for span in seen["spans"]}
    name = (
        "starlette.request"
        if any(span["name"] == "starlette.request" for span in seen["spans"])
        else "asgi.request"
    )
    (span,) = (each for each in seen["spans"] if each["name"] == name and each["parent_id"] not in own)
    return span


@needs_ddtrace
@pytest.mark.parametrize("name", TRACED)
def test_log_fields_are_what_ddtrace_would_write(told, name):
    """Wherever the span was opened, and however the request ends, handler and end of request log ddtrace's own fields."""
    seen = told[name]
    assert seen["in_handler"] == seen["of_ddtrace"]
    assert seen["record"]["log_fields"] == seen["of_ddtrace"]
    assert seen["of_ddtrace"]["dd.service"] == "shop"


@needs_ddtrace
@pytest.mark.parametrize("name", [*TRACED, "starlette_mount", "no_event"])
def test_the_record_has_the_ids_of_the_request_span(told, name):
    """The record names the first span of the request, not one that was opened below it."""
    seen = told[name]
    span = request_span(seen)
    assert seen["record"]["traced"] is True
    assert (seen["record"]["trace_id"], seen["record"]["span_id"]) == (span["trace_id"], span["span_id"])


@needs_ddtrace
@pytest.mark.parametrize(
    "name",
    ["bare", "bare_exception", "around_error", "starlette", "starlette_exception", "websocket", "no_event"],
)
def test_the_request_id_is_a_tag_of_the_request_span(told, name):
    """A trace is found by the request id that the client was told, errors above all."""
    span = request_span(told[name])
    assert span["request_id"].startswith("req_")
    assert told[name].get("request_id") in (span["request_id"], None)


@needs_ddtrace
def test_without_a_request_id_there_is_no_such_tag(told):
    """The layer works alone, and tags what there is."""
    assert request_span(told["alone"])["request_id"] is None


@needs_ddtrace
def test_the_error_code_is_a_tag_where_the_span_is_still_open(told):
    """A span gets the code of an error answer, and none else."""
    assert request_span(told["around_error"])["error_code"] == "INTERNAL_SERVER_ERROR"
    assert request_span(told["around"])["error_code"] is None


SINGLE = [
    "bare",
    "around",
    "opened",
    "opened_exception",
    "opened_error",
    "opened_inbound",
    "listed_starlette",
    "listed_class",
    "listed_defined",
    "hidden",
    "endless",
    "starlette",
    "starlette_exception",
    "starlette_wrapped",
    "starlette_stack",
]


@needs_ddtrace
@pytest.mark.parametrize("name", SINGLE)
def test_a_request_has_one_span(told, name):
    """Whoever opens the request's span, ddtrace further out or in or this layer, there is one."""
    assert len(told[name]["spans"]) == 1


@needs_ddtrace
def test_a_mounted_app_has_a_span_below_that_of_the_request(told):
    """What ddtrace does for mounts stays: the sub-app's span is a child, and the request's is still opened."""
    request, mount = sorted(told["mounted"]["spans"], key=lambda span: span["parent_id"] or 0)
    assert mount["parent_id"] == int(request["span_id"], 16)
    assert told["mounted"]["record"]["span_id"] == request["span_id"]


@needs_ddtrace
@pytest.mark.parametrize(
    ("name", "resource", "route"),
    [
        ("opened", "GET /items/{id}", "/items/{id}"),
        ("opened_late", "GET /late/{id}", "/late/{id}"),
        ("opened_websocket", "websocket /items/{id}", "/items/{id}"),
        ("opened_nowhere", "GET 404", None),
        ("starlette", "GET /ok/{id}", "/ok/{id}"),
        ("starlette_mount", "GET /sub/ok/{id}", "/sub/ok/{id}"),
        ("starlette_exception", "GET /boom", "/boom"),
        ("starlette_nowhere", "GET 404", None),
    ],
)
def test_a_span_is_named_for_its_route(told, name, resource, route):
    """Resource and `http.route` are the template; what nobody routes has one name, and not that of its path."""
    span = request_span(told[name])
    assert (span["resource"], span["route"]) == (resource, route)


ERRORS = {
    "bare_exception": (500, None),
    "bare_answered": (500, "INTERNAL_SERVER_ERROR"),
    "bare_unavailable": (503, None),
    "bare_breaks_off": (500, None),
    "around_error": (500, "INTERNAL_SERVER_ERROR"),
    "around_unavailable": (503, None),
    "around_exception": (500, None),
    "around_breaks_off": (500, None),
    "opened_exception": (500, None),
    "opened_error": (500, "INTERNAL_SERVER_ERROR"),
    "starlette_exception": (500, None),
    "starlette_wrapped": (500, "INTERNAL_SERVER_ERROR"),
    "starlette_stack": (500, "INTERNAL_SERVER_ERROR"),
}


@needs_ddtrace
@pytest.mark.parametrize("name", ERRORS)
def test_the_trace_of_an_error_is_kept(told, name):
    """Under a rule that drops everything an error is kept, for the reason `manual`, and named by its code."""
    span = request_span(told[name])
    status, code = ERRORS[name]
    assert (span["priority"], span["decided_by"]) == (2, "-4")
    assert (span["error"], span["status"], span["error_code"]) == (1, str(status), code)


@needs_ddtrace
def test_a_timeout_is_an_error_of_its_span(told):
    """The tracer only sees the handler cancelled; the span has the status and the code that the client got."""
    spans = told["opened_timeout"]["spans"]
    assert {(span["status"], span["error"], span["error_code"], span["priority"]) for span in spans} == {
        ("504", 1, "REQUEST_TIMED_OUT", 2)
    }


@needs_ddtrace
def test_an_exception_that_means_a_client_error_is_none(told):
    """A 404 that was raised is a 404 on its span: not an error of the server, and not kept."""
    span = request_span(told["bare_missing"])
    assert (span["status"], span["error"], span["error_code"]) == ("404", 0, "RESOURCE_NOT_FOUND")
    assert span["priority"] != 2


@needs_ddtrace
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("keep_path", True),
        ("keep_header", True),
        ("keep_untrusted", False),
        ("tells", True),
        ("outside", True),
        ("bare", False),
        ("around", False),
        ("opened", False),
        ("starlette", False),
        ("bare_cancelled", False),
    ],
)
def test_what_is_asked_for_is_kept(told, name, kept):
    """Requests that a rule names are kept, and those whose handler says so; a header counts from who is believed."""
    decisions = {(span["priority"], span["decided_by"]) for span in told[name]["spans"]}
    assert (decisions == {(2, "-4")}) is kept


@needs_ddtrace
def test_attributes_stand_on_the_span_of_the_request(told):
    """A handler's attributes go to the request's span, in forms that Datadog can search; not after its end."""
    span = request_span(told["tells"])
    assert span["tags"] == {"shop.match": "a1", "shop.hit": "true"}
    assert span["numbers"] == {"shop.value": 0.25}
    (job,) = told["outside"]["spans"]
    assert job["tags"] == {"shop.job": "x"}


@needs_ddtrace
def test_calls_carry_the_trace_of_the_span_that_makes_them(told):
    """What is called is a child of the active span, kept or dropped as its trace is, in both forms; also without a request."""
    seen = told["calls"]
    sends = seen["sends"]
    assert sends["traceparent"] == f"00-{INBOUND_TRACE}-{seen['calling']}-01"
    assert sends["x-datadog-parent-id"] == str(int(seen["calling"], 16))
    assert sends["x-datadog-sampling-priority"] == "1"
    assert sends["x-datadog-tags"].endswith(f"_dd.p.tid={INBOUND_TRACE[:16]}")
    assert told["outside"]["sends"]["x-datadog-sampling-priority"] == "2"
    assert told["outside"]["nothing"] == []


@needs_ddtrace
def test_a_refused_tracer_sends_nothing(told):
    """With `ddtrace=False` calls carry the request's own trace, with a span of their own."""
    seen = told["calls_refused"]
    _, trace, span, flags = seen["sends"]["traceparent"].split("-")
    assert (trace, flags) == (INBOUND_TRACE, "01")
    assert span not in (seen["calling"], seen["record"]["span_id"])


@needs_ddtrace
def test_an_untrusted_caller_names_no_trace(told):
    """A trace that is not believed goes on nowhere: ddtrace begins its own, makes no tags, and links to the other."""
    seen = told["untrusted"]
    span = request_span(seen)
    assert span["trace_id"] == seen["record"]["trace_id"] != INBOUND_TRACE
    assert span["parent_id"] is None
    assert span["links"] == [f"{INBOUND_TRACE}-b7ad6b7169203331"]
    assert span["priority"] != 2
    assert span["tags"] == {}
    assert request_span(told["untrusted_datadog"])["links"] == []  # it named no span


@needs_ddtrace
def test_an_inbound_trace_goes_on_in_ddtrace(told):
    """The caller's trace id is ddtrace's, and ours."""
    assert told["inbound"]["record"]["trace_id"] == INBOUND_TRACE


@needs_ddtrace
def test_the_client_is_told_the_id_of_ddtraces_trace(told):
    """The response header names the trace that was recorded."""
    assert told["bare"]["trace_header"] == told["bare"]["record"]["trace_id"]


@needs_ddtrace
@pytest.mark.parametrize("name", ["uninstrumented", "remote_parent"])
def test_without_a_span_the_ids_are_our_own(told, name):
    """Where ddtrace is loaded and opens no span for the request, it has ids all the same."""
    record = told[name]["record"]
    assert record["traced"] is False
    assert record["log_fields"]["dd.trace_id"] == record["trace_id"]
    assert record["log_fields"]["dd.service"] == "shop"
    assert int(record["trace_id"], 16) > 0


@needs_ddtrace
@pytest.mark.parametrize("name", ["refused", "not_ours"])
def test_ddtrace_can_be_refused(told, name):
    """With `ddtrace=False` the layer goes its own way, though ddtrace is at work."""
    seen = told[name]
    assert seen["record"]["traced"] is None
    assert seen["record"]["log_fields"]["dd.service"] == "ours"
    assert seen["record"]["log_fields"]["dd.trace_id"] != seen["of_ddtrace"]["dd.trace_id"]


@needs_ddtrace
def test_a_span_that_takes_no_tag_changes_no_response(told):
    """A failure inside ddtrace is counted, and the request answered (#112)."""
    assert told["untaggable"]["status"] == 200
    assert told["untaggable"]["failures"] == 1
    assert told["unclosable"]["failures"] > 0
    failed = [name for name, seen in told.items() if seen["failures"]]
    assert failed == ["untaggable", "unclosable", "shutdown_failing"]


@needs_ddtrace
@pytest.mark.parametrize(
    ("name", "flushes"), [("shutdown", 1), ("shutdown_failing", 1), ("shutdown_refused", 0)]
)
def test_traces_are_sent_before_the_lifespan_ends(told, name, flushes):
    """The shutdown is answered when the tracer has sent what it had, in a thread; a failure holds nothing up."""
    assert told[name]["sent"] == [["lifespan.startup.complete", 0], ["lifespan.shutdown.complete", flushes]]
    assert told[name]["in_main"] == [False] * flushes


@needs_ddtrace
def test_without_the_event_an_answered_request_still_has_its_ids(told):
    """Where ddtrace does not announce its spans, they are found at the start of the response, and not after an exception."""
    assert (
        told["no_event"]["record"]["log_fields"]["dd.trace_id"]
        == told["no_event"]["of_ddtrace"]["dd.trace_id"]
    )
    assert told["no_event_exception"]["record"]["traced"] is False


@needs_ddtrace
@pytest.mark.parametrize(
    ("name", "route"), [("starlette", "/ok/{id}"), ("starlette_mount", "/sub/ok/{id}"), ("websocket", "/ws")]
)
def test_the_route_is_noted_under_ddtrace_too(told, name, route):
    """The middlewares of ddtrace do not hide the route."""
    assert told[name]["record"]["route"] == route


@needs_ddtrace
def test_tracing_that_is_switched_off_gives_no_ids():
    """With `DD_TRACE_ENABLED=false` no line has a trace id of 0: the ids are our own."""
    told = json.loads(run(str(SCENARIOS), "asyncio", DD_TRACE_ENABLED="false"))
    for name in ("bare", "around", "starlette"):
        record = told[name]["record"]
        assert record["traced"] is False
        assert record["log_fields"]["dd.trace_id"] == record["trace_id"] != "0"


PROGRAM = """
import sys, anyio
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.testing import asgi_request
{before}
async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body"}})
layer = TraceContextMiddleware(app, {options})
{between}
anyio.run(asgi_request, layer)
print("ddtrace.trace" in sys.modules, layer._tracing is not None)
"""


@needs_ddtrace
@pytest.mark.parametrize(
    ("options", "before", "between", "expected"),
    [
        ("", "", "", "False False"),
        ("ddtrace=False", "", "", "False False"),
        ("ddtrace=True", "", "", "True True"),
        ("", "import ddtrace", "", "True True"),
        ("", "", "import ddtrace", "True True"),
        ("ddtrace=False", "import ddtrace", "", "True False"),
    ],
)
def test_ddtrace_is_loaded_by_the_user_alone(options, before, between, expected):
    """Nothing of ours loads ddtrace, though it is installed, unless it is asked to."""
    assert run("-c", PROGRAM.format(options=options, before=before, between=between)).strip() == expected


def test_a_missing_ddtrace_is_named_with_its_remedy(monkeypatch):
    """Who asks for ddtrace and does not have it is told what to install."""
    monkeypatch.setitem(sys.modules, "ddtrace", None)
    monkeypatch.delitem(sys.modules, "ddtrace.trace", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'asgi-resilience\[datadog\]'"):
        TraceContextMiddleware(lambda *_: None, ddtrace=True)
    assert find_tracing() is None
