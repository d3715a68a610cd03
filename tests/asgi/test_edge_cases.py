"""Edge cases of the inbound stack as a whole; the numbers are those of the project's list."""

import asyncio
import json
import logging

import anyio
import anyio.to_thread
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from asgi_resilience.context import KEY, current_request
from asgi_resilience.errors import AppError
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.settings import Settings
from asgi_resilience.stack import stack, wrap
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket, captured_logs

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
LAST = {"type": "http.response.body", "body": b"last"}


def wrapped(app, **settings):
    """The whole stack around an app, linted from outside."""
    return ASGILint(wrap(app, Settings(**settings)))


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


def error(response):
    return json.loads(response.body)["error"]


# ------------------------------------------------------------------------------------------------- protocol


async def test_a_client_that_leaves_during_the_error_answer_does_not_hide_the_error():
    """When `send` raises OSError while a 500 is answered, the app's own exception still goes on (edge cases 32, 60)."""
    app = ErrorEnvelopeMiddleware(raising(ValueError("the cause")))
    response = await asgi_request(app, disconnect_after=0, spec_version="2.4")
    assert isinstance(response.exception, ValueError)


async def test_the_start_is_sent_at_once_and_once():
    """The start of a stream does not wait for its first chunk, and comes once (edge cases 4, 5)."""

    async def app(scope, receive, send):
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        for _ in range(3):
            await anyio.sleep(20)
            await send(PART)
        await send(LAST)

    response = await asgi_request(wrapped(app))
    assert [message["type"][14:] for message in response.messages] == [
        "start",
        "body",
        "body",
        "body",
        "body",
    ]
    assert response.times == pytest.approx([0, 20, 40, 60, 60])


async def test_an_event_stream_may_be_silent():
    """Server-sent events live longer than any default, as long as they like (edge case 37)."""

    async def app(scope, receive, send):
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        await anyio.sleep(86400)
        await send(LAST)

    response = await asgi_request(wrapped(app))
    assert response.complete
    assert response.exception is None


