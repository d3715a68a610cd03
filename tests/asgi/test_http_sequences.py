"""Whatever legal thing an app does on a connection, what goes into a layer comes out of it."""

from contextlib import suppress

import anyio
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from asgi_resilience.error_catalogue import catalogue
from asgi_resilience.recorder import ends_response
from tests.asgi.layers import ADDED_HEADERS, ANSWERS_ERRORS, NAMES, CountingSink, layer
from tests.asgi.scripts import ERRORS, Run, Script, run, scripts

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def without_added_headers(message):
    """The message as the app may have sent it: a start without headers is one with an empty list."""
    if message["type"] != "http.response.start":
        return message
    pairs = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
    return {**message, "headers": [pair for pair in pairs if pair[0].lower() not in ADDED_HEADERS]}


def is_envelope(messages, status):
    start, body = messages
    assert (start["type"], start["status"]) == ("http.response.start", status)
    assert (b"content-type", b"application/json") in start["headers"]
    assert body["type"] == "http.response.body"
    assert not body.get("more_body", False)
    return True


def check(script: Script, bare: Run, wrapped: Run, *, answers_errors: bool) -> None:
    """Compare a run behind a layer with the run of the bare app."""
    unanswered = not bare.started and not bare.client_gone and not bare.cancelled
    failed = isinstance(bare.exception, Exception)
    expected_exception = bare.exception
    seen = wrapped.messages
    if answers_errors and unanswered and (failed or bare.exception is None):
        failure = catalogue.classify(bare.exception) if failed else None
        answer, seen = seen[len(bare.messages) :], seen[: len(bare.messages)]
        if script.refuses(len(bare.messages)):
            assert [message["type"] for message in answer] == ["http.response.start"]
        else:
            assert is_envelope(answer, failure.spec.status if failure else 500)
        if failure is not None and failure.known:
            expected_exception = None
    assert [without_added_headers(m) for m in seen] == [without_added_headers(m) for m in bare.messages]
    assert wrapped.received == bare.received
    assert wrapped.cancelled == bare.cancelled
    if any(bare.exception is error for error in ERRORS.values()):
        assert wrapped.exception is expected_exception
    else:
        assert type(wrapped.exception) is type(expected_exception)
    assert wrapped.duration == pytest.approx(bare.duration, abs=1e-6)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(script=scripts())
def test_what_goes_in_comes_out(backend, name, script):
    """Messages, order, exceptions, cancellation and disconnects pass unchanged but for the documented headers.

    (Edge cases 1 to 14, 24, 29, 34, 36, 47, 53, 56, 115.)
    """
    sink = CountingSink()
    bare = run(backend, script, layer("nothing", sink))
    wrapped = run(backend, script, layer(name, sink))
    check(script, bare, wrapped, answers_errors=name in ANSWERS_ERRORS)
    if name in ("MetricsMiddleware", "stack"):
        assert (sink.counted, sink.in_flight) == (1, 0)


# ------------------------------------------------------------------------- what these tests would find in a bad layer


def dropping(kind):
    """A layer that knows only the messages that everybody knows."""

    def layer(app):
        async def middleware(scope, receive, send):
            async def forgetful(message):
                if message["type"] != kind:
                    await send(message)

            await app(scope, receive, forgetful)

        return middleware

    return layer


def finishing(app):
    """A layer that makes half a body look whole."""

    async def middleware(scope, receive, send):
        complete = False

        async def watching(message):
            nonlocal complete
            complete = ends_response(message, trailers=False)
            await send(message)

        await app(scope, receive, watching)
        if not complete:
            await send({"type": "http.response.body"})

    return middleware


def reading_headers_twice(app):
    """A layer that looks at headers without minding that they may be gone then."""

    async def middleware(scope, receive, send):
        async def careless(message):
            if message["type"] == "http.response.start":
                list(message.get("headers", ()))
            await send(message)

        await app(scope, receive, careless)

    return middleware


def swallowing(app):
    """A layer that catches everything."""

    async def middleware(scope, receive, send):
        with suppress(Exception):
            await app(scope, receive, send)

    return middleware


def reading_the_body(app):
    """A layer that reads what is the app's to read."""

    async def middleware(scope, receive, send):
        await receive()
        await app(scope, receive, send)

    return middleware


def writing_into_the_scope(app):
    """A layer that changes the scope which it shares with the server."""

    async def middleware(scope, receive, send):
        scope["seen"] = True
        await app(scope, receive, send)

    return middleware


def waiting(app):
    """A layer that keeps the client waiting."""

    async def middleware(scope, receive, send):
        await anyio.sleep(0.01)
        await app(scope, receive, send)

    return middleware


BAD_LAYERS = [dropping("http.response.trailers"), dropping("http.response.pathsend"), dropping("x.unknown")]
BAD_LAYERS += [
    finishing,
    reading_headers_twice,
    swallowing,
    reading_the_body,
    writing_into_the_scope,
    waiting,
]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("bad", BAD_LAYERS)
def test_a_bad_layer_is_found(backend, bad):
    """For every one of the mistakes that middlewares make there is a sequence that shows it."""

    def shows_it(script):
        try:
            check(
                script, run(backend, script, lambda app: app), run(backend, script, bad), answers_errors=False
            )
        except AssertionError:
            return True
        return False

    options = settings(max_examples=500, database=None, derandomize=True, phases=[Phase.generate])
    assert find(scripts(), shows_it, settings=options)
