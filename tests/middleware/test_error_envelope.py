"""The error layer: every way in which an app can fail, and what the client, the server and the log get of it."""

import logging

import anyio
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from asgi_resilience import context
from asgi_resilience.context import KEY, RequestContext, was_logged
from asgi_resilience.error_catalogue import ErrorCatalogue
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.errors import AppError, NotFound, RateLimitExceeded, ServiceUnavailable
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.recorder import observe
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio

SECRET = "hunter2"
DENIAL = {"websocket.http.response": {}}
START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """What telemetry has failed at, during this test alone."""
    counted: dict[str, int] = {}
    monkeypatch.setattr(context, "failures", counted)
    return counted


class Observer:
    """Stands outside as an access log would: sees every record, and may take charge of logging."""

    def __init__(self, app, *, logs=False):
        self.app = app
        self.logs = logs
        self.ended: list[dict[str, object]] = []

    async def __call__(self, scope, receive, send):
        if KEY not in scope:
            return await observe(self, scope, receive, send)
        record: RequestContext = scope[KEY]
        record.logged = self.logs
        record.on_end.append(self._on_end)
        return await self.app(scope, receive, send)

    def _on_end(self, record):
        names = ("outcome", "status", "error_code", "error_message", "exception", "fields")
        self.ended.append({name: getattr(record, name) for name in names})

    @property
    def end(self):
        (end,) = self.ended
        return end


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


def guarded(app, *, logs=False, **options):
    """The app in the layer, checked from outside, with an observer."""
    observer = Observer(ErrorEnvelopeMiddleware(app, **options), logs=logs)
    return observer, ASGILint(observer, scope_may_change=isinstance(app, Starlette))


async def asked(app, *, logs=False, method="GET", path="/", headers=(), **options):
    """The response, and how the request ended."""
    observer, linted = guarded(app, logs=logs, **options)
    response = await asgi_request(linted, method, path, headers=headers)
    assert not linted.violations
    return response, observer.end


def errors_in(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# ------------------------------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    ("error", "status", "code", "details"),
    [
        (NotFound(details="No item 9"), 404, "RESOURCE_NOT_FOUND", "No item 9"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "REQUEST_METHOD_UNSUPPORTED", None),
        (HTTPException(409, "taken"), 409, "RESOURCE_STATE_CONFLICT", "taken"),
        (ServiceUnavailable(), 503, "SERVICE_UNAVAILABLE", None),
        (TimeoutError(SECRET), 504, "REQUEST_TIMED_OUT", None),
        (AppError(code="NOT_REGISTERED_YET"), 500, "NOT_REGISTERED_YET", None),
        (ExceptionGroup("several", [NotFound(), NotFound()]), 404, "RESOURCE_NOT_FOUND", None),
    ],
)
async def test_a_known_exception_is_answered_and_ends_here(error, status, code, details):
    """The client gets the entry of the catalogue; nothing is raised, nothing internal is told."""
    response, end = await asked(raising(error))
    assert (response.status, response.exception, response.complete) == (status, None, True)
    told = response.json()["error"]
    assert (told["code"], told["details"]) == (code, details)
    assert SECRET not in str(response.messages)
    assert (end["error_code"], end["status"]) == (code, status)
    assert response.headers.get("allow") == ("GET" if status == 405 else None)


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
@pytest.mark.parametrize("reraise", [True, False])
async def test_an_unknown_exception_tells_nothing_and_is_raised_again(reraise, accept):
    """A 500 leaks nothing of the exception; the very same one is raised again, unless `reraise=False` (edge cases 60, 67)."""
    error = ValueError(SECRET)
    error.__cause__ = KeyError(SECRET)
    error.add_note(SECRET)
    response, end = await asked(raising(error), reraise=reraise, headers={"Accept": accept})
    assert (response.status, response.complete) == (500, True)
    assert response.exception is (error if reraise else None)
    for leak in (SECRET, "ValueError", "KeyError", "Traceback", __file__):
        assert leak not in str(response.messages)
    assert (end["outcome"], end["error_code"]) == ("server_error", "INTERNAL_SERVER_ERROR")
    assert (end["error_message"], end["exception"]) == (SECRET, error)


async def test_the_cause_and_the_traceback_of_what_is_raised_again_are_whole():
    """The exception leaves as it came: with its cause, and the frame that raised it (edge cases 63, 64)."""
    cause = KeyError()

    async def app(scope, receive, send):
        raise ValueError from cause

    response, _ = await asked(app)
    assert response.exception.__cause__ is cause
    frames = []
    traceback = response.exception.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    assert app.__code__ in frames


