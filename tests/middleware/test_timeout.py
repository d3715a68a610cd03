"""The timeout layer, stage by stage."""

import asyncio
import logging
import re
import threading
from contextvars import ContextVar

import anyio
import pytest

from asgi_resilience.context import KEY, current_request
from asgi_resilience.errors import RequestTimedOut
from asgi_resilience.exchange.task import _where
from asgi_resilience.middleware.timeout import TimeoutMiddleware
from asgi_resilience.recorder import observe
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket
from asgi_resilience.timeouts import Timeouts

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
EVENTS = {**START, "headers": [(b"content-type", b"Text/Event-Stream; charset=utf-8")]}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
END = {"type": "http.response.body", "body": b"end"}

only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


def app_of(*steps):
    """An app that sleeps for each number and sends each message."""

    async def app(scope, receive, send):
        for step in steps:
            if isinstance(step, dict):
                await send(step)
            else:
                await anyio.sleep(step)

    return app


async def request(app, *, limits=None, **options):
    return await asgi_request(ASGILint(TimeoutMiddleware(app, **(limits or {}))), **options)


# ------------------------------------------------------------------ until the response starts


async def test_a_response_in_time_passes():
    """A response that starts in time goes out as it is, and later silence of its sender is not the first stage's."""
    response = await request(app_of(29, START, 29, END))
    assert response.status == 200
    assert response.times == [29, 58]
    assert response.complete


async def test_a_late_response_becomes_a_504_at_that_moment():
    """At 30 seconds, to the moment, the client gets the whole 504 envelope."""
    response = await request(app_of(31, START, END))
    assert response.times == [30, 30]
    assert response.status == 504
    assert response.json()["error"]["code"] == "REQUEST_TIMED_OUT"
    assert response.complete
    assert response.exception is None


async def test_the_answer_does_not_wait_for_a_handler_that_shields_itself():
    """The 504 goes out at its moment while a shielded handler goes on; what that sends afterwards is dropped (43)."""
    ended = []

    async def app(scope, receive, send):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(40)
            await send(START)
            await send(END)
            ended.append(anyio.current_time())

    response = await request(app)
    assert response.times == [30, 30]
    assert [message["type"] for message in response.messages] == ["http.response.start", "http.response.body"]
    assert len(ended) == 1


@only_asyncio
async def test_the_answer_does_not_wait_for_a_handler_that_swallows_the_cancellation():
    """A handler that catches its cancellation and answers late is not heard (edge case 44)."""

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(100)
        await send(START)
        await send(END)

    response = await request(app)
    assert response.times == [30, 30]
    assert response.status == 504
    assert len(response.messages) == 2


@pytest.mark.real_time
async def test_the_answer_does_not_wait_for_a_worker_thread():
    """A handler in a thread that nobody can cancel gets its 504 while the thread still works (edge cases 2, 43)."""
    answered = threading.Event()
    waited = []

    async def app(scope, receive, send):
        await anyio.to_thread.run_sync(lambda: waited.append(answered.wait(10)))
        await send(START)
        await send(END)

    async def tell(scope, receive, send):
        async def telling_send(message):
            await send(message)
            if message["type"] == "http.response.body":
                answered.set()

        await TimeoutMiddleware(app, seconds=0.05)(scope, receive, telling_send)

    response = await asgi_request(tell)
    assert response.status == 504
    assert len(response.messages) == 2
    assert waited == [True]


@only_asyncio
async def test_an_endless_stream_that_swallowed_its_cancellation_does_not_stop_the_loop():
    """What is sent after the answer is dropped, but every send still lets other tasks run."""
    others = []

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            task = asyncio.ensure_future(asyncio.sleep(0, others.append(1)))
            while not task.done():
                await send(PART)

    response = await request(app)
    assert response.status == 504
    assert others == [1]


