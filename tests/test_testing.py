"""The test kit itself: time that costs nothing."""

import asyncio
import logging
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from asgi_resilience.logs.sink import default_sink
from asgi_resilience.middleware.access_log import AccessLogMiddleware
from asgi_resilience.testing import (
    FailingDependency,
    Slow,
    VirtualTimeLoop,
    asgi_request,
    asgi_websocket,
    captured_logs,
    virtual_time,
)


@pytest.mark.anyio
async def test_a_day_of_sleep_takes_no_time():
    """Sleeping for a day moves the loop's clock by a day and the real one hardly at all."""
    real, virtual = time.perf_counter(), anyio.current_time()
    for _ in range(24):
        await anyio.sleep(3600)
    assert anyio.current_time() - virtual == pytest.approx(86400)
    assert time.perf_counter() - real < 1


@pytest.mark.anyio
async def test_timers_fire_in_order_of_their_time():
    """Tasks that sleep wake in the order of their deadlines, each exactly at its own time."""
    woken = []

    async def sleeper(seconds):
        await anyio.sleep(seconds)
        woken.append((seconds, anyio.current_time() - start))

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for seconds in (30.0, 0.5, 3600.0, 7.25):
            tasks.start_soon(sleeper, seconds)
    assert [seconds for seconds, _ in woken] == [0.5, 7.25, 30.0, 3600.0]
    assert all(at == pytest.approx(seconds) for seconds, at in woken)


@pytest.mark.anyio
async def test_a_deadline_passes_in_virtual_time():
    """`anyio.fail_after` expires at its virtual deadline."""
    start = anyio.current_time()
    with pytest.raises(TimeoutError):
        with anyio.fail_after(30):
            await anyio.sleep_forever()
    assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.anyio
async def test_a_thread_wakes_a_loop_without_timers():
    """With no timer armed the loop really waits for a worker thread and does not move its clock."""
    release = threading.Event()
    threading.Timer(0.05, release.set).start()
    start = anyio.current_time()
    assert await anyio.to_thread.run_sync(release.wait, 5)
    assert anyio.current_time() == start


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_socket_is_read_before_the_clock_moves():
    """What is ready on a socket is handled before a timer that lies in the future."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.send(b"x")
        async with asyncio.timeout(0.001):
            assert await loop.sock_recv(left, 1) == b"x"
    assert loop.time() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_socket_may_be_watched_both_ways():
    """One socket can be registered for reading and for writing at a time."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_reader(left, lambda: (loop.remove_reader(left), readable.set()))
        loop.add_writer(left, lambda: (loop.remove_writer(left), writable.set()))
        await writable.wait()
        right.send(b"x")
        assert await readable.wait()


def test_a_threshold_gives_threads_the_time_they_need():
    """With `autojump_threshold` a thread that answers within it comes before a timer."""
    release = threading.Event()

    async def main():
        threading.Timer(0.02, release.set).start()
        with anyio.fail_after(1):
            return await anyio.to_thread.run_sync(release.wait, 5)

    backend, options = virtual_time(autojump_threshold=2.0)
    assert anyio.run(main, backend=backend, backend_options=options) is True


def test_the_loop_serves_connections():
    """Server and client sockets work on virtual time."""

    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"ping")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main()) == b"ping"


# --------------------------------------------------------------------------------------------------- one HTTP request


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"x-method", scope["method"].encode())]}
    )
    await send({"type": "http.response.body", "body": body})


async def slow_body():
    yield b"first"
    await anyio.sleep(10)
    yield b"last"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "arrived"),
    [(b"whole", b"whole"), ([b"in ", b"parts"], b"in parts"), (slow_body, b"firstlast"), ([], b"")],
)
async def test_a_request_body_arrives(body, arrived):
    """A body may be bytes, chunks, or an async iterable that waits."""
    response = await asgi_request(echo, "POST", "/", body=body() if callable(body) else body)
    assert (response.status, response.body, response.headers["X-Method"]) == (200, arrived, "POST")
    assert response.complete
    assert response.exception is None