async def test_the_same_exception_object_may_be_raised_for_every_request(caplog):
    """An exception that a module keeps is answered and logged anew each time (edge case 71)."""
    error = ValueError("shared")
    for _ in range(2):
        response, _ = await asked(raising(error))
        assert response.status == 500
        assert was_logged(response.exception)
    assert len(errors_in(caplog)) == 2


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError(SECRET)


async def test_an_exception_that_can_not_be_printed_is_answered():
    """When `str(error)` raises, the log gets the name of the class, and the client its answer (edge case 66)."""
    response, end = await asked(raising(Unprintable()), logs=True)
    assert (response.status, end["error_message"]) == (500, "Unprintable")


async def test_a_group_tells_the_log_of_its_leaves():
    """The text of a group alone says nothing, so the first leaves stand behind it."""
    leaves = [NotFound(details=each) for each in "abcd"]
    _, end = await asked(raising(ExceptionGroup("tasks", leaves)))
    code = "RESOURCE_NOT_FOUND"
    assert end["error_message"] == f"tasks (4 sub-exceptions): {code}: a; {code}: b; {code}: c"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"shard": 3, "self": 4}, {"shard": 3, "self": 4}),
        ({7: "x"}, {"7": "x"}),
        (None, None),
        ("no mapping", None),
    ],
)
async def test_the_context_of_an_error_is_for_the_log_alone(given, fields):
    """`context` is bound to the record, whatever it holds, and never sent."""
    response, end = await asked(raising(NotFound(context=given)))
    assert response.status == 404
    assert end["fields"] == fields
    assert "shard" not in response.body.decode()


async def test_cancellation_passes():
    """A cancellation is no error of the app: nothing is answered, and it goes on (edge cases 34, 36, 62)."""
    messages = []

    async def send(message):
        messages.append(message)

    async def receive():
        return {"type": "http.request"}

    async def app(scope, receive, send):
        server.cancel()
        await anyio.sleep_forever()

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with anyio.CancelScope() as server:
        await ErrorEnvelopeMiddleware(app)(scope, receive, send)
    assert server.cancelled_caught
    assert messages == []


async def test_an_app_that_does_not_answer_gets_a_500(caplog):
    """Returning without a response is an error of the app, logged and answered."""

    async def app(scope, receive, send):
        pass

    response, end = await asked(app)
    assert (response.status, response.exception) == (500, None)
    assert end["error_code"] == "INTERNAL_SERVER_ERROR"
    assert "returned without sending a response" in caplog.text


async def test_a_429_that_the_application_raises_has_the_documented_shape():
    """Code, seconds in the message, and the header of an app's own limit are those of the rate-limit layer."""
    response, end = await asked(raising(RateLimitExceeded(retry_after=2.5)))
    assert response.json()["error"]["message"] == "Rate limit exceeded. Try again in 3 seconds"
    assert (response.headers["retry-after"], end["outcome"]) == ("3", "rate_limited")


async def test_a_catalogue_of_its_own():
    """`errors` decides how answers look, and which exceptions are known."""
    own = ErrorCatalogue()
    own.map(KeyError, "RESOURCE_NOT_FOUND")
    renderer = ErrorRenderer(own, docs_url="https://docs.example.com")
    response, _ = await asked(raising(KeyError(SECRET)), errors=renderer)
    assert response.json()["error"]["documentation_url"] == "https://docs.example.com/resource-not-found"


@pytest.mark.parametrize("limit", [-1, float("inf"), float("nan")])
def test_the_rewrite_limit_is_a_number_of_bytes(limit):
    """An impossible bound is refused, and named."""
    with pytest.raises(ValueError, match=r"rewrite_limit=.*: expected bytes, 0 or more"):
        ErrorEnvelopeMiddleware(raising(ValueError()), rewrite_limit=limit)


# ------------------------------------------------------------------------------------------- too late to answer


@pytest.mark.parametrize("error", [ValueError("late"), NotFound("late"), HTTPException(404, "late")])
@pytest.mark.parametrize("reraise", [True, False])
async def test_after_the_start_there_is_no_second_one(error, reraise, caplog):
    """A broken stream is logged, raised so that the server cuts it off, and never completed (edge cases 1 to 3)."""

    async def app(scope, receive, send):
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    response, end = await asked(app, reraise=reraise)
    assert [message["type"] for message in response.messages] == ["http.response.start", "http.response.body"]
    assert not response.complete
    assert response.exception is error
    assert (end["outcome"], end["exception"]) == ("truncated", error)
    assert len(errors_in(caplog)) == 1