async def test_an_overrun_is_counted_and_logged(caplog):
    """A handler that still runs one second after its time was over is counted and logged, one that has ended is not."""

    async def stubborn(scope, receive, send):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(50)

    layer = TimeoutMiddleware(stubborn)
    with caplog.at_level(logging.WARNING, "asgi_resilience.timeout"):
        await asgi_request(layer, path="/slow")
    assert layer.overruns == 1
    assert "GET /slow" in caplog.text

    obedient = TimeoutMiddleware(app_of(100))
    await asgi_request(obedient)
    await anyio.sleep(10)
    assert obedient.overruns == 0


async def test_the_record_tells_of_the_timeout():
    """The request's record says outcome, code, and how long was waited; on asyncio also where the handler was."""
    records = []

    async def app(scope, receive, send):
        records.append(scope[KEY])
        await anyio.sleep(100)

    await request(app)
    [record] = records
    assert (record.outcome, record.error_code, record.status) == ("timeout", "REQUEST_TIMED_OUT", 504)
    assert record.error_message.startswith("No response within 30 s")


@only_asyncio
async def test_the_log_says_where_the_handler_hangs():
    """The message names the innermost functions that were waiting, with file and line, the outer ones first."""
    records = []

    async def stuck_query():
        await asyncio.get_running_loop().create_future()

    async def app(scope, receive, send):
        records.append(scope[KEY])
        await stuck_query()

    await request(app)
    assert re.search(
        r"app \(test_timeout\.py:\d+\) > stuck_query \(test_timeout\.py:\d+\)$", records[0].error_message
    )


@only_asyncio
async def test_a_shielded_handler_is_cancelled_when_its_shield_ends():
    """The shield is respected, and once the handler is out of it, it is cancelled without waiting for its end."""
    times = []

    async def app(scope, receive, send):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(40)
        try:
            await anyio.sleep(1000)
        finally:
            times.append(asyncio.get_running_loop().time())

    response = await request(app)
    assert response.status == 504
    assert times == [pytest.approx(41, abs=1)]


@pytest.mark.real_time
@only_asyncio
async def test_hanging_threads_keep_their_place_in_the_limiter():
    """A worker thread that hangs counts against anyio's limiter until it ends, although its request is answered."""
    release = threading.Event()
    limiter = anyio.CapacityLimiter(1)
    answered = anyio.Event()
    borrowed = []

    async def app(scope, receive, send):
        await anyio.to_thread.run_sync(release.wait, 10, limiter=limiter)

    async def tell(scope, receive, send):
        async def telling_send(message):
            await send(message)
            if message["type"] == "http.response.body":
                answered.set()

        await TimeoutMiddleware(app, seconds=0.02)(scope, receive, telling_send)

    async with anyio.create_task_group() as group:
        group.start_soon(asgi_request, tell)
        await answered.wait()
        borrowed.append(limiter.borrowed_tokens)
        release.set()
    assert borrowed == [1]
    assert limiter.borrowed_tokens == 0


async def test_a_handler_that_ends_in_time_for_its_grace_is_no_overrun():
    """A handler that needs half a second to clean up after its cancellation has not overrun."""

    async def app(scope, receive, send):
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)

    layer = TimeoutMiddleware(app)
    await asgi_request(layer)
    await anyio.sleep(10)
    assert layer.overruns == 0


async def test_messages_before_the_start_pass():
    """An early hint is no start: it goes out, and the first stage goes on (edge case 13)."""
    hint = {"type": "http.response.early_hint", "links": []}
    response = await request(
        app_of(hint, 20, hint, 20, START, END), extensions={"http.response.early_hint": {}}
    )
    assert response.times == [0, 20, 30, 30]
    assert response.status == 504


@only_asyncio
async def test_a_handler_without_python_frames_is_just_not_located():
    """A coroutine that is not written in Python has no place to name."""

    class Compiled:
        def get_coro(self):
            return self

    assert _where(Compiled()) == ""


# ------------------------------------------------------------------ the client's body


async def slow_body(*chunks):
    for chunk in chunks:
        yield chunk
        await anyio.sleep(20)


