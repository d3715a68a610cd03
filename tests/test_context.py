"""The record of a request, and the one place that watches what is sent."""

import asyncio
import gc
import logging
import time

import anyio
import anyio.to_thread
import pytest
from blockbuster import BlockingError

from asgi_resilience import context, recorder
from asgi_resilience.context import (
    KEY,
    RequestContext,
    current_request,
    header,
    mark_logged,
    report_failure,
    request_scope,
    was_logged,
)
from asgi_resilience.recorder import ends_response, observe
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"abc"}
PART = {**BODY, "more_body": True}
EXTENSIONS = {
    "x.unknown": {},
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
    "websocket.http.response": {},
}


class Observer:
    """The smallest layer: it keeps the record, and what its hooks have seen."""

    def __init__(self, app, *, on_start=None, clock=None):
        self.app = app
        self.record = None
        self.ends = []
        self._on_start = on_start
        self._clock = {} if clock is None else {"clock": clock}

    async def __call__(self, scope, receive, send):
        if KEY not in scope:
            return await observe(self, scope, receive, send, **self._clock)
        self.record = scope[KEY]
        if self._on_start is not None:
            self.record.on_start.append(self._on_start)
        self.record.on_end.append(lambda record: self.ends.append((record.outcome, record.status)))
        return await self.app(scope, receive, send)


def sending(*messages, error=None):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


def http_scope(**fields):
    return {"type": "http", "method": "GET", "path": "/", "headers": [], **fields}


# ------------------------------------------------------------------------------------------------- outcomes