@pytest.mark.parametrize("reraise", [True, False])
@pytest.mark.parametrize("error", [ValueError("in the background"), NotFound(context={"job": 7})])
async def test_a_background_task_that_fails_changes_no_response(error, reraise, caplog):
    """After a complete response an exception is logged once with the request's facts, and raised if wished (41)."""

    async def app(scope, receive, send):
        await PlainTextResponse("ok")(scope, receive, send)
        raise error

    response, end = await asked(app, reraise=reraise)
    assert (response.status, response.body, response.complete) == (200, b"ok", True)
    assert response.exception is (error if reraise else None)
    assert (end["outcome"], end["error_code"]) == ("ok", None)
    (line,) = errors_in(caplog)
    assert "after the response was complete" in line.message
    assert line.exc_info[1] is error


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_the_app_s_failure_to_reach_a_client_that_left_is_no_error(spec_version, caplog):
    """What an app raises because the client has gone is not logged as its error, and passes (edge case 32)."""

    async def app(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        raise ClientDisconnect

    observer, linted = guarded(app)
    response = await asgi_request(linted, disconnect_after=0, spec_version=spec_version)
    assert isinstance(response.exception, ClientDisconnect)
    assert (observer.end["outcome"], observer.end["error_code"]) == ("aborted_by_client", None)
    assert not errors_in(caplog)


async def test_an_error_while_nobody_listens_is_still_logged(caplog):
    """A bug that shows when the client has gone is a bug, and is logged and raised."""
    error = ValueError("a bug")

    async def app(scope, receive, send):
        await receive()
        await receive()
        raise error

    observer, linted = guarded(app)
    response = await asgi_request(linted, disconnect_after=0)
    assert (response.exception, response.messages) == (error, [])
    assert observer.end["outcome"] == "aborted_by_client"
    assert len(errors_in(caplog)) == 1


async def test_silence_towards_a_client_that_left_is_fine(caplog):
    """An app that sees the client go may return without an answer."""

    async def app(scope, receive, send):
        await receive()
        await receive()

    observer, linted = guarded(app)
    response = await asgi_request(linted, disconnect_after=0)
    assert (response.exception, response.messages, errors_in(caplog)) == (None, [], [])
    assert observer.end["outcome"] == "aborted_by_client"


@pytest.mark.parametrize(("error", "raised"), [(NotFound(), None), (ValueError("cause"), ValueError)])
async def test_a_client_that_leaves_during_the_answer_hides_no_error(error, raised):
    """The server's OSError does not take the place of what failed before (edge cases 32, 60)."""
    response = await asgi_request(
        ErrorEnvelopeMiddleware(raising(error)), disconnect_after=0, spec_version="2.4"
    )
    assert type(response.exception) is (raised or type(None))


async def test_a_client_that_leaves_before_a_held_page_is_sent():
    """A held 500 that nobody waits for any more ends quietly."""

    async def app(scope, receive, send):
        await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)

    response = await asgi_request(ErrorEnvelopeMiddleware(app), disconnect_after=0, spec_version="2.4")
    assert (response.exception, response.messages) == (None, [])


async def test_an_oserror_of_the_server_is_not_swallowed():
    """Only a client that has gone makes an OSError of `send` meaningless."""
    broken = OSError("the server is broken")

    class Forgetful:
        """Takes the record's knowledge of the client away again."""

        async def __call__(self, scope, receive, send):
            async def failing_send(message):
                raise broken

            scope = {**scope, KEY: RequestContext(scope)}
            await ErrorEnvelopeMiddleware(raising(NotFound()))(scope, receive, failing_send)

    assert (await asgi_request(Forgetful())).exception is broken


# ------------------------------------------------------------------------------------------------- logged once


@pytest.mark.parametrize("reraise", [True, False])
@pytest.mark.parametrize("error", [ValueError("a bug"), ServiceUnavailable("down"), TimeoutError("slow")])
async def test_without_an_access_log_a_5xx_is_one_line_and_marked(error, reraise, caplog):
    """Code, method, path, message and stack trace are logged once; what is raised again is marked (edge case 59)."""
    await asked(raising(error), reraise=reraise, path="/items/9", method="POST")
    (line,) = errors_in(caplog)
    assert line.name == "asgi_resilience.error"
    assert line.exc_info[1] is error
    assert str(error) in line.message
    assert (line.method, line.path) == ("POST", "/items/9")
    assert line.code == ErrorCatalogue().classify(error).spec.code
    assert was_logged(error)
    assert not was_logged(error)


