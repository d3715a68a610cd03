"""Applications of several frameworks, and of none, served wrapped by a real server."""

import json

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asgi_resilience.settings import Settings
from asgi_resilience.stack import wrap
from asgi_resilience.testing import captured_logs
from tests.frameworks.apps import FRAMEWORKS, SECRET
from tests.server.serving import Client, serve

SOON = 0.2
ROUTES = dict.fromkeys(("starlette", "litestar"), "/items/{number}")  # the others leave no trace of theirs


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


@pytest.fixture
def logs():
    with captured_logs(level=30) as captured:
        yield captured


@pytest.fixture
def server(framework, logs):
    settings = Settings(
        timeout=SOON,
        stream_idle_timeout=SOON,
        rate_limit_paths={"/items/9": "1/hour"},
        docs_url="https://docs.test/errors",
    )
    with serve(wrap(FRAMEWORKS[framework](), settings), lifespan="auto", ws="websockets-sansio") as running:
        yield running


def error(answer):
    return json.loads(answer.body)["error"]


def test_a_handler_reads_the_id_that_its_client_gets(server):
    """The id is one and the same in the handler, in the response and, when it is harmless, in the request."""
    with Client(server.port) as client:
        answer = client.get("/items/1")
        assert (answer.status, answer.body.decode()) == (200, answer.headers["x-request-id"])
        assert client.get("/items/1", x_request_id="mine").body == b"mine"


def test_an_unknown_path_is_answered_in_one_shape(server, framework):
    """A framework's own 404 becomes the envelope, unless it is JSON already."""
    with Client(server.port) as client:
        answer = client.get("/no/such/page")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("application/json")
    if framework == "litestar":
        assert json.loads(answer.body) == {"status_code": 404, "detail": "Not Found"}
    else:
        assert error(answer)["code"] == "RESOURCE_NOT_FOUND"
        assert error(answer)["documentation_url"] == "https://docs.test/errors/resource-not-found"


def test_a_crash_tells_the_client_nothing(server, framework, logs):
    """An unknown exception is a 500 without its text, and no secret of it is in the log."""
    with Client(server.port) as client:  # the server closes a connection whose app has raised
        answer = client.get("/crash")
    assert answer.status == 500
    assert SECRET.encode() not in answer.body
    assert b"hunter2" not in logs.raw
    if framework != "litestar":
        assert error(answer)["code"] == "INTERNAL_SERVER_ERROR"
        assert error(answer)["request_id"] == answer.headers["x-request-id"]


def test_a_slow_handler_costs_its_client_a_504(server):
    """A handler without an answer is given up when its time is over, and the connection goes on."""
    with Client(server.port) as client:
        answer = client.get("/slow")
        assert client.get("/items/1").status == 200
    assert (answer.status, error(answer)["code"]) == (504, "REQUEST_TIMED_OUT")


def test_a_stalled_stream_looks_cut_off(server):
    """Half a body never looks whole."""
    with Client(server.port) as client:
        answer = client.get("/stream")
    assert (answer.status, answer.body, answer.truncated) == (200, b"first half", True)


def test_too_many_requests_are_refused(server):
    """A path with a limit of its own refuses what goes beyond it, and says how long to wait."""
    with Client(server.port) as client:
        assert client.get("/items/9").status == 200
        answer = client.get("/items/9")
    assert (answer.status, error(answer)["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


def test_a_probe_is_answered(server):
    """Health is answered for every framework, once its lifespan has started or is known not to exist."""
    with Client(server.port) as client:
        answer = client.get("/health/ready")
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "healthy")


def test_a_websocket_passes(server):
    """A websocket works, and its acceptance carries a request id."""
    with connect(f"ws://127.0.0.1:{server.port}/echo") as socket:
        assert socket.response.headers["x-request-id"].startswith("req_")
        socket.send("hello")
        assert socket.recv() == "hello"


@pytest.mark.parametrize("framework", ["starlette", "litestar", "quart"], indirect=True)
def test_a_denied_websocket_stays_denied(server):
    """The answer to a handshake that the framework denies passes through."""
    with pytest.raises(InvalidStatus) as denied, connect(f"ws://127.0.0.1:{server.port}/no/such/socket"):
        pass
    assert denied.value.response.status_code in (403, 404)


def test_a_line_names_the_route(server, framework, logs):
    """The line of a request has the route's template, where the framework tells it, and never a raw path in its place."""
    with Client(server.port) as client:
        client.get("/items/1")
    server.call(int)  # the line is written in the very callback of the loop that sends the last byte
    (line,) = logs.of_requests()
    assert line["http"].get("route") == ROUTES.get(framework)
