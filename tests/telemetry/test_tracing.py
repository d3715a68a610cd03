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
    "alone",
    "child",
    "around",
    "around_error",
    "inbound",
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
    """A span around the layers gets the code of the answer; others have none."""
    assert request_span(told["around_error"])["error_code"] == "INTERNAL_SERVER_ERROR"
    assert request_span(told["around"])["error_code"] is None


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
    assert sum(seen["failures"] for seen in told.values()) == 1


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
anyio.run(asgi_request, layer)
print("ddtrace.trace" in sys.modules, layer._tracing is not None)
"""


@needs_ddtrace
@pytest.mark.parametrize(
    ("options", "before", "expected"),
    [
        ("", "", "False False"),
        ("ddtrace=False", "", "False False"),
        ("ddtrace=True", "", "True True"),
        ("", "import ddtrace", "True True"),
        ("ddtrace=False", "import ddtrace", "True False"),
    ],
)
def test_ddtrace_is_loaded_by_the_user_alone(options, before, expected):
    """Nothing of ours loads ddtrace, though it is installed, unless it is asked to."""
    assert run("-c", PROGRAM.format(options=options, before=before)).strip() == expected


def test_a_missing_ddtrace_is_named_with_its_remedy(monkeypatch):
    """Who asks for ddtrace and does not have it is told what to install."""
    monkeypatch.setitem(sys.modules, "ddtrace", None)
    monkeypatch.delitem(sys.modules, "ddtrace.trace", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'asgi-resilience\[datadog\]'"):
        TraceContextMiddleware(lambda *_: None, ddtrace=True)
    assert find_tracing() is None