async def read_and_answer(scope, receive, send):
    while (await receive()).get("more_body", False):
        pass
    await anyio.sleep(100 if scope["path"] == "/slow" else 0)
    await send(START)
    await send(END)


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("2", None)])
async def test_a_body_that_does_not_arrive_is_the_clients_408(version, connection):
    """While the handler waits for the client's body the answer is 408, and closes an HTTP/1 connection (52, 30)."""
    response = await request(
        read_and_answer, body=slow_body(b"a", b"b", b"c"), method="POST", scope={"http_version": version}
    )
    assert response.status == 408
    assert response.json()["error"]["code"] == "REQUEST_BODY_TIMEOUT"
    assert response.headers.get("connection") == connection
    assert response.times == [30, 30]


async def test_a_body_that_has_arrived_leaves_a_504():
    """Once the body has been read, a late response is the server's own."""
    response = await request(read_and_answer, body=b"all", method="POST", path="/slow")
    assert response.status == 504


async def test_waiting_for_the_disconnect_is_not_waiting_for_the_body():
    """A handler that only waits for the client to leave has the whole body: 504, not 408."""

    async def app(scope, receive, send):
        await receive()
        await receive()

    assert (await request(app)).status == 504


# ------------------------------------------------------------------ once the response has started


async def test_a_stalled_stream_is_cut_off():
    """A stream that is silent for 30 seconds ends in an exception, never in a last body message (38, 2)."""
    response = await request(app_of(START, PART, 31, END))
    assert isinstance(response.exception, RequestTimedOut)
    assert not response.complete
    assert response.body == b"part"


async def test_silence_counts_from_the_last_message():
    """Each message gives the stream its whole time again; only the time between two counts."""
    response = await request(app_of(START, 29, PART, 29, PART, 29, END))
    assert response.complete
    assert response.times == [0, 29, 58, 87]


async def test_a_slow_client_is_not_the_apps_silence():
    """The time that a slow client makes `send` wait does not count."""

    async def slow_client(scope, receive, send):
        async def slow_send(message):
            await anyio.sleep(100)
            await send(message)

        await TimeoutMiddleware(app_of(START, PART, PART, END))(scope, receive, slow_send)

    response = await asgi_request(slow_client)
    assert response.complete
    assert response.exception is None


async def test_an_event_stream_may_be_silent():
    """`text/event-stream` is not cut off for silence unless a limit is set for it (37)."""
    assert (await request(app_of(EVENTS, 1000, PART, 1000, END))).complete


async def test_a_header_in_capitals_is_the_same_header():
    """A server or app that keeps the case of header names is understood (edge case 9)."""
    events = {**START, "headers": [(b"Content-Type", b"text/event-stream")]}
    assert (await asgi_request(TimeoutMiddleware(app_of(events, 1000, END)))).complete


@pytest.mark.parametrize("stream_idle", [30.0, None])
async def test_an_event_stream_has_its_own_limit(stream_idle):
    """With `event_stream_idle` set, an event stream is cut off after it, whatever holds for other streams."""
    limits = {"stream_idle": stream_idle, "event_stream_idle": 60.0}
    assert (await request(app_of(EVENTS, 59, PART, 59, END), limits=limits)).complete
    cut = await request(app_of(EVENTS, 61, END), limits=limits)
    assert isinstance(cut.exception, RequestTimedOut)


async def test_a_stream_has_a_limit_as_a_whole():
    """With `stream` set, a response is cut off that long after its start, however busy it is."""
    steps = [part for _ in range(20) for part in (10, PART)]
    response = await request(app_of(START, *steps, END), limits={"stream": 95.0})
    assert isinstance(response.exception, RequestTimedOut)
    assert response.times[-1] == 90


async def test_a_limit_that_is_none_does_not_hold():
    """None switches a limit off; with all of them off nothing is ever cut."""
    off = {"seconds": None, "stream_idle": None}
    assert (await request(app_of(1000, START, 1000, END), limits=off)).complete