async def test_extensions_are_neither_added_nor_removed():
    """The app sees exactly the extensions that the server offers (edge case 14)."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope.get("extensions"))
        await send(START)
        await send(LAST)

    offered = {"http.response.push": {}, "tls": {"version": 772}}
    await asgi_request(wrapped(app), extensions=offered)
    await asgi_request(wrapped(app))
    assert seen == [offered, None]


async def test_a_websocket_is_never_answered_in_http():
    """Errors on a websocket are a close, or a denial where the server offers it (edge cases 15, 16)."""
    for extensions in (None, {"websocket.http.response": {}}):
        record = await asgi_websocket(wrapped(raising(ValueError())), extensions=extensions)
        assert all(message["type"].startswith("websocket.") for message in record.messages)
        assert (record.denial_status, record.close_code) == (
            (None, 1011) if extensions is None else (500, None)
        )


async def test_the_route_is_known_outside_and_in_the_log():
    """The template of a mounted route reaches the layers outside, filled in by no one (edge cases 21, 113)."""
    routes = []

    async def item(request):
        return PlainTextResponse("item")

    async def outside(scope, receive, send):
        await wrap(router, Settings(metric_sink=Sink()))(scope, receive, send)

    class Sink:
        def increment(self, name, value=1, tags=()):
            if name == "api.requests.total":
                routes.extend(tag for tag in tags if tag.startswith("route:"))

        def gauge(self, name, value, tags=()):
            pass

        def histogram(self, name, value, tags=()):
            pass

    router = Starlette(routes=[Mount("/t/{tenant}", routes=[Route("/items/{number}", item)])])
    await asgi_request(outside, path="/t/acme/items/7")
    await asgi_request(outside, path="/t/acme/nothing")
    assert routes == ["route:/t/{tenant}/items/{number}", "route:__unmatched__"]


async def test_the_state_of_the_lifespan_is_passed_on():
    """The state that the server gives is the one that the app gets, without anything of ours in it (edge case 22)."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["state"])
        await send(START)
        await send(LAST)

    state = {"pool": object()}
    await asgi_request(wrapped(app), scope={"state": state})
    assert seen[0] is state
    assert list(state) == ["pool"]


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_stays_without(status):
    """204 and 304 pass as they are: no body, no type, no length is put onto them (edge case 24)."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    response = await asgi_request(wrapped(app))
    assert (response.status, response.body) == (status, b"")
    assert {"content-type", "content-length"}.isdisjoint(response.headers)


async def test_the_answer_to_head_has_the_fields_of_get_and_no_body():
    """An error answer to HEAD tells the length that GET would have had (edge cases 24, 25; RFC 9110 §9.3.2)."""
    app = wrapped(raising(HTTPException(404)))
    get, head = await asgi_request(app), await asgi_request(app, "HEAD")
    assert head.body == b""
    assert head.headers["content-length"] == str(len(get.body))


async def test_a_compressing_middleware_may_stand_between():
    """GZip inside the stack holds its start back and changes the length: everything still fits (edge case 25)."""

    async def page(request):
        return PlainTextResponse("x" * 5000)

    async def stalls(request):
        async def body():
            yield b"x" * 5000
            await anyio.sleep_forever()

        return StreamingResponse(body())

    routes = [Route("/page", page), Route("/stalls", stalls)]
    app = wrapped(Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)]))
    zipped = await asgi_request(app, path="/page", headers={"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.headers["content-length"] == str(len(zipped.body))
    cut = await asgi_request(app, path="/stalls", headers={"accept-encoding": "gzip"})
    assert not cut.complete
    assert cut.exception is not None


async def test_headers_of_an_error_can_not_break_the_answer():
    """A header that could split the response is dropped, str becomes bytes, and the answer goes out (edge cases 26, 27)."""
    headers = {"X-Good": "ü", "X-Bad": "a\r\nSet-Cookie: stolen=1", "Bad Name": "x", "X-Snowman": "☃"}
    response = await asgi_request(
        wrapped(raising(AppError(code="RESOURCE_GONE_PERMANENTLY", headers=headers)))
    )
    assert response.status == 410
    assert response.headers["x-good"] == "ü"
    assert {"x-bad", "bad name", "x-snowman", "set-cookie"}.isdisjoint(response.headers)


async def test_no_layer_reads_the_body():
    """Answers of the stack itself come without a single `receive` (edge cases 28, 29, 33)."""

    async def unread(scope, receive, send):
        async def forbidden():
            raise AssertionError("receive was called")

        await app(scope, forbidden, send)

    app = wrapped(raising(HTTPException(400)), rate_limit="1/hour")
    statuses = [
        (await asgi_request(unread, "POST", path)).status for path in ("/", "/", "/health", "/health/live")
    ]
    assert statuses == [400, 429, 405, 405]


async def test_the_disconnect_is_seen_behind_the_stack():
    """`Request.is_disconnected` works, because the server's own messages reach the app (edge case 53)."""
    seen = []

    async def endpoint(request):
        async for _ in request.stream():
            pass
        seen.append(await request.is_disconnected())
        return PlainTextResponse("for nobody")

    app = wrap(Starlette(routes=[Route("/", endpoint)]), Settings())

    async def leaving(scope, receive, send):
        asked = 0

        async def receive_then_leave():
            nonlocal asked
            asked += 1
            return await receive() if asked == 1 else {"type": "http.disconnect"}

        await app(scope, receive_then_leave, send)

    await asgi_request(leaving, body=b"all of it")
    assert seen == [True]


# ------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_the_app_runs_in_the_task_of_the_request():
    """No layer moves the app to another task: its context variables and its cancellation are its own (edge case 46)."""
    tasks = []

    async def app(scope, receive, send):
        tasks.append(asyncio.current_task())
        await send(START)
        await send(LAST)

    await asgi_request(wrapped(app, rate_limit="10/second", stream_timeout=60.0))
    assert tasks == [asyncio.current_task()]


async def test_a_background_task_outlives_every_limit():
    """A background task runs to its end and has no part in the duration of the request (edge cases 39, 40, 42)."""
    done = []

    async def work():
        await anyio.sleep(86400)
        done.append(current_request().duration)

    async def endpoint(request):
        await anyio.sleep(3)
        return PlainTextResponse("accepted", background=BackgroundTask(work))

    app = wrapped(Starlette(routes=[Route("/", endpoint)]), stream_timeout=60.0)
    assert (await asgi_request(app)).exception is None
    assert len(done) == 1
    assert done[0] < 60  # by the real clock, on which hardly any time has passed