HTTP = {
    "ok": ([START, BODY], None, "ok", 200),
    "redirect": ([{**START, "status": 307}, BODY], None, "redirect", 307),
    "client error": ([{**START, "status": 404}, BODY], None, "client_error", 404),
    "server error": ([{**START, "status": 503}, BODY], None, "server_error", 503),
    "rate limited": ([{**START, "status": 429}, BODY], None, "rate_limited", 429),
    "timeout of the body": ([{**START, "status": 408}, BODY], None, "timeout", 408),
    "timeout": ([{**START, "status": 504}, BODY], None, "timeout", 504),
    "half a body": ([START, PART], None, "truncated", 200),
    "failed after the start": ([START, PART], ValueError(), "truncated", 200),
    "failed before the start": ([], ValueError(), "server_error", None),
    "no response": ([], None, "server_error", None),
    "failed after the end": ([START, BODY], ValueError(), "ok", 200),
    "pathsend": ([START, {"type": "http.response.pathsend", "path": "/x"}], None, "ok", 200),
    "zerocopysend": ([START, {"type": "http.response.zerocopysend", "file": 1}], None, "ok", 200),
    "zerocopysend, and no end": (
        [START, {"type": "http.response.zerocopysend", "file": 1, "more_body": True}],
        None,
        "truncated",
        200,
    ),
    "trailers": ([{**START, "trailers": True}, BODY, {"type": "http.response.trailers"}], None, "ok", 200),
    "trailers that never came": ([{**START, "trailers": True}, BODY], None, "truncated", 200),
    "half the trailers": (
        [{**START, "trailers": True}, BODY, {"type": "http.response.trailers", "more_trailers": True}],
        None,
        "truncated",
        200,
    ),
    "a framework's 500, then its cause": (
        [{**START, "status": 500}, BODY],
        ValueError(),
        "server_error",
        500,
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("messages", "error", "outcome", "status"), HTTP.values(), ids=HTTP)
async def test_a_request_has_one_outcome(messages, error, outcome, status):
    """However a request ends, the end hooks run exactly once, and see how (edge cases 10, 11, 12, 98)."""
    observer = Observer(sending(*messages, error=error))
    response = await asgi_request(observer, extensions=EXTENSIONS)
    assert observer.ends == [(outcome, status)]
    assert response.exception is error
    assert observer.record.finished
    assert observer.record.complete == response.complete


@pytest.mark.anyio
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_client_that_leaves_is_the_outcome(spec_version):
    """A disconnect is learned from `receive`, and from the OSError of `send` where there is one (edge cases 31, 32)."""

    async def app(scope, receive, send):
        await send(START)
        if spec_version == "2.3":
            assert (await receive())["type"] == "http.disconnect"
        else:
            await send(BODY)

    observer = Observer(app)
    response = await asgi_request(observer, disconnect_after=1, spec_version=spec_version)
    assert observer.ends == [("aborted_by_client", 200)]
    assert isinstance(response.exception, OSError) is (spec_version == "2.4")


@pytest.mark.anyio
async def test_a_disconnect_after_the_end_is_none():
    """What `receive` tells once the response is complete says nothing about it."""

    async def app(scope, receive, send):
        await send(START)
        await send(BODY)
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    observer = Observer(app)
    assert (await asgi_request(observer)).exception is None
    assert observer.ends == [("ok", 200)]
    assert not observer.record.client_gone


@pytest.mark.anyio
async def test_a_cancelled_request_is_aborted():
    """A cancellation from outside means that nobody waits any more; it goes on unchanged (edge cases 36, 47, 48)."""

    async def app(scope, receive, send):
        server.cancel()
        await anyio.sleep_forever()

    observer = Observer(app)
    with anyio.CancelScope() as server:
        await asgi_request(observer)
    assert server.cancelled_caught
    assert observer.ends == [("aborted_by_client", None)]
    assert observer.record.error_message.startswith("The server cancelled the request")


@pytest.mark.anyio
async def test_an_exit_is_no_cancellation():
    """A handler that raises `SystemExit` has failed; nobody has left."""

    async def app(scope, receive, send):
        raise SystemExit(3)

    observer = Observer(app)
    with pytest.raises(SystemExit):
        await asgi_request(observer)
    assert observer.ends == [("server_error", None)]


@pytest.mark.anyio
async def test_an_outcome_that_a_layer_has_set_stays():
    """A layer that knows better decides: a 503 may be `shed`."""

    async def app(scope, receive, send):
        scope[KEY].outcome = "shed"
        await sending({**START, "status": 503}, BODY)(scope, receive, send)

    observer = Observer(app)
    await asgi_request(observer)
    assert observer.ends == [("shed", 503)]


ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close", "code": 4000}
DENIAL = {"type": "websocket.http.response.start", "status": 401}
WEBSOCKET = {
    "left open": ([ACCEPT], None, "ok", 101, None),
    "left open after something unknown": ([{"type": "x.unknown"}, ACCEPT], None, "ok", 101, None),
    "closed": ([ACCEPT, CLOSE], None, "ok", 101, 4000),
    "closed without a code": ([ACCEPT, {"type": "websocket.close"}], None, "ok", 101, 1000),
    "failed": ([ACCEPT], ValueError(), "server_error", 101, None),
    "refused": ([{"type": "websocket.close"}], None, "client_error", 403, 1000),
    "denied": (
        [DENIAL, {"type": "websocket.http.response.body", "body": b"no"}],
        None,
        "client_error",
        401,
        None,
    ),
    "half denied": (
        [DENIAL, {"type": "websocket.http.response.body", "body": b"no", "more_body": True}],
        None,
        "truncated",
        401,
        None,
    ),
    "never answered": ([], ValueError(), "server_error", None, None),
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("messages", "error", "outcome", "status", "code"), WEBSOCKET.values(), ids=WEBSOCKET
)
async def test_a_websocket_has_one_outcome(messages, error, outcome, status, code):
    """However a connection ends, the end hooks run exactly once, and see how (edge case 15)."""
    observer = Observer(sending(*messages, error=error))
    answer = await asgi_websocket(observer, extensions=EXTENSIONS)
    assert observer.ends == [(outcome, status)]
    assert observer.record.close_code == code
    assert answer.exception is error


@pytest.mark.anyio
async def test_a_websocket_client_that_leaves_is_no_error():
    """An app that fails because the client has gone has not failed."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        assert (await receive())["type"] == "websocket.disconnect"
        raise ValueError

    observer = Observer(app)
    await asgi_websocket(observer)
    assert observer.ends == [("ok", 101)]
    assert observer.record.client_gone


@pytest.mark.anyio
async def test_a_websocket_server_may_raise_for_a_client_that_has_gone():
    """OSError from `send` tells of a disconnect on websockets, too (edge case 32)."""

    async def server(scope, receive, send):
        async def gone(message):
            raise OSError

        await observer(scope, receive, gone)

    observer = Observer(sending(ACCEPT))
    assert isinstance((await asgi_websocket(server)).exception, OSError)
    assert observer.record.client_gone


# ------------------------------------------------------------------------------------------------- numbers


@pytest.mark.anyio
async def test_times_are_taken_from_the_clock():
    """Time to first byte and duration end with the first and the last message, not with background work (edge case 40)."""

    async def app(scope, receive, send):
        await anyio.sleep(1)
        await send(START)
        await anyio.sleep(2)
        await send(BODY)
        await anyio.sleep(1000)

    observer = Observer(app, clock=anyio.current_time)
    await asgi_request(observer)
    assert observer.record.ttfb == pytest.approx(1)
    assert observer.record.duration == pytest.approx(3)


@pytest.mark.anyio
async def test_times_of_an_open_request_go_on():
    """While a request is open its duration grows, and there is no time to first byte."""
    now = 10.0
    record = RequestContext(http_scope(), lambda: now)
    now = 12.5
    assert (record.duration, record.ttfb) == (2.5, None)


@pytest.mark.anyio
async def test_bytes_are_counted():
    """Body bytes count; for what the server reads from a file, the announced ones do (edge cases 7, 10, 11)."""

    async def count(*messages):
        observer = Observer(sending(*messages))
        await asgi_request(observer, extensions=EXTENSIONS)
        return observer.record.bytes_sent

    sized = {**START, "headers": [(b"Content-Length", b"70")]}
    pathsend = {"type": "http.response.pathsend", "path": "/x"}
    assert await count(START, PART, {"type": "http.response.body", "more_body": True}, BODY) == 6
    assert await count(sized, pathsend) == 70
    assert await count(START, pathsend) == 0
    assert await count({**START, "headers": [(b"content-length", b"many")]}, pathsend) == 0
    assert await count(START, {"type": "http.response.zerocopysend", "file": 1, "count": 5}) == 5
    assert await count(sized, {"type": "http.response.zerocopysend", "file": 1}) == 0


@pytest.mark.anyio
async def test_websocket_bytes_are_counted():
    """Binary data counts as it is, text as the UTF-8 that it becomes."""
    observer = Observer(
        sending(
            ACCEPT,
            {"type": "websocket.send", "bytes": b"abc", "text": None},
            {"type": "websocket.send", "text": "é"},
            {"type": "websocket.send", "text": ""},
        )
    )
    await asgi_websocket(observer)
    assert observer.record.bytes_sent == 5


@pytest.mark.anyio
async def test_remaining_counts_down_to_zero():
    """`remaining` is read at the call, never negative, and None without a deadline."""
    record = RequestContext(http_scope())
    assert record.remaining() is None
    record.deadline = anyio.current_time() + 5
    await anyio.sleep(2)
    assert record.remaining() == pytest.approx(3)
    await anyio.sleep(10)
    assert record.remaining() == 0.0


def test_a_record_is_told_apart_in_a_debugger():
    """The repr names the id, the request and its outcome."""
    record = RequestContext(http_scope(path="/x"))
    record.request_id = "req_1"
    assert repr(record) == "<RequestContext req_1 GET /x open>"
    record.outcome = "ok"
    assert repr(record) == "<RequestContext req_1 GET /x ok>"
    assert RequestContext({"type": "websocket", "path": "/"}).method == "WEBSOCKET"


def test_bound_fields_add_up():
    """A later value of the same name wins."""
    record = RequestContext(http_scope())
    record.bind(a=1, b=1)
    record.bind(b=2)
    assert record.fields == {"a": 1, "b": 2}


# ------------------------------------------------------------------------------------------------- hooks


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [None, [(b"a", b"1")], ((b"a", b"1"),), "generator"])
async def test_a_start_hook_may_edit_headers(headers):
    """A hook finds a list of its own, whatever the app has sent, and the app's message stays (edge cases 6, 8)."""
    message = dict(START)
    if headers == "generator":
        message["headers"] = iter([(b"a", b"1")])
    elif headers is not None:
        message["headers"] = headers

    def add(record, start):
        assert type(start["headers"]) is list
        start["headers"].append((b"x-id", b"7"))

    response = await asgi_request(ASGILint(Observer(ASGILint(sending(message, BODY)), on_start=add)))
    expected = [] if headers is None else [(b"a", b"1")]
    assert response.exception is None
    assert response.start["headers"] == [*expected, (b"x-id", b"7")]
    assert message.get("headers") is headers or headers == "generator"


@pytest.mark.anyio
async def test_a_message_without_hooks_is_not_touched():
    """With nobody to edit it, the very message of the app reaches the server."""
    seen = []

    async def server(scope, receive, send):
        async def keep(message):
            seen.append(message)
            await send(message)

        await Observer(sending(START, BODY))(scope, receive, keep)

    await asgi_request(server)
    assert seen[0] is START
    assert seen[1] is BODY


@pytest.mark.anyio
async def test_a_second_start_runs_no_hook():
    """The first start decides; a second one is handed on for the server to refuse."""
    observer = Observer(
        sending(START, {**START, "status": 500}, BODY),
        on_start=lambda record, message: message["headers"].append((b"x", b"y")),
    )
    response = await asgi_request(observer)
    assert [m.get("status") for m in response.messages] == [200, 500, None]
    assert "headers" not in response.messages[1]
    assert observer.record.status == 200


@pytest.mark.anyio
async def test_a_hook_that_fails_changes_nothing(monkeypatch, caplog):
    """Failing telemetry is counted, told of once with its traceback, and the response goes out (edge case 112)."""
    monkeypatch.setattr(context, "failures", {})

    def broken(*args):
        raise LookupError("telemetry")

    async def app(scope, receive, send):
        scope[KEY].on_end.insert(0, broken)
        await sending(START, BODY)(scope, receive, send)

    name = broken.__qualname__
    for _ in range(2):
        observer = Observer(app, on_start=broken)
        response = await asgi_request(observer)
        assert (response.status, response.body, response.exception) == (200, b"abc", None)
        assert observer.ends == [("ok", 200)]
    assert context.failures == {name: 4}
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} failed; requests are answered without it. Later failures are only counted."
    ]
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].exc_info[0] is LookupError


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_blocking_call_in_a_layer_would_be_found(monkeypatch):
    """The guard of these tests catches what blocks the event loop below a layer."""
    monkeypatch.setattr(context, "failures", {})
    seen = []

    def blocking(record, message):
        try:
            time.sleep(0.001)
        except BlockingError:
            seen.append("caught")

    await asgi_request(Observer(sending(START, BODY), on_start=blocking))
    assert seen == ["caught"]