async def test_with_an_access_log_this_layer_is_silent(caplog):
    """When another layer writes the request's line, this one only tells the record."""
    error = ValueError("a bug")
    _, end = await asked(raising(error), logs=True)
    assert not caplog.records
    assert end["exception"] is error


async def test_a_4xx_has_no_stack_trace(caplog):
    """A client's mistake is a fact of the request's line, and no error of the service."""
    _, end = await asked(raising(NotFound("No match")))
    assert not caplog.records
    assert (end["exception"], end["error_message"]) == (None, "RESOURCE_NOT_FOUND: No match")


async def test_an_exception_that_takes_no_mark_is_answered():
    """An exception class may have no room for attributes."""

    class Slotted(ValueError):
        __slots__ = ()

        def __setattr__(self, name, value):
            raise AttributeError(name)

    response, _ = await asked(raising(Slotted()))
    assert response.status == 500


async def test_logging_that_fails_changes_no_answer(failures):
    """A filter that raises is counted, and the client gets its answer."""

    def broken(record):
        raise RuntimeError("the filter")

    loggers = [logging.getLogger(name) for name in ("asgi_resilience", "asgi_resilience.error")]
    for logger in loggers:
        logger.addFilter(broken)
    try:
        response, _ = await asked(raising(ValueError("a bug")))
    finally:
        for logger in loggers:
            logger.removeFilter(broken)
    assert response.status == 500
    assert failures == {"_log": 1}


# ------------------------------------------------------------------------------------- answers of the framework


def starlette(endpoint=None, **options):
    async def default(request):
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", endpoint or default, methods=["GET"])], **options)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/nowhere", "RESOURCE_NOT_FOUND"), ("POST", "/", "REQUEST_METHOD_UNSUPPORTED")],
)
async def test_a_router_s_own_404_and_405_become_envelopes(method, path, code):
    """What Starlette answers in plain text has the one shape, and keeps Allow (edge case 70)."""
    response, end = await asked(starlette(), method=method, path=path)
    assert response.json()["error"]["code"] == code == end["error_code"]
    allow = set(response.headers.get("allow", "").split(", "))
    assert allow == ({"GET", "HEAD"} if method == "POST" else {""})


async def test_head_gets_the_fields_and_no_body():
    """A rewritten answer to HEAD has no body, and the length of the envelope (edge case 24)."""
    response, _ = await asked(starlette(), method="HEAD", path="/nowhere")
    assert (response.status, response.body) == (404, b"")
    assert int(response.headers["content-length"]) > 100


@pytest.mark.parametrize(
    ("error", "status", "raised"),
    [(NotFound(details=9), 404, False), (TimeoutError(), 504, False), (ValueError(SECRET), 500, True)],
)
@pytest.mark.parametrize("debug", [True, False])
async def test_an_exception_that_starlette_answers_too_means_what_the_catalogue_says(
    error, status, raised, debug, caplog
):
    """Starlette sends a text 500, or a traceback, and raises: the exception decides, and one line is logged."""

    async def endpoint(request):
        raise error

    response, end = await asked(starlette(endpoint, debug=debug))
    assert (response.status, response.json()["error"]["details"]) == (status, 9 if status == 404 else None)
    assert response.exception is (error if raised else None)
    assert SECRET not in str(response.messages)
    assert end["status"] == status
    assert len(errors_in(caplog)) == (status >= 500)


async def test_without_rewriting_the_framework_has_the_last_word():
    """With `rewrite=False` answers of the framework pass, and its exception goes on."""
    error = NotFound()

    async def endpoint(request):
        raise error

    response, end = await asked(starlette(endpoint), rewrite=False)
    assert (response.status, response.body, response.exception) == (500, b"Internal Server Error", error)
    assert end["outcome"] == "server_error"
    response, _ = await asked(starlette(), rewrite=False, path="/nowhere")
    assert response.body == b"Not Found"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: JSONResponse({"detail": "mine"}, 404),
        lambda: PlainTextResponse("x" * 20_000, 404),
        lambda: StreamingResponse(iter(["a", "b"]), 500, media_type="text/plain"),
        lambda: PlainTextResponse("packed", 404, headers={"content-encoding": "br"}),
        lambda: PlainTextResponse("fine"),
    ],
)
async def test_answers_of_the_application_itself_pass_untouched(answer):
    """JSON, large, streamed and encoded bodies, and everything below 400, are the application's own."""

    async def endpoint(request):
        return answer()

    bare = await asgi_request(starlette(endpoint))
    response, _ = await asked(starlette(endpoint))
    assert response.messages == bare.messages