async def test_a_background_task_that_fails_changes_no_response():
    """Its exception goes on, is logged with the request's id, and there is no second answer (edge case 41)."""

    async def work():
        raise ValueError("in the background")

    async def endpoint(request):
        return PlainTextResponse("accepted", background=BackgroundTask(work))

    with captured_logs() as logs:
        response = await asgi_request(wrapped(Starlette(routes=[Route("/", endpoint)])))
    assert (response.status, response.body) == (200, b"accepted")
    assert isinstance(response.exception, ValueError)
    (failed,) = [line for line in logs.lines if line["level"] == "ERROR"]
    assert failed["request_id"] == response.headers["x-request-id"]
    assert "in the background" in failed["error"]["stack_trace"]


async def test_a_cancellation_among_exceptions_is_no_error():
    """A group that holds a cancellation, or an exit, is no answerable exception, and goes on whole (edge case 62)."""
    group = BaseExceptionGroup("mixed", [ValueError(), SystemExit()])

    async def app(scope, receive, send):
        raise group

    messages = []

    async def send(message):
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "client": None}
    with pytest.raises(BaseExceptionGroup) as raised:
        await wrap(app, Settings(timeout=None, stream_idle_timeout=None))(scope, None, send)
    assert raised.value is group
    assert messages == []


# ------------------------------------------------------------------------------------------------- errors


async def test_an_error_answer_has_the_fields_of_the_layers_around_it():
    """Every error has its id, and a framework's own error keeps what CORS has put onto it (edge case 58)."""
    cors = Middleware(CORSMiddleware, allow_origins=["https://web.test"], allow_credentials=True)
    app = wrapped(Starlette(middleware=[cors]))
    response = await asgi_request(app, headers={"origin": "https://web.test"})
    assert (response.status, error(response)["code"]) == (404, "RESOURCE_NOT_FOUND")
    assert response.headers["access-control-allow-origin"] == "https://web.test"
    assert response.headers["x-request-id"] == error(response)["request_id"]
    crash = await asgi_request(wrapped(raising(ValueError())))
    assert crash.headers["x-request-id"] == error(crash)["request_id"]


async def test_an_exception_leaves_with_its_cause_and_its_traceback():
    """What leaves the stack is the very exception with its cause, for tracers outside (edge cases 60, 63, 64)."""

    async def app(scope, receive, send):
        try:
            raise LookupError("the cause")
        except LookupError as cause:
            raise ValueError("the effect") from cause

    raised = (await asgi_request(wrapped(app))).exception
    assert isinstance(raised, ValueError)
    assert isinstance(raised.__cause__, LookupError)
    frames = []
    traceback = raised.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "app"