def test_a_failure_of_an_object_is_counted_by_its_class(monkeypatch):
    """What has no qualified name of its own is told by that of its class."""
    monkeypatch.setattr(context, "failures", {})
    report_failure(Observer(None), ValueError())
    assert context.failures == {"Observer": 1}


@pytest.mark.anyio
async def test_hooks_added_after_the_end_are_not_kept():
    """After the end nothing holds the hooks, which may hold the scope."""
    observer = Observer(sending(START, BODY), on_start=lambda record, message: None)
    await asgi_request(observer)
    assert observer.record.on_start == []
    assert observer.record.on_end == []


@pytest.mark.anyio
async def test_a_route_that_the_app_has_named_stays():
    """What stands in the record is not replaced by what a router has left in the scope."""

    async def app(scope, receive, send):
        scope[KEY].route = "/mine"
        scope["asgi_resilience.route"] = "/routers"
        await sending(START, BODY)(scope, receive, send)

    observer = Observer(app)
    await asgi_request(observer)
    assert observer.record.route == "/mine"


@pytest.mark.anyio
async def test_an_exception_that_a_layer_has_noted_stays():
    """The cause that a layer further in has noted is not replaced by what finally leaves the app."""
    seen = []

    async def app(scope, receive, send):
        scope[KEY].on_end.append(lambda record: seen.append(record.exception))
        scope[KEY].exception = cause
        raise RuntimeError("wrapped")

    cause = ValueError("the cause")
    await asgi_request(Observer(app))
    assert seen == [cause]


