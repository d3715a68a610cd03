"""The stack under a real server, on every parser and event loop that it has."""

import asyncio
import json
import threading
from contextlib import suppress

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from asgi_resilience.errors import AppError
from asgi_resilience.settings import Settings
from asgi_resilience.stack import wrap
from tests.server.serving import PATIENCE, SERVERS, Client, serve

SOON = 0.2
SETTINGS = Settings(timeout=SOON, stream_idle_timeout=SOON)

pytestmark = pytest.mark.parametrize(("http", "loop"), SERVERS)


def routes(**endpoints):
    """The endpoints under their names, wrapped."""
    methods = ["GET", "POST"]
    paths = [Route(f"/{name}", endpoint, methods=methods) for name, endpoint in endpoints.items()]
    return wrap(Starlette(routes=paths), SETTINGS)


async def ok(request):
    return PlainTextResponse("fine")


async def never(request):
    await anyio.sleep_forever()


def test_a_connection_survives_a_504(http, loop):
    """A handler that never answers costs its client a 504, not the connection."""
    with serve(routes(ok=ok, never=never), http, loop) as server, Client(server.port) as client:
        for _ in range(2):
            late = client.get("/never")
            assert late.status == 504
            assert json.loads(late.body)["error"]["code"] == "REQUEST_TIMED_OUT"
            assert late.headers["x-request-id"] == json.loads(late.body)["error"]["request_id"]
            assert client.get("/ok").body == b"fine"
        assert server.tasks() == []


@pytest.mark.parametrize("length", [None, "1000"])
def test_half_a_body_looks_like_half_a_body(http, loop, length):
    """A stream that stalls ends in a closed connection, without the end that would make it look whole (edge cases 2, 38)."""

    async def stalling(request):
        async def body():
            yield b"first half"
            await anyio.sleep_forever()

        return StreamingResponse(body(), headers={"content-length": length} if length else {})

    with serve(routes(stalling=stalling), http, loop) as server, Client(server.port) as client:
        half = client.get("/stalling")
        assert (half.status, half.body, half.truncated) == (200, b"first half", True)
        assert client.socket.recv(1) == b""


def test_a_client_that_leaves_leaves_nothing_behind(http, loop):
    """When the client goes away in the middle of a stream, the stream ends and no task of the request stays."""
    ended = threading.Event()

    async def endless(request):
        async def body():
            try:
                while True:
                    yield b"x" * 100
                    await anyio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(body())

    app = routes(endless=endless)
    with serve(app, http, loop) as server:
        with Client(server.port) as client:
            client.ask("/endless")
            events = client.events()
            assert next(events).status_code == 200
            next(events)
            assert len(server.tasks()) == 1
        assert ended.wait(PATIENCE)
        wait_until(server, lambda: not server.tasks())


def test_a_handler_in_a_thread_gets_its_504_in_time(http, loop):
    """A `def` endpoint can't be cancelled; its client is answered all the same (edge case 43)."""
    release = threading.Event()

    def stuck(request):
        assert release.wait(PATIENCE)
        return PlainTextResponse("too late")

    with serve(routes(stuck=stuck, ok=ok), http, loop) as server, Client(server.port) as client:
        answer = client.get("/stuck")
        assert answer.status == 504
        assert not release.is_set()
        release.set()
        assert client.get("/ok").body == b"fine"


def test_a_handler_that_swallows_cancellation_gets_its_504_in_time(http, loop):
    """A handler that goes on after its time is over can't keep its client waiting, and what it sends is dropped."""
    release, ended = asyncio.Event(), threading.Event()

    async def stubborn(request):
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        ended.set()
        return PlainTextResponse("too late")

    with serve(routes(stubborn=stubborn, ok=ok), http, loop) as server, Client(server.port) as client:
        answer = client.get("/stubborn")
        assert answer.status == 504
        assert not ended.is_set()
        server.call(release.set)
        assert ended.wait(PATIENCE)
        assert client.get("/ok").body == b"fine"


def test_background_tasks_run_to_their_end(http, loop):
    """A background task may take longer than any timeout, on a client that has gone."""
    release, ended = threading.Event(), threading.Event()

    async def work():
        assert await anyio.to_thread.run_sync(release.wait, PATIENCE)
        ended.set()

    async def with_work(request):
        return PlainTextResponse("accepted", background=BackgroundTask(work))

    with serve(routes(work=with_work, never=never), http, loop) as server:
        with Client(server.port) as client:
            assert client.get("/work").body == b"accepted"
        with Client(server.port) as other:  # by the time that this one is answered, the limits have passed
            assert other.get("/never").status == 504
            assert other.get("/never").status == 504
        assert not ended.is_set()
        release.set()
        assert ended.wait(PATIENCE)


def test_a_request_body_that_never_comes_is_a_408(http, loop):
    """A client that owes its body is told so, and can't use the connection again (edge case 52)."""

    async def upload(request: Request):
        return PlainTextResponse(str(len(await request.body())))

    with serve(routes(upload=upload), http, loop) as server, Client(server.port) as client:
        client.socket.sendall(b"POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf")
        answer = b""
        while data := client.socket.recv(65536):
            answer += data
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()
        assert b"REQUEST_BODY_TIMEOUT" in answer


def test_an_app_that_fails_late_cuts_the_connection(http, loop):
    """An exception after the response has started never makes a second response (edge cases 1, 2)."""

    async def failing(request):
        async def body():
            yield b"so far"
            raise ValueError("secret")

        return StreamingResponse(body())

    with serve(routes(failing=failing), http, loop) as server, Client(server.port) as client:
        half = client.get("/failing")
        assert (half.status, half.body, half.truncated) == (200, b"so far", True)


def test_an_expectation_is_answered_only_when_the_body_is_read(http, loop):
    """No layer reads from the client on its own, so `100 Continue` is sent for the app alone (edge case 28)."""

    async def refuse(request):
        return PlainTextResponse("no", status_code=403)

    with serve(routes(refuse=refuse), http, loop) as server, Client(server.port) as client:
        client.socket.sendall(
            b"GET /refuse HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
        )
        assert client.socket.recv(12) == b"HTTP/1.1 403"


def wait_until(server, condition):
    """Let the server's loop run until `condition` holds; it is about to."""
    for _ in range(1000):
        if condition():
            return
    raise AssertionError("it never came true")


def test_a_refused_upload_is_answered_before_it_arrives(http, loop):
    """A request beyond the limit gets its 429 at once, however much of its body is still to come (edge cases 28, 30)."""
    app = wrap(Starlette(), Settings(rate_limit="1/hour"))
    with serve(app, http, loop) as server:
        for status in (404, 429):
            with Client(server.port) as client:
                client.socket.sendall(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10000000\r\n\r\n")
                assert client.socket.recv(12) == b"HTTP/1.1 %d" % status


def test_an_error_s_headers_suit_every_parser(http, loop):
    """Text in the headers of an exception becomes bytes, and what could split the response is dropped (edge cases 26, 27)."""
    headers = {"X-Good": "\xfc", "X-Bad": "a\r\nx-stolen: 1", "X-Far": "\u2603"}

    async def gone(scope, receive, send):
        raise AppError(code="RESOURCE_GONE_PERMANENTLY", headers=headers)

    with serve(wrap(gone, SETTINGS), http, loop) as server, Client(server.port) as client:
        client.ask("/gone")
        head = client.socket.recv(65536).partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 410")
    assert b"x-good: \xfc" in head
    assert b"stolen" not in head
    assert b"x-far" not in head