async def test_a_handler_that_ignores_the_cut_can_send_nothing_more():
    """After the cut, `send` raises into a handler that goes on, and the layer raises in any case."""
    raised = []

    async def app(scope, receive, send):
        await send(START)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(40)
        try:
            await send(END)
        except RequestTimedOut as error:
            raised.append(error)

    response = await request(app)
    assert isinstance(response.exception, RequestTimedOut)
    assert not response.complete
    assert len(raised) == 1


@pytest.mark.parametrize(
    "last",
    [
        END,
        {"type": "http.response.pathsend", "path": "/file"},
        {"type": "http.response.zerocopysend", "file": 3},
    ],
    ids=lambda message: message["type"],
)
async def test_background_work_runs_to_its_end(last):
    """Everything is disarmed at the last body message, whatever its kind (39, 42, 10, 11)."""
    ended = []

    async def app(scope, receive, send):
        await send(START)
        await send(last)
        await anyio.sleep(1000)
        ended.append(current_request().deadline)

    layer = TimeoutMiddleware(app, stream=60.0)
    extensions = {"http.response.pathsend": {}, "http.response.zerocopysend": {}}
    response = await asgi_request(layer, extensions=extensions)
    assert response.exception is None
    assert ended == [None]


async def test_what_comes_after_the_end_is_the_servers_to_judge():
    """A message after the last one is handed on: refusing it is not this layer's business."""
    response = await asgi_request(TimeoutMiddleware(app_of(START, END, 100, END)))
    assert [message["type"] for message in response.messages] == [START["type"], END["type"], END["type"]]


async def test_trailers_end_a_response_that_announced_them():
    """With trailers announced, the response goes on until the last of them (edge case 12)."""
    start = {**START, "trailers": True}
    trailers = {"type": "http.response.trailers", "headers": []}
    extensions = {"http.response.trailers": {}}
    whole = await request(app_of(start, END, 29, trailers, 1000), extensions=extensions)
    assert whole.complete
    assert whole.exception is None
    cut = await request(app_of(start, END, 31, trailers), extensions=extensions)
    assert isinstance(cut.exception, RequestTimedOut)


async def test_headers_that_can_be_read_once_arrive():
    """Headers given as a generator are read once and handed on (edge case 8)."""

    async def app(scope, receive, send):
        await send({**START, "headers": ((name, value) for name, value in EVENTS["headers"])})
        await anyio.sleep(100)
        await send(END)

    response = await request(app)
    assert response.headers["content-type"].lower().startswith("text/event-stream")
    assert response.complete


# ------------------------------------------------------------------ whose end it is


async def test_the_apps_own_timeout_stays_its_own():
    """A `TimeoutError` that the app raises passes through: it is not ours (edge case 45)."""

    async def app(scope, receive, send):
        with anyio.fail_after(5):
            await anyio.sleep(10)

    response = await request(app)
    assert isinstance(response.exception, TimeoutError)
    assert response.messages == []


async def test_an_exception_of_the_app_passes_unchanged():
    """What the app raises in time comes out as the same object, with its cause (edge case 63)."""
    cause, error = KeyError("cause"), ValueError("error")

    async def app(scope, receive, send):
        raise error from cause

    response = await request(app)
    assert response.exception is error
    assert error.__cause__ is cause


async def test_a_base_exception_passes_unchanged():
    """A `SystemExit` is nobody's to answer."""

    async def app(scope, receive, send):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await request(app)


async def test_a_cancellation_by_the_server_stays_a_cancellation():
    """A server that cancels the request sees it cancelled, and no answer is made up for it (edge case 36)."""
    response = None
    with anyio.move_on_after(10) as scope:
        response = await request(app_of(20, START, END))
    assert scope.cancelled_caught
    assert response is None


@only_asyncio
async def test_the_count_of_cancellations_is_put_back():
    """After an expiry, `task.cancelling()` is what it was before."""
    task = asyncio.current_task()
    for app in (app_of(100), app_of(START, 100)):
        await request(app)
        assert task.cancelling() == 0
    with anyio.CancelScope():
        await request(app_of(100))
    async with asyncio.timeout(1000):
        await request(app_of(100))