@pytest.mark.anyio
async def test_the_end_of_a_framework_s_500_waits_for_its_cause():
    """A 500 that is followed by its exception ends with the app, so that the end hooks can tell of it."""
    seen = []

    async def app(scope, receive, send):
        scope[KEY].on_end.append(lambda record: seen.append(record.exception))
        await send({**START, "status": 500})
        await send(BODY)
        assert seen == []
        raise error

    error = ValueError("the cause")
    observer = Observer(app)
    await asgi_request(observer)
    assert seen == [error]
    assert observer.record.exception is None


# ------------------------------------------------------------------------------------------------- the current request


@pytest.mark.anyio
async def test_the_current_request_is_found_everywhere_below():
    """Handlers, the tasks and the threads that they start find the record; outside there is none (edge cases 54 to 57)."""
    found = []

    async def look():
        found.append(current_request())

    async def app(scope, receive, send):
        await look()
        found.append(await anyio.to_thread.run_sync(current_request))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)

    observer = Observer(app)
    await asgi_request(observer)
    assert found == [observer.record] * 3
    assert current_request() is None


@pytest.mark.anyio
@pytest.mark.parametrize("ending", ["return", "raise"])
async def test_the_context_variable_is_reset(ending):
    """Whatever was the current request before a request is so again after it (edge cases 55, 56)."""
    outer = RequestContext(http_scope())
    with request_scope(outer):
        await asgi_request(Observer(sending(error=ValueError() if ending == "raise" else None)))
        assert current_request() is outer
    assert current_request() is None