@pytest.mark.anyio
async def test_the_scope_is_built_from_the_request():
    """Path, query, headers, client, extensions and further keys stand in the scope as behind a server."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)

    await asgi_request(
        app,
        "PUT",
        "/caf%C3%A9/a%2Fb?x=1&y",
        headers={"X-Name": "v"},
        extensions={"http.response.pathsend": {}},
        client=None,
        scope={"root_path": "/api"},
    )
    await asgi_request(app, headers=[(b"X-Raw", b"\xff"), ("Set", "é")])
    scope, plain = scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/café/a/b",
        b"/caf%C3%A9/a%2Fb",
        b"x=1&y",
    )
    assert (scope["method"], scope["headers"], scope["client"]) == ("PUT", [(b"x-name", b"v")], None)
    assert (scope["extensions"], scope["root_path"]) == ({"http.response.pathsend": {}}, "/api")
    assert plain["headers"] == [(b"x-raw", b"\xff"), (b"set", b"\xe9")]
    assert "extensions" not in plain


@pytest.mark.anyio
async def test_a_response_is_recorded_as_it_was_sent():
    """Messages are kept in order, with their times, unharmed by what the app does to them later."""

    async def app(scope, receive, send):
        start = {"type": "http.response.start", "status": 202, "headers": iter([(b"a", b"1"), (b"a", b"2")])}
        await send(start)
        start["status"] = 500
        await anyio.sleep(5)
        await send({"type": "http.response.body", "body": b'{"a":', "more_body": True})
        await send({"type": "http.response.body", "body": b" 1}"})

    response = await asgi_request(app)
    assert (response.status, response.headers.getlist("a"), response.json()) == (202, ["1", "2"], {"a": 1})
    assert response.times == pytest.approx([0, 5, 5])
    assert response.complete


@pytest.mark.anyio
async def test_a_response_is_complete_only_after_its_last_message():
    """Announced trailers, pathsend and an unfinished body decide what completeness means."""

    def app_sending(*messages):
        async def app(scope, receive, send):
            for message in messages:
                await send(
                    {
                        "type": f"http.response.{message['type']}",
                        **{k: v for k, v in message.items() if k != "type"},
                    }
                )

        return app

    start = {"type": "start", "status": 200}
    announced = {**start, "trailers": True}
    assert not (await asgi_request(app_sending())).complete
    assert not (await asgi_request(app_sending(start))).complete
    assert not (await asgi_request(app_sending(start, {"type": "body", "more_body": True}))).complete
    assert (await asgi_request(app_sending(start, {"type": "body"}))).complete
    assert (await asgi_request(app_sending(start, {"type": "pathsend", "path": "/x"}))).complete
    assert not (await asgi_request(app_sending(announced, {"type": "body"}))).complete
    assert (await asgi_request(app_sending(announced, {"type": "body"}, {"type": "trailers"}))).complete


@pytest.mark.anyio
async def test_a_response_that_never_started_is_empty():
    """Without a start there is no status, no header and no body, and the exception says why."""

    async def app(scope, receive, send):
        raise LookupError("gone")

    response = await asgi_request(app)
    assert (response.start, response.status, dict(response.headers), response.body) == (None, None, {}, b"")
    assert isinstance(response.exception, LookupError)


@pytest.mark.anyio
async def test_receive_tells_of_the_end_of_a_response():
    """Once the body is read, `receive` waits, and then tells of the disconnect that follows the response."""
    heard = []

    async def app(scope, receive, send):
        await receive()

        async def listen():
            heard.append((await receive())["type"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            assert heard == []
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

    response = await asgi_request(app)
    assert response.exception is None
    assert heard == ["http.disconnect"]


@pytest.mark.anyio
@pytest.mark.parametrize(("spec_version", "raises"), [("2.3", False), ("2.4", True), ("2.10", True)])
async def test_a_client_that_leaves_hears_no_more(spec_version, raises):
    """After a disconnect `receive` tells so, and `send` is silent or, from ASGI 2.4 on, raises OSError."""
    seen = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        seen.append((await receive())["type"])
        await send({"type": "http.response.body"})

    response = await asgi_request(app, disconnect_after=1, spec_version=spec_version)
    assert seen == ["http.disconnect"]
    assert len(response.messages) == 1
    assert isinstance(response.exception, OSError) is raises


@pytest.mark.anyio
async def test_a_client_may_leave_before_the_response():
    """With `disconnect_after=0` the first thing that the app hears is the disconnect."""

    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.disconnect"

    assert (await asgi_request(app, disconnect_after=0)).exception is None


# --------------------------------------------------------------------------------------------------- one websocket


async def talk(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": [(b"x-a", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "asked"})
        elif message.get("text") == "fail":
            raise ValueError
        else:
            await send({**message, "type": "websocket.send"})
    scope["state"]["end"] = message


@pytest.mark.anyio
async def test_a_websocket_conversation_is_recorded():
    """Text and binary go both ways, and the client closes with its own code."""
    state = {}
    record = await asgi_websocket(
        talk,
        "/chat?x",
        messages=["hello", b"bytes"],
        close_code=1001,
        subprotocols=["v1"],
        scope={"state": state},
    )
    assert record.accepted
    assert record.sent == ["hello", b"bytes"]
    assert (record.headers["x-a"], record.close_code, record.close_reason) == ("1", None, "")
    assert state["end"] == {"type": "websocket.disconnect", "code": 1001, "reason": ""}
    assert len(record.times) == 3


@pytest.mark.anyio
async def test_a_websocket_closed_by_the_app_is_over():
    """After a close of the app nothing more is delivered; its code and reason are recorded."""
    record = await asgi_websocket(talk, messages=["close", "more"])
    assert (record.close_code, record.close_reason, record.sent, record.exception) == (
        4000,
        "asked",
        [],
        None,
    )


@pytest.mark.anyio
async def test_a_websocket_app_that_raises_is_recorded():
    """What the app raises is part of the record."""
    record = await asgi_websocket(talk, messages=["fail"])
    assert isinstance(record.exception, ValueError)


@pytest.mark.anyio
async def test_a_denied_handshake_is_recorded():
    """A denial response has a status, headers and a body; the connection was never accepted."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 429, "headers": [(b"a", b"b")]})
        await send({"type": "websocket.http.response.body", "body": b"too ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"many"})
        assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    record = await asgi_websocket(app, extensions={"websocket.http.response": {}})
    assert (record.accepted, record.denial_status, record.denial_body) == (False, 429, b"too many")
    assert record.headers["a"] == "b"
    assert record.exception is None


# --------------------------------------------------------------------------------------------------- log lines


@pytest.mark.anyio
async def test_log_lines_are_captured():
    """Lines of requests and of loggers are there, parsed, in order, and the loggers are put back."""
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    with captured_logs() as logs:

        async def app(scope, receive, send):
            logging.getLogger("app").debug("at work", extra={"step": 1})
            await echo(scope, receive, send)

        await asgi_request(AccessLogMiddleware(app), "GET", "/x")
    assert [line["message"] for line in logs.lines] == ["at work", "GET /x 200"]
    assert logs.lines[0]["context"] == {"step": 1}
    assert [line["outcome"] for line in logs.of_requests()] == ["ok"]
    assert logs.raw.count(b"\n") == 2
    assert (root.level, root.handlers) == (before, handlers)
    assert default_sink() is not logs


def test_a_level_bounds_what_is_captured():
    """Records below the level are not made into lines."""
    with captured_logs(level=logging.WARNING) as logs:
        logging.getLogger("app").info("quiet")
        logging.getLogger("app").warning("loud")
    assert [line["message"] for line in logs.lines] == ["loud"]


# --------------------------------------------------------------------------------------------------- dependencies


@pytest.mark.anyio
async def test_a_dependency_ends_as_scripted():
    """Outcomes follow one another, an exception raised, a value returned, a slow one late; the last repeats."""
    dependency = FailingDependency(ConnectionError("refused"), TimeoutError, Slow(30.0, "late"), {"id": 1})
    with pytest.raises(ConnectionError, match="refused"):
        await dependency(1, key="a")
    with pytest.raises(TimeoutError):
        await dependency()
    start = anyio.current_time()
    assert await dependency() == "late"
    assert anyio.current_time() - start == pytest.approx(30)
    assert await dependency() == {"id": 1}
    assert await dependency() == {"id": 1}
    assert dependency.calls == [((1,), {"key": "a"}), *[((), {})] * 4]


@pytest.mark.anyio
async def test_a_dependency_may_never_answer():
    """An infinitely slow outcome ends only by cancellation, and the call is counted."""
    dependency = FailingDependency(Slow(float("inf")))
    with anyio.move_on_after(3600) as scope:
        await dependency()
    assert scope.cancelled_caught
    assert len(dependency.calls) == 1


def test_a_dependency_needs_an_outcome():
    """The ValueError names the argument."""
    with pytest.raises(ValueError, match=r"outcomes=\(\)"):
        FailingDependency()