@only_asyncio
@pytest.mark.parametrize("swallows", [False, True])
async def test_a_cancellation_beside_ours_goes_on(swallows):
    """When the server cancels a request that has just expired, its cancellation is the one that counts (49)."""

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            if swallows:
                await asyncio.sleep(100)
            raise

    task = asyncio.ensure_future(request(app))
    await asyncio.sleep(29.9 if not swallows else 35)
    asyncio.get_running_loop().call_at(30, task.cancel)
    if swallows:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@only_asyncio
async def test_a_cancellation_that_the_app_turns_into_an_exception_is_logged(caplog):
    """What a handler raises after its time was over can't be answered any more, and is logged."""

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise ValueError("clean-up failed") from None

    with caplog.at_level(logging.WARNING, "asgi_resilience.timeout"):
        response = await request(app)
    assert response.status == 504
    assert response.exception is None
    assert "clean-up failed" in caplog.text


async def test_an_exception_after_a_shielded_wait_is_logged(caplog):
    """The same on every backend, for a handler that shielded itself."""

    async def app(scope, receive, send):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100)
            raise ValueError("late")

    with caplog.at_level(logging.WARNING, "asgi_resilience.timeout"):
        response = await request(app)
    assert response.status == 504
    assert "late" in caplog.text


@pytest.mark.parametrize(("error", "logged"), [(OSError("gone"), False), (ValueError("broken"), True)])
async def test_an_answer_that_can_not_be_sent_harms_nobody(error, logged, caplog):
    """A client that has gone is nothing to log; anything else that keeps the 504 from going out is."""

    async def no_way_out(scope, receive, send):
        async def failing_send(message):
            raise error

        await TimeoutMiddleware(app_of(100))(scope, receive, failing_send)

    with caplog.at_level(logging.ERROR, "asgi_resilience.timeout"):
        response = await asgi_request(no_way_out)
    assert response.exception is None
    assert bool(caplog.records) is logged


@only_asyncio
async def test_the_answer_is_sent_in_the_context_of_the_request():
    """A `send` that reads a context variable of the request sees it while the 504 goes out."""
    variable = ContextVar("variable")
    seen = []

    async def outer(scope, receive, send):
        async def reading_send(message):
            seen.append((variable.get(None), current_request()))
            await send(message)

        variable.set("set outside")
        await observe(Inner(), scope, receive, reading_send)

    class Inner:
        app = None

        async def __call__(self, scope, receive, send):
            await TimeoutMiddleware(app_of(100))(scope, receive, send)

    await asgi_request(outer)
    assert [value for value, _ in seen] == ["set outside"] * 2
    assert all(record is not None for _, record in seen)