@pytest.mark.parametrize("status", [204, 304])
async def test_a_204_or_304_never_gets_a_body(status):
    """What may not have a body passes as it is (edge case 24)."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    response, _ = await asked(app)
    assert response.messages == [
        {"type": "http.response.start", "status": status},
        {"type": "http.response.body"},
    ]


async def test_headers_that_can_be_read_once_are_read_once():
    """A generator of headers reaches the server whole, rewritten or not (edge case 8)."""
    for kind, rewritten in ((b"text/plain", True), (b"image/png", False)):

        async def app(scope, receive, send, kind=kind):
            headers = (pair for pair in [(b"content-type", kind), (b"x-a", b"1")])
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b"no"})

        response, _ = await asked(app)
        assert response.headers["x-a"] == "1"
        assert (response.headers["content-type"] == "application/json") is rewritten


async def test_a_body_that_a_middleware_has_cut_up_is_rewritten():
    """BaseHTTPMiddleware sends every body in pieces; an announced length tells that it is short."""

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    response, _ = await asked(starlette(middleware=[Middleware(Passing)]), path="/nowhere")
    assert response.json()["error"]["code"] == "RESOURCE_NOT_FOUND"


async def test_cors_fields_and_cookies_stay():
    """A browser may read the rewritten answer as it might have read the original (edge case 58)."""

    async def endpoint(request):
        answer = PlainTextResponse(
            "Log in first", 401, headers={"WWW-Authenticate": "Bearer", "Vary": "Cookie"}
        )
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer

    app = starlette(endpoint, middleware=[Middleware(CORSMiddleware, allow_origins=["https://a.example"])])
    response, _ = await asked(app, headers={"Origin": "https://a.example"})
    assert response.json()["error"]["details"] == "Log in first"
    assert response.headers["access-control-allow-origin"] == "https://a.example"
    assert response.headers["www-authenticate"] == "Bearer"
    assert len(response.headers.getlist("set-cookie")) == 2
    assert {"accept", "Cookie", "Origin"} <= set(", ".join(response.headers.getlist("vary")).split(", "))


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/crash", 500), ("/json", 404)])
async def test_the_pages_of_quart_become_envelopes(path, status):
    """Quart's HTML pages are rewritten, and its JSON is not."""
    from quart import Quart

    app = Quart(__name__)

    @app.get("/crash")
    async def crash():
        raise ValueError(SECRET)

    @app.get("/json")
    async def own():
        return {"mine": True}, 404

    observer, outermost = guarded(app)
    response = await asgi_request(outermost, path=path)
    assert response.status == status
    assert ("error" in response.json()) is (path != "/json")
    assert SECRET not in str(response.messages)
    assert observer.end["status"] == status


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_the_json_of_litestar_is_its_own():
    """Litestar's errors are JSON already, and pass untouched."""
    from litestar import Litestar

    response, _ = await asked(Litestar([], openapi_config=None), path="/nowhere")
    assert (response.status, response.json()["status_code"]) == (404, 404)


# --------------------------------------------------------------------------------------------------- websockets


async def connected(app, *, extensions=None, messages=(), **options):
    observer, linted = guarded(app, **options)
    socket = await asgi_websocket(linted, extensions=extensions, messages=messages)
    assert not linted.violations
    return socket, observer.end


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(NotFound(), 404, 1011), (HTTPException(503), 503, 1013), (ValueError(SECRET), 500, 1011)],
)
async def test_before_accept_a_websocket_is_denied(error, status, code):
    """With the extension the envelope is the answer to the handshake; without it, a close tells the code (15, 16)."""
    raised = isinstance(error, ValueError)
    socket, end = await connected(raising(error), extensions=DENIAL)
    assert socket.denial_status == status == end["status"]
    assert end["error_code"].encode() in socket.denial_body
    assert SECRET not in str(socket.messages)
    assert (socket.exception is error) is raised

    socket, end = await connected(raising(error))
    assert (socket.close_code, socket.close_reason) == (code, end["error_code"])
    assert (socket.exception is error) is raised


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (NotFound(), 1011, "client_error"),
        (RateLimitExceeded(), 1013, "rate_limited"),
        (ServiceUnavailable(), 1013, "server_error"),
        (TimeoutError(), 1011, "timeout"),
        (ValueError(SECRET), 1011, "server_error"),
    ],
)
async def test_after_accept_a_websocket_is_closed(error, code, outcome):
    """1011, or 1013 for overload, with the error's code as the reason; the outcome is that of the error."""

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        raise error

    socket, end = await connected(app, extensions=DENIAL, reraise=False)
    assert (socket.close_code, socket.close_reason) == (code, end["error_code"])
    assert (end["outcome"], socket.exception) == (outcome, None)


