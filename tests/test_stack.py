"""The stack: which layers stand around the app, in which order, with which options."""

import importlib
import re
import warnings
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_resilience.errors import NotFound
from asgi_resilience.faults import Fault, Latency
from asgi_resilience.middleware.health import HealthMiddleware
from asgi_resilience.middleware.request_id import RequestIDMiddleware
from asgi_resilience.middleware.timeout import TimeoutMiddleware
from asgi_resilience.settings import Settings
from asgi_resilience.slo import DEFAULT_SLOS
from asgi_resilience.stack import is_wrapped, stack, wrap
from asgi_resilience.telemetry.error_budgets import ErrorBudgets
from asgi_resilience.telemetry.pipeline import pipeline
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

module = importlib.import_module("asgi_resilience.stack")  # the function has its name

ALL_ON = Settings(rate_limit="100/minute", load_shed=True)
EQUATION = re.search(r"wrap\(app\) = ([\w(]+)\(app\)+\n", module.__doc__)[1].split("(")
OFF = {
    "Health": {"health": False},
    "RequestID": {"request_id": False},
    "TraceContext": {"trace_context": False},
    "AccessLog": {"access_log": False},
    "Metrics": {"metrics": False},
    "ErrorEnvelope": {"error_envelope": False},
    "RateLimit": {"rate_limit": None},
    "LoadShed": {"load_shed": False},
    "Timeout": {"timeout": None, "stream_idle_timeout": None},
}


async def broken_or_not(scope, receive, send):
    """Answers 500 at `/broken`."""
    status = 500 if scope["path"] == "/broken" else 200
    await PlainTextResponse("", status)(scope, receive, send)


NOTHING = Settings(**{name: value for options in OFF.values() for name, value in options.items()})


async def hello(scope, receive, send):
    await PlainTextResponse("hello")(scope, receive, send)


def names(layers):
    return [layer.cls.__name__.removesuffix("Middleware") for layer in layers]


def around(app):
    """The names of the layers, outermost first, and the app in the middle."""
    found = []
    while hasattr(app, "app"):
        found.append(type(app).__name__.removesuffix("Middleware"))
        app = app.app
    return found, app


# ------------------------------------------------------------------------------------------------------- order


def test_the_order_is_that_of_the_equation():
    """`wrap` and `stack` build what the docstring says, outermost first."""
    assert len(EQUATION) == 9
    assert names(stack(ALL_ON)) == EQUATION == [*OFF]
    assert around(wrap(hello, ALL_ON)) == (EQUATION, hello)


@pytest.mark.parametrize("name", OFF)
def test_each_layer_can_be_switched_off(name):
    """A layer that is switched off is not there at all; the others are."""
    settings = replace(ALL_ON, **OFF[name])
    assert names(stack(settings)) == [each for each in EQUATION if each != name]


def test_everything_off_is_the_app_itself():
    """Nothing is left of a stack without layers."""
    assert stack(NOTHING) == []
    assert wrap(hello, NOTHING) is hello


@pytest.mark.parametrize(
    "more",
    [
        {"timeout": 5.0},
        {"stream_idle_timeout": 5.0},
        {"event_stream_idle_timeout": 5.0},
        {"stream_timeout": 5.0},
        {"timeout_paths": {"/a": 5.0}},
        {"deadline_header": "X-Deadline"},
    ],
)
def test_one_limit_is_enough_for_the_timeout_layer(more):
    """The timeout layer is there when anything limits anything."""
    options = {"timeout": None, "stream_idle_timeout": None} | more
    assert names(stack(Settings(**options)))[-1] == "Timeout"


def test_a_limit_for_one_path_is_enough_for_the_rate_limit():
    """The rate-limit layer is there when any path has a limit."""
    assert "RateLimit" in names(stack(Settings(rate_limit_paths={"/login": "5/minute"})))
    assert "RateLimit" not in names(stack(Settings()))


def test_without_settings_the_environment_is_read(monkeypatch):
    """`wrap(app)` and `stack()` read the environment when they are called."""
    monkeypatch.setenv("ASGI_RESILIENCE_HEALTH", "off")
    assert names(stack())[0] == "RequestID"
    assert around(wrap(hello))[0][0] == "RequestID"


def test_every_layer_is_known_as_ours():
    """What `stack` builds is what `is_wrapped` knows."""
    everything = replace(ALL_ON, faults=[Fault(Latency(1.0))], prometheus_path="/metrics")
    assert {layer.cls for layer in stack(everything)} == {*module._LAYERS}


# ------------------------------------------------------------------------------------------------ wrapped already


@pytest.mark.parametrize(
    "app",
    [
        wrap(hello, ALL_ON),
        wrap(hello, Settings(health=False)),
        wrap(hello, Settings(health=False, request_id=False, trace_context=False, access_log=False)),
        CORSMiddleware(wrap(hello, ALL_ON)),
        TimeoutMiddleware(hello),
        HealthMiddleware(hello),
        Starlette(middleware=stack(ALL_ON)),
        CORSMiddleware(Starlette(middleware=[Middleware(CORSMiddleware), *stack(Settings(health=False))])),
    ],
    ids=lambda app: type(app).__name__,
)
@pytest.mark.parametrize("settings", [None, Settings(health=False)])
def test_a_wrapped_app_is_not_wrapped_again(app, settings):
    """One of our layers anywhere around the app, or the list that `stack` made, is enough; the error says what to do."""
    assert is_wrapped(app)
    with pytest.raises(ValueError, match="is already wrapped; wrap it once"):
        wrap(app, settings)