async def test_a_crash_is_logged_once_with_its_stack_trace():
    """One line tells of a crash, with the trace, though Starlette clears tracebacks (edge cases 59, 64, 98)."""

    async def crash(request):
        raise ValueError("only here")

    with captured_logs() as logs:
        await asgi_request(wrapped(Starlette(routes=[Route("/", crash)])))
    (line,) = [line for line in logs.lines if line["level"] == "ERROR"]
    assert line["error"]["kind"] == "ValueError"
    assert "in crash" in line["error"]["stack_trace"]
    assert line["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert logs.raw.count(b"Traceback (most recent call last)") == 1


async def test_an_exception_after_the_start_is_told_with_its_cause():
    """Starlette's `Caught handled exception, but response already started.` does not hide the reason (edge case 65)."""

    async def late(request):
        async def body():
            yield b"so far"
            raise HTTPException(404, "the real reason")

        return StreamingResponse(body())

    with captured_logs() as logs:
        response = await asgi_request(wrapped(Starlette(routes=[Route("/", late)])))
    assert not response.complete
    (line,) = [line for line in logs.lines if line["level"] == "ERROR"]
    assert line["outcome"] == "truncated"
    assert "the real reason" in line["error"]["stack_trace"]


async def test_the_text_of_an_exception_stays_inside():
    """Neither the message nor the type of an unknown exception reaches the client (edge case 67)."""
    for accept in ("application/json", "application/problem+json"):
        secret = raising(ConnectionRefusedError("postgresql://ada:hunter2@db/main"))
        response = await asgi_request(wrapped(secret), headers={"accept": accept})
        assert response.status == 500
        for part in (b"postgresql", b"hunter2", b"Connection", b"Traceback"):
            assert part not in response.body


async def test_details_that_json_does_not_know_do_not_break_the_answer():
    """NaN becomes null, unknown objects a marker, and the answer goes out (edge case 68)."""
    details = {"nan": float("nan"), "object": object(), "bytes": b"\xff", 1: {"deep": {1, 2}}}
    response = await asgi_request(wrapped(raising(AppError(code="RESOURCE_STATE_CONFLICT", details=details))))
    assert response.status == 409
    assert error(response)["details"]["nan"] is None
    assert error(response)["details"]["object"] == "<object>"


async def test_a_shared_exception_carries_nothing_of_a_request():
    """One exception object raised by many requests stays as it was (edge case 71)."""
    shared = HTTPException(409, "taken", headers={"x-a": "1"})
    before = (dict(vars(shared)), dict(shared.headers))
    app = wrapped(raising(shared))
    answers = [await asgi_request(app) for _ in range(3)]
    assert len({error(answer)["request_id"] for answer in answers}) == 3
    assert (vars(shared), shared.headers) == before
    assert getattr(shared, "__notes__", []) == []


async def test_a_problem_says_the_status_that_it_has():
    """The status in a problem document is that of the response, and its type is a URI (edge case 72; RFC 9457 §3.1)."""
    for status in (400, 404, 418, 500, 503):
        app = wrapped(raising(HTTPException(status)), reraise=False)
        response = await asgi_request(app, headers={"accept": "application/problem+json"})
        document = json.loads(response.body)
        assert (response.status, document["status"]) == (status, status)
        assert document["type"] == "about:blank"


async def test_content_of_a_thread_belongs_to_its_request():
    """A `def` endpoint's lines carry the request's id, and what it sets is seen outside (edge cases 54, 57)."""
    logger = logging.getLogger("app")

    def endpoint(request: Request):
        logger.info("in a thread")
        current_request().user_id = "ada"
        return PlainTextResponse(request.scope[KEY].user_id)

    app = wrapped(Starlette(routes=[Route("/", endpoint)]), timeout=None, stream_idle_timeout=None)
    with captured_logs() as logs:
        response = await asgi_request(app)
    assert response.body == b"ada"
    (line,) = [line for line in logs.lines if line["message"] == "in a thread"]
    assert line["request_id"] == response.headers["x-request-id"]
    (of_request,) = logs.of_requests()
    assert of_request["user_id"] == "ada"


async def test_inside_of_a_framework_the_layers_work_alike():
    """`Starlette(middleware=stack(settings))` gives the same answers for what passes its middleware (edge case 70)."""

    async def missing(request):
        raise HTTPException(404, "No such item")

    app = Starlette(routes=[Route("/items", missing)], middleware=stack(Settings()))
    response = await asgi_request(ASGILint(app, scope_may_change=True), path="/items")
    assert (response.status, error(response)["details"]) == (404, "No such item")
    unknown = await asgi_request(ASGILint(app, scope_may_change=True), path="/unknown")
    assert (unknown.status, error(unknown)["code"]) == (404, "RESOURCE_NOT_FOUND")


# ------------------------------------------------------------------------------------------------- the stack as one


async def ok(scope, receive, send):
    await send({**START, "headers": [(b"content-type", b"text/plain")]})
    await send(LAST)


async def test_a_preflight_is_not_counted_and_a_refusal_is_readable():
    """CORS outside of the stack: preflights cost nothing, and a page may read the 429 (edge case 82)."""
    inner = wrap(ok, Settings(rate_limit="1/hour"))
    app = CORSMiddleware(inner, allow_origins=["https://web.test"], expose_headers=["Retry-After"])
    origin = {"origin": "https://web.test"}
    preflight = {**origin, "access-control-request-method": "GET"}
    for asked in (app, inner):
        for _ in range(3):
            assert (await asgi_request(asked, "OPTIONS", headers=preflight)).status == 200
    assert (await asgi_request(app, headers=origin)).status == 200
    refused = await asgi_request(app, headers=origin)
    assert refused.status == 429
    assert refused.headers["access-control-allow-origin"] == "https://web.test"


async def test_probes_are_exempt_by_construction():
    """Probes are neither limited nor logged, with or without a trailing slash or a body (edge cases 90, 100, 123)."""
    app = wrapped(ok, rate_limit="1/hour")
    with captured_logs() as logs:
        for path in ("/health", "/health/", "/health/live", "/health/ready", "/health/startup"):
            for method in ("GET", "HEAD"):
                assert (await asgi_request(app, method, path)).status == 200
        assert (await asgi_request(app)).status == 200
    assert [line["http"]["url_details"]["path"] for line in logs.of_requests()] == ["/"]


@pytest.mark.parametrize(
    "ids", [[b"x" * 129], [b"-" * 50_000], [b"a\x1b[2J"], [b"two words"], [b"one", b"two"], [b""], [b"\xff"]]
)
async def test_an_id_that_can_harm_is_replaced_everywhere(ids):
    """Neither the response nor a line has an id that is too long, ambiguous or of other characters (edge cases 93, 95, 96)."""

    async def app(scope, receive, send):
        await send({**START, "headers": [(b"X-Request-ID", b"the app's"), (b"x-request-id", b"and another")]})
        await send(LAST)

    with captured_logs() as logs:
        response = await asgi_request(
            wrap(app, Settings()), headers=[(b"X-Request-ID", value) for value in ids]
        )
    (own,) = response.headers.getlist("x-request-id")
    assert own.startswith("req_")
    (line,) = logs.of_requests()
    assert line["request_id"] == own
    assert len(logs.raw) < 2000


async def test_nothing_of_a_request_writes_a_line_of_its_own():
    """A decoded line end, escape or separator in a path stays inside its field of the one line (edge cases 94, 97)."""
    with captured_logs() as logs:
        await asgi_request(wrapped(ok), path="/a%0a%7B%22level%22%3A%22ERROR%22%7D%1b%E2%80%A8%00")
    assert logs.raw.count(b"\n") == 1
    (line,) = logs.of_requests()
    assert line["http"]["url_details"]["path"] == '/a\n{"level":"ERROR"}\x1b\u2028\x00'
    assert {"ttfb_ms", "duration_ms", "outcome"} <= line.keys()


async def test_no_secret_of_a_request_is_logged():
    """Query, headers, cookies and bodies are not in the lines, whatever goes wrong (edge cases 104, 106, 107)."""

    async def app(scope, receive, send):
        body = (await receive())["body"]
        raise ValueError(f"could not store {body.decode()} at postgresql://ada:planted4@db")

    secrets = [b"planted1", b"planted2", b"planted3", b"planted4", b"planted5"]
    with captured_logs() as logs:
        await asgi_request(
            wrapped(app),
            "POST",
            "/?token=planted1",
            headers={"Authorization": "Bearer planted2", "Cookie": "session=planted3"},
            body=b'{"password": "planted5"}',
        )
    assert len(logs.of_requests()) == 1
    assert b"could not store" in logs.raw
    assert not [secret for secret in secrets if secret in logs.raw]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"[::1")],
        [(b"traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01")],
        [(b"traceparent", b"ff-x"), (b"traceparent", b"\xff")],
        [(b"x-datadog-trace-id", b"-1"), (b"tracestate", b"=" * 10_000)],
        [(b"x-forwarded-for", b"\xff, , [::1"), (b"forwarded", b'for="')],
        [(b"accept", b"application/*;q=nan, \xff"), (b"user-agent", b"\xff\x00")],
    ],
)
async def test_malformed_headers_fail_no_request(headers):
    """Whatever a client puts into its headers, the request is answered (edge cases 73, 109, 112)."""
    app = wrapped(ok, rate_limit="9/second", trusted_proxies=("127.0.0.1",), deadline_header="x-deadline")
    with captured_logs() as logs:
        response = await asgi_request(app, headers=headers)
    assert (response.status, response.exception) == (200, None)
    assert len(logs.of_requests()) == 1


async def test_a_query_of_any_bytes_fails_no_request():
    """Servers may pass bytes that are no UTF-8 (edge case 112)."""
    assert (
        await asgi_request(wrapped(ok), scope={"query_string": b"\xff\xfe", "raw_path": b"/\xff"})
    ).status == 200