async def test_websockets_and_lifespan_are_exempt():
    """A websocket may live for ever, and so may a lifespan."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await anyio.sleep(1000)
        await send({"type": "websocket.close"})

    websocket = await asgi_websocket(TimeoutMiddleware(app))
    assert [message["type"] for message in websocket.messages] == ["websocket.accept", "websocket.close"]

    scopes = []

    async def lifespan(scope, receive, send):
        scopes.append(scope)

    scope = {"type": "lifespan"}
    await TimeoutMiddleware(lifespan)(scope, None, None)
    assert scopes[0] is scope


# ------------------------------------------------------------------ the deadline


async def deadlines(middleware):
    """What `current_request().remaining()` says in the handler, after the start, and after the end."""
    seen = []

    async def app(scope, receive, send):
        await anyio.sleep(1)
        seen.append(current_request().remaining())
        await send(START)
        seen.append(current_request().remaining())
        await send(END)
        seen.append(current_request().remaining())

    await asgi_request(middleware(app))
    return seen


async def test_the_deadline_stands_in_the_record():
    """The handler can read how much time is left; from the start of the response on there is no deadline."""
    assert await deadlines(lambda app: TimeoutMiddleware(app, seconds=10)) == [9, None, None]


@pytest.mark.parametrize(("outer", "inner"), [(10, 5), (5, 10)])
async def test_the_shorter_of_two_deadlines_holds(outer, inner):
    """Nested, the earlier deadline stands; the outer one is put back when the inner one is met (edge case 49)."""

    def both(app):
        return TimeoutMiddleware(TimeoutMiddleware(app, seconds=inner), seconds=outer)

    assert await deadlines(both) == [4, None, None]


async def test_the_inner_deadline_answers_when_it_is_the_shorter():
    """The inner layer's 504 goes out through the outer one, which is met by it."""
    layer = TimeoutMiddleware(TimeoutMiddleware(app_of(100), seconds=5), seconds=10)
    response = await asgi_request(layer)
    assert (response.status, response.times) == (504, [5, 5])


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("path", "at"),
    [("/", 30), ("/reports", 120), ("/reports/9", 120), ("/reports-old", 30), ("/reports/daily", 5)],
)
async def test_paths_have_limits_of_their_own(path, at):
    """The longest path that covers the request's decides."""
    paths = {"/reports": 120.0, "/reports/daily": Timeouts(response=5.0)}
    response = await request(app_of(1000), limits={"paths": paths}, path=path)
    assert response.times == [at, at]


async def test_exempt_paths_have_no_limit():
    """An exempt path, or one whose limit is None, may take as long as it likes."""
    limits = {"exempt_paths": ["/export"], "paths": {"/forever": None}}
    for path in ("/export/all", "/forever"):
        response = await request(app_of(1000, START, END), limits=limits, path=path)
        assert response.complete


@pytest.mark.parametrize(
    ("value", "client", "at"),
    [
        ("2500", "10.0.0.9", 2.5),
        ("60000", "10.0.0.9", 30),  # never longer than our own
        ("2500", "8.8.8.8", 30),  # not from just anybody
        ("0", "10.0.0.9", 0),
        ("-5", "10.0.0.9", 30),
        ("1.5", "10.0.0.9", 30),
        ("1e3", "10.0.0.9", 30),
        ("nan", "10.0.0.9", 30),
        ("", "10.0.0.9", 30),
        ("9" * 50, "10.0.0.9", 30),
        ("\u0662\u0665", "10.0.0.9", 30),
    ],
)
async def test_a_trusted_caller_can_shorten_the_deadline(value, client, at):
    """The deadline header counts in whole milliseconds, from trusted peers only, and never lengthens (51)."""
    response = await request(
        app_of(1000),
        limits={"deadline_header": "X-Request-Timeout-Ms", "trusted_proxies": ["10.0.0.0/8"]},
        headers=[(b"x-request-timeout-ms", value.encode())],
        client=(client, 1),
    )
    assert response.status == 504
    assert response.times == [at, at]


async def test_the_deadline_header_holds_where_nothing_else_does():
    """With no limit of our own, the caller's deadline is the limit; without the header there is none."""
    options = {"seconds": None, "deadline_header": "x-timeout", "trusted_proxies": ["*"]}
    assert (await request(app_of(9), limits=options, headers={"x-timeout": "100"})).times == [0.1, 0.1]
    assert (await request(app_of(1000, START, END), limits=options)).complete


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"seconds": 0}, "response=0"),
        ({"seconds": -1.0}, "response=-1.0"),
        ({"stream_idle": float("nan")}, "stream_idle=nan"),
        ({"event_stream_idle": float("inf")}, "event_stream_idle=inf"),
        ({"stream": 0.0}, "stream=0.0"),
        ({"paths": {"reports": 5.0}}, "'reports'"),
        ({"paths": {"/reports": -5.0}}, "response=-5.0"),
        ({"exempt_paths": ["reports"]}, "'reports'"),
    ],
)
async def test_a_wrong_option_is_named_at_construction(option, name):
    """An impossible limit or path is refused when the layer is made, by name and value."""
    with pytest.raises(ValueError, match=name):
        TimeoutMiddleware(app_of(), **option)