@pytest.mark.anyio
async def test_concurrent_requests_do_not_share_a_record():
    """Each of many requests at a time has its own record from its beginning to its end (edge cases 20, 23)."""
    seen = {}

    async def app(scope, receive, send):
        record = current_request()
        assert record is scope[KEY]
        record.user_id = scope["path"]
        await anyio.sleep(1)
        assert current_request() is record
        seen[scope["path"]] = record.user_id
        await sending(START, BODY)(scope, receive, send)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(asgi_request, Observer(app), "GET", f"/{number}")
    assert seen == {f"/{number}": f"/{number}" for number in range(100)}


@pytest.mark.anyio
async def test_the_scope_of_the_server_stays_as_it_was():
    """The record stands in a copy of the scope; other kinds of connections get the server's own scope (edge case 20)."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)

    scope = http_scope()
    await Observer(app)(scope, None, None)
    assert KEY not in scope
    assert scopes[0][KEY].path == "/"
    lifespan = {"type": "lifespan"}
    await Observer(app)(lifespan, None, None)
    assert scopes[1] is lifespan


@pytest.mark.anyio
@pytest.mark.parametrize("error", [None, ValueError("with a traceback")])
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_request_leaves_no_garbage(error):
    """No reference cycle stays behind, so that the garbage collector has nothing to do for a request."""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    def hook(*args):
        pass

    observer = Observer(sending(START, BODY if error is None else PART, error=error), on_start=hook)
    scope = http_scope()

    async def request():
        try:
            await observer(scope, receive, send)
        except ValueError as raised:
            raised.__traceback__ = None
        observer.record = None

    await request()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await request()
        assert gc.collect() == 0
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------- small things


def test_a_header_is_found_in_any_case():
    """Names are compared without case, and the first of several values is taken (edge case 9)."""
    scope = http_scope(headers=[(b"X-Name", b"1"), (b"x-name", b"2"), (b"x-named", b"3")])
    assert header(scope, b"x-name") == b"1"
    assert header(scope, b"x-other") is None


def test_only_the_last_message_ends_a_response():
    """Bodies end a response unless more, or trailers, are announced; informational messages never do (edge case 13)."""
    assert ends_response({"type": "http.response.body"}, trailers=False)
    assert not ends_response({"type": "http.response.body", "more_body": True}, trailers=False)
    assert not ends_response({"type": "http.response.pathsend", "path": "/"}, trailers=True)
    for kind in ("start", "early_hint", "push", "debug", "of_the_future"):
        assert not ends_response({"type": f"http.response.{kind}"}, trailers=False)


def test_an_exception_is_marked_as_logged_once():
    """The mark is taken off when it is read, because the same object may be raised again (edge cases 59, 71)."""
    error = ValueError()
    assert not was_logged(error)
    mark_logged(error)
    assert was_logged(error)
    assert not was_logged(error)


def test_an_exception_without_room_is_not_marked():
    """An exception that takes no attributes is simply logged again."""

    class Closed(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    error = Closed()
    mark_logged(error)
    assert not was_logged(error)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_raw_cancellation_is_never_swallowed():
    """A task that is cancelled stays cancelled, and its count of cancellations is not touched (edge case 34)."""
    receiving = asyncio.Event()

    async def receive():
        receiving.set()
        await asyncio.Event().wait()

    async def app(scope, receive, send):
        await receive()

    observer = Observer(app)
    task = asyncio.create_task(observer(http_scope(), receive, None))
    await receiving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1
    assert observer.ends == [("aborted_by_client", None)]


# ------------------------------------------------------------------------------------------------- layers that only look


class Other:
    """A middleware of somebody else."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Noting(recorder.Observer):
    """Says when it begins, and may call something else than its app, or fail."""

    def __init__(self, app, seen, *, instead=None, error=None):
        super().__init__(app)
        self._seen = seen
        self._instead = instead
        self._error = error

    def begin(self, record, scope):
        self._seen.append((self, record, scope[KEY]))
        if self._error is not None:
            raise self._error
        return self._instead or self.app