@pytest.mark.parametrize("reraise", [True, False])
async def test_after_its_close_a_websocket_is_left_alone(reraise, caplog):
    """What is raised after the close is logged, sends nothing, and is raised again if wished."""
    error = ValueError("late")

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})
        raise error

    socket, _ = await connected(app, reraise=reraise)
    assert [message["type"] for message in socket.messages] == ["websocket.accept", "websocket.close"]
    assert socket.exception is (error if reraise else None)
    assert len(errors_in(caplog)) == 1


async def test_a_denial_that_breaks_off_is_not_denied_again():
    """After the start of a denial response there is no second answer."""
    error = NotFound()

    async def app(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        raise error

    socket, _ = await connected(app, extensions=DENIAL)
    assert (len(socket.messages), socket.exception) == (1, error)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (WebSocketException(4001, "asked for"), 4001, "asked for"),
        (WebSocketException(4001), 4001, ""),
        (WebSocketException(4001, "é" * 100), 4001, "é" * 61),
    ],
)
async def test_starlette_s_websocket_exception_is_the_app_s_own_close(error, code, reason, caplog):
    """The code and the reason are the app's; a reason is cut to what a close frame can hold."""
    socket, end = await connected(raising(error))
    assert (socket.close_code, socket.close_reason, socket.exception) == (code, reason, None)
    assert end["error_message"] == (error.reason or None)
    assert not errors_in(caplog)


async def test_a_websocket_exception_after_the_close_goes_on():
    """It comes too late to close anything."""
    error = WebSocketException(4001)

    async def app(scope, receive, send):
        await send({"type": "websocket.close"})
        raise error

    socket, _ = await connected(app)
    assert (len(socket.messages), socket.exception) == (1, error)


@pytest.mark.parametrize("error", [WebSocketException(4001), NotFound(), ValueError("a bug")])
async def test_a_websocket_whose_client_has_gone_gets_nothing(error):
    """After the client's disconnect nothing is sent."""

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        raise error

    socket, _ = await connected(app)
    assert [message["type"] for message in socket.messages] == ["websocket.accept"]
    assert socket.exception is error


async def test_a_disconnect_that_starlette_raises_is_no_error(caplog):
    """`receive_text` raises WebSocketDisconnect when the client closes: the ordinary end of many handlers."""

    async def endpoint(websocket):
        await websocket.accept()
        while True:
            await websocket.receive_text()

    _, end = await connected(Starlette(routes=[WebSocketRoute("/", endpoint)]), messages=["a"])
    assert (end["outcome"], end["error_code"]) == ("ok", None)
    assert not errors_in(caplog)


@pytest.mark.parametrize("extensions", [None, DENIAL])
async def test_a_websocket_that_nobody_answers_is_denied(extensions, caplog):
    """An app that returns before it has answered the handshake gets a 500, and a line in the log."""

    async def app(scope, receive, send):
        pass

    socket, end = await connected(app, extensions=extensions)
    assert socket.denial_status == 500 if extensions else socket.close_code == 1011
    assert end["error_code"] == "INTERNAL_SERVER_ERROR"
    assert "returned without sending a response" in caplog.text


async def test_lifespan_and_unknown_scopes_pass():
    """What is neither http nor websocket is none of our business: an exception leaves as it came (17 to 19)."""
    error = ValueError("no lifespan here")
    for kind in ("lifespan", "unknown"):
        with pytest.raises(ValueError, match="no lifespan here") as raised:
            await ErrorEnvelopeMiddleware(raising(error))({"type": kind}, None, None)
        assert raised.value is error


async def test_a_websocket_that_works_passes_untouched():
    """Messages in both directions, the close, and the return of the app are as without the layer."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})

    bare = await asgi_websocket(app, messages=["hello"])
    socket, end = await connected(app, messages=["hello"])
    assert socket.messages == bare.messages
    assert (socket.exception, end["outcome"]) == (None, "ok")