class Endless:
    """An app whose `app` is itself."""

    user_middleware = "not a list"

    async def __call__(self, scope, receive, send):
        """Do nothing."""

    @property
    def app(self):
        return self


@pytest.mark.parametrize(
    "app",
    [
        hello,
        Starlette(),
        CORSMiddleware(Starlette(middleware=[Middleware(CORSMiddleware)])),
        Starlette(middleware=[Middleware(RequestIDMiddleware)]),
        Endless(),
        MagicMock(),
    ],
    ids=lambda app: type(app).__name__,
)
def test_any_other_app_is_wrapped(app):
    """A layer that the application has put inside by itself is its own affair; odd objects are apps like others."""
    assert not is_wrapped(app)
    assert is_wrapped(wrap(app, Settings()))


@pytest.mark.parametrize("app", [None, "main:app", 7])
def test_what_can_not_be_called_is_refused(app):
    """A mistake in place of an app shows at once."""
    with pytest.raises(TypeError, match=r"wrap: expected an ASGI app, got "):
        wrap(app)


# --------------------------------------------------------------------------------------------------- end to end


@pytest.mark.anyio
async def test_the_layers_work_together():
    """One request: id, envelope, documentation, quota fields; and the app's own answer is untouched."""

    async def missing(scope, receive, send):
        raise NotFound(details="No item 9")

    settings = Settings(rate_limit="100/minute", docs_url="https://docs.example.com", access_log=False)
    answer = await asgi_request(ASGILint(wrap(ASGILint(missing), settings)))
    error = answer.json()["error"]
    assert answer.status == 404
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["documentation_url"] == "https://docs.example.com/resource-not-found"
    answer = await asgi_request(ASGILint(wrap(ASGILint(hello), settings)))
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["ratelimit"].startswith('"minute";r=99')


@pytest.mark.anyio
async def test_the_quota_s_429_and_the_timeout_s_504_are_envelopes():
    """Layers further in answer in the same shape, with the same documentation."""

    async def slow(scope, receive, send):
        await receive()
        await receive()

    options = {"docs_url": "https://docs.example.com", "access_log": False}
    limited = wrap(hello, Settings(rate_limit="1/hour", **options))
    await asgi_request(limited)
    refused = await asgi_request(limited)
    late = await asgi_request(wrap(slow, Settings(timeout=5.0, **options)))
    for answer, status, code in ((refused, 429, "RATE_LIMIT_EXCEEDED"), (late, 504, "REQUEST_TIMED_OUT")):
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (status, code)
        assert error["documentation_url"].startswith("https://docs.example.com/")
        assert error["request_id"] == answer.headers["x-request-id"]
    assert late.times[0] == pytest.approx(5.0)


@pytest.mark.anyio
async def test_the_stack_can_be_given_to_a_framework():
    """`Starlette(middleware=stack(settings))` has all layers inside of Starlette; its router's 404 is an envelope."""

    async def home(request):
        return PlainTextResponse("home")

    app = Starlette(routes=[Route("/", home)], middleware=stack(Settings(access_log=False)))
    assert (await asgi_request(app)).headers["x-request-id"].startswith("req_")
    assert (await asgi_request(app, path="/nowhere")).json()["error"]["code"] == "RESOURCE_NOT_FOUND"
    assert (await asgi_request(app, path="/health/live")).json()["status"] == "healthy"


@pytest.mark.anyio
async def test_health_is_outside_of_everything():
    """A probe has no id, is not limited, and its paths follow `health_path`."""
    app = wrap(hello, Settings(rate_limit="1/hour", health_path="/-/health/", access_log=False))
    for path in ("/-/health", "/-/health/live", "/-/health/ready", "/-/health/startup"):
        answer = await asgi_request(app, path=path)
        assert (answer.status, answer.json()["status"]) == (200, "healthy")
        assert "x-request-id" not in answer.headers
    assert (await asgi_request(app, path="/health")).body == b"hello"


@pytest.mark.anyio
async def test_a_websocket_passes_through_the_whole_stack():
    """A websocket gets its id on the acceptance, and its messages unchanged."""

    async def echo(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})

    settings = Settings(rate_limit="100/minute", access_log=False)
    socket = await asgi_websocket(ASGILint(wrap(ASGILint(echo), settings)), messages=["hello"])
    assert socket.sent == ["hello"]
    assert socket.headers["x-request-id"].startswith("req_")


def test_a_stack_warns_of_nothing():
    """The defaults are as they should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stack(Settings())


@pytest.mark.anyio
async def test_error_budgets_are_fed_by_the_requests(kept_lines):
    """And told at `/health?details`; apps of one process that have the same objectives share their budgets."""
    settings = Settings(slos=DEFAULT_SLOS, log_level="ERROR")
    apps = [wrap(broken_or_not, settings) for _ in range(2)]
    for app in apps:
        await asgi_request(app)
        await asgi_request(app, path="/broken")
    (budgets,) = [each for each in pipeline().exporters if isinstance(each, ErrorBudgets)]
    pipeline().flush()
    assert [budget.state()["open"] for budget in budgets.budgets.values()] == [[4, 2], [4, 2], [2, 0]]
    details = (await asgi_request(apps[0], path="/health?details")).json()["details"]
    assert details == {"error_budgets": budgets.report()}


@pytest.mark.anyio
async def test_without_objectives_or_metrics_there_are_no_budgets():
    """Nothing is kept, and `/health?details` is `/health`."""
    for settings in (Settings(), Settings(metrics=False, slos=DEFAULT_SLOS)):
        app = wrap(broken_or_not, settings)
        assert "details" not in (await asgi_request(app, path="/health?details")).json()
    assert not [each for each in pipeline().exporters if isinstance(each, ErrorBudgets)]