@pytest.mark.anyio
async def test_layers_that_only_look_begin_in_order_with_one_record():
    """A row of observers begins from the outside to the inside, also behind a layer of somebody else."""
    seen = []
    inner = Noting(sending(START, BODY), seen)
    outer = Noting(Noting(Other(inner), seen), seen)
    response = await asgi_request(outer)
    assert response.body == b"abc"
    assert [layer for layer, *_ in seen] == [outer, outer.app, inner]
    assert len({id(each) for _, *both in seen for each in both}) == 1


@pytest.mark.anyio
async def test_an_observer_may_name_another_app():
    """What `begin` returns is called in the place of the layer's app."""
    seen = []
    other = {**BODY, "body": b"other"}
    layer = Noting(sending(START, BODY), seen, instead=sending(START, other))
    assert (await asgi_request(layer)).body == b"other"


@pytest.mark.anyio
async def test_an_observer_that_fails_changes_no_response(monkeypatch):
    """It is reported, and those further in begin all the same."""
    monkeypatch.setattr(context, "failures", {})
    seen = []
    layer = Noting(Noting(sending(START, BODY), seen), seen, error=LookupError())
    assert (await asgi_request(layer)).body == b"abc"
    assert len(seen) == 2
    assert context.failures["Noting.begin"] == 1


@pytest.mark.anyio
async def test_an_observer_hands_the_lifespan_on():
    """Whoever does not care for the lifespan does not notice it."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)

    await Noting(app, [])({"type": "lifespan"}, None, None)
    assert scopes == [{"type": "lifespan"}]


@pytest.mark.anyio
async def test_an_observer_says_what_it_does(monkeypatch):
    """A layer without `begin` is a mistake of whoever wrote it, and is reported as one."""
    monkeypatch.setattr(context, "failures", {})
    assert (await asgi_request(recorder.Observer(sending(START, BODY)))).body == b"abc"
    assert context.failures["Observer.begin"] == 1
