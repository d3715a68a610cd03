"""The request-id layer: whose ids are believed, what a new one looks like, and that every response carries one."""

import gc
import math
import os
import re
import threading
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience import context
from asgi_resilience.context import KEY, current_request
from asgi_resilience.middleware.request_id import RequestIDMiddleware, _stock, new_request_id
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio

FRESH = re.compile(r"req_[A-Za-z0-9_-]{20}")


async def hello(scope, receive, send):
    """Answer with the id of the record, and keep the scope."""
    hello.scope = scope
    hello.record = scope[KEY]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(current_request().request_id).encode()})


def answering(**start):
    """An app with this response start."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, **start})
        await send({"type": "http.response.body"})

    return app


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """The failures that were reported in this test."""
    monkeypatch.setattr(context, "failures", {})
    return context.failures


async def test_a_request_gets_an_id():
    """Record, `current_request()` and response name one new id."""
    response = await asgi_request(ASGILint(RequestIDMiddleware(ASGILint(hello))))
    assert FRESH.fullmatch(response.body.decode())
    assert response.headers.getlist("x-request-id") == [response.body.decode()]
    assert response.start["headers"][-1][0] == b"x-request-id"


async def test_requests_get_different_ids():
    """No two requests share a new id."""
    app = RequestIDMiddleware(hello)
    assert len({(await asgi_request(app)).body for _ in range(600)}) == 600


@pytest.mark.parametrize("value", ["a", "req_abc123", "0.9-Z_z", "x" * 128])
async def test_a_harmless_id_is_taken_over(value):
    """An id of 1 to 128 letters, digits, dots, underscores and hyphens is kept, so that it follows the request."""
    response = await asgi_request(RequestIDMiddleware(hello), headers={"X-Request-ID": value})
    assert response.body.decode() == value
    assert response.headers.getlist("x-request-id") == [value]
    assert hello.record.fields is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x" * 129,
        b"-" * 50_000 + b"0123456789abcdef0123456789abcdef",
        b"urn:uuid:" * 500,
        b"a b",
        b"a\n",
        b"a\r\nSet-Cookie: x=1",
        b"\x1b[31m",
        b"\x01",
        b"a;b",
        b'"a"',
        b"caf\xe9",
        b"\xff",
        "id\u2028".encode(),
    ],
)
async def test_any_other_id_is_replaced(value):
    """What is too long or could inject into a header or a log is replaced, and only its length is kept (93, 94)."""
    response = await asgi_request(RequestIDMiddleware(hello), headers=[(b"x-request-id", value)])
    assert FRESH.fullmatch(response.body.decode())
    assert response.headers.getlist("x-request-id") == [response.body.decode()]
    assert hello.record.fields == {"rejected_request_id": f"{len(value)} bytes"}


@given(st.binary(max_size=200))
def test_nothing_but_harmless_ids_comes_back(value):
    """Whatever bytes a client sends, the response's header holds an id of the harmless form."""
    request = partial(asgi_request, RequestIDMiddleware(hello), headers=[(b"x-request-id", value)])
    response = anyio.run(request)
    assert re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", response.start["headers"][-1][1])


async def test_two_ids_are_none():
    """Of two ids nobody knows which the others believe: a new one is made, even when they are equal (95)."""
    response = await asgi_request(
        RequestIDMiddleware(hello), headers=[("x-request-id", "a"), ("x-request-id", "a")]
    )
    assert FRESH.fullmatch(response.body.decode())
    assert hello.record.fields == {"rejected_request_id": "2 values"}


async def test_the_name_is_compared_without_case():
    """A server may hand header names on as they came (9)."""
    scope = {"headers": [(b"X-Request-Id", b"abc"), (b"x-request-ix", b"other")]}
    assert (await asgi_request(RequestIDMiddleware(hello), scope=scope)).body == b"abc"
    twice = {"headers": [(b"X-Request-Id", b"abc"), (b"x-request-id", b"abc")]}
    assert FRESH.fullmatch((await asgi_request(RequestIDMiddleware(hello), scope=twice)).body.decode())


async def test_another_header_can_carry_the_id():
    """`header` names it for both directions; the default one then means nothing."""
    app = RequestIDMiddleware(hello, header="X-Correlation-ID")
    response = await asgi_request(app, headers={"x-correlation-id": "abc", "x-request-id": "other"})
    assert response.body == b"abc"
    assert response.headers["x-correlation-id"] == "abc"
    assert "x-request-id" not in response.headers


@pytest.mark.parametrize(
    ("trust", "client", "taken"),
    [
        (True, ("192.0.2.1", 1), True),
        (True, None, True),
        (False, ("127.0.0.1", 1), False),
        (["10.0.0.0/8"], ("10.1.2.3", 1), True),
        (["10.0.0.0/8"], ("192.0.2.1", 1), False),
        (["10.0.0.0/8"], None, False),
        (["unix"], None, True),
        ([], ("127.0.0.1", 1), False),
    ],
)
async def test_ids_are_taken_over_from_those_who_are_trusted(trust, client, taken):
    """From everybody, from nobody, or from peers in the networks that are named; others' ids are not even judged."""
    app = RequestIDMiddleware(hello, trust=trust)
    response = await asgi_request(app, headers={"x-request-id": "abc"}, client=client)
    assert (response.body == b"abc") is taken
    await asgi_request(app, headers={"x-request-id": "not valid"}, client=client)
    assert (hello.record.fields is not None) is taken


async def test_the_request_headers_stay_as_they_came():
    """The app sees what the client sent; the id is in the record."""
    headers = [(b"x-request-id", b"not valid"), (b"accept", b"*/*")]
    await asgi_request(RequestIDMiddleware(hello), headers=headers)
    assert hello.scope["headers"] == headers


@pytest.mark.parametrize("status", [200, 204, 301, 304, 404, 500, 504])
async def test_every_status_carries_the_id(status):
    """The id is on errors and on answers without a body just as well."""
    response = await asgi_request(RequestIDMiddleware(answering(status=status, headers=[])))
    assert FRESH.fullmatch(response.headers["x-request-id"])


@pytest.mark.parametrize(
    "theirs",
    [
        [(b"x-request-id", b"theirs")],
        [(b"X-Request-ID", b"theirs"), (b"x-request-id", b"again")],
        [[b"X-REQUEST-ID", b"theirs"]],
    ],
)
async def test_an_id_that_the_app_has_set_is_replaced(theirs):
    """There is one id on a response, and it is the one in the logs; other headers keep their order (96)."""
    headers = [(b"a", b"1"), *theirs, (b"b", b"2")]
    response = await asgi_request(
        RequestIDMiddleware(answering(headers=headers)), headers={"x-request-id": "ours"}
    )
    assert response.start["headers"] == [(b"a", b"1"), (b"b", b"2"), (b"x-request-id", b"ours")]


async def test_a_start_without_headers_gets_the_id():
    """`headers` may be absent from a response start (6)."""
    response = await asgi_request(RequestIDMiddleware(answering()))
    assert len(response.start["headers"]) == 1


async def test_headers_may_be_read_only_once():
    """`headers` may be an iterable that can be read only once (8)."""
    app = answering(headers=iter([(b"a", b"1"), (b"x-request-id", b"theirs")]))
    response = await asgi_request(RequestIDMiddleware(app), headers={"x-request-id": "ours"})
    assert response.start["headers"] == [(b"a", b"1"), (b"x-request-id", b"ours")]


async def test_the_app_s_message_is_not_changed():
    """The message and its list of headers still belong to the app."""
    headers = [(b"a", b"1")]
    await asgi_request(RequestIDMiddleware(answering(headers=headers)))
    assert headers == [(b"a", b"1")]


async def test_an_exception_passes_through():
    """The layer answers nothing by itself: what the app raises reaches the server."""

    async def failing(scope, receive, send):
        raise LookupError("no")

    response = await asgi_request(RequestIDMiddleware(failing))
    assert isinstance(response.exception, LookupError)
    assert response.messages == []


@pytest.mark.parametrize(
    ("extensions", "messages"),
    [
        (None, [{"type": "websocket.accept"}, {"type": "websocket.close"}]),
        (
            None,
            [
                {"type": "websocket.accept", "headers": [(b"x-request-id", b"theirs")]},
                {"type": "websocket.close"},
            ],
        ),
        (
            {"websocket.http.response": {}},
            [
                {"type": "websocket.http.response.start", "status": 403, "headers": []},
                {"type": "websocket.http.response.body"},
            ],
        ),
    ],
)
async def test_the_answer_to_a_handshake_carries_the_id(extensions, messages):
    """Acceptance and denial response of a websocket carry the id (15)."""

    async def app(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    response = await asgi_websocket(
        ASGILint(RequestIDMiddleware(app)), headers={"x-request-id": "abc"}, extensions=extensions
    )
    assert response.exception is None
    assert response.headers.getlist("x-request-id") == ["abc"]


async def test_a_websocket_closed_at_once_passes():
    """A close has no headers: it goes out as it came (16)."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    response = await asgi_websocket(ASGILint(RequestIDMiddleware(app)))
    assert response.messages == [{"type": "websocket.close", "code": 1008}]


async def test_lifespan_passes_untouched():
    """A scope that is neither http nor websocket goes to the app as it is (17, 19)."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    scope = {"type": "lifespan"}
    receive, send = object(), object()
    await RequestIDMiddleware(app)(scope, receive, send)
    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope


async def test_nested_layers_share_the_id():
    """A second layer keeps the id of the first, and adds its own header for it."""
    app = RequestIDMiddleware(RequestIDMiddleware(RequestIDMiddleware(hello), header="X-Correlation-ID"))
    response = await asgi_request(app)
    assert response.headers.getlist("x-request-id") == [response.body.decode()]
    assert response.headers.getlist("x-correlation-id") == [response.body.decode()]


async def test_an_id_that_could_inject_is_not_kept():
    """An id that another layer left in the record is replaced when it has not the harmless form."""

    def outer(app):
        async def layer(scope, receive, send):
            scope[KEY].request_id = "a\r\nSet-Cookie: x=1"
            await app(scope, receive, send)

        return layer

    class Observer(RequestIDMiddleware):
        async def __call__(self, scope, receive, send):
            await (self.app if KEY in scope else super().__call__)(scope, receive, send)

    response = await asgi_request(Observer(outer(RequestIDMiddleware(hello))))
    assert FRESH.fullmatch(response.headers["x-request-id"])


async def test_an_id_taken_away_is_not_invented():
    """When the app has removed the id from the record, the response carries none."""

    async def app(scope, receive, send):
        scope[KEY].request_id = None
        await hello(scope, receive, send)

    response = await asgi_request(RequestIDMiddleware(app))
    assert "x-request-id" not in response.headers


async def test_ids_come_from_the_generator():
    """`generator` makes the new ids."""
    numbers = iter(range(10))
    app = RequestIDMiddleware(hello, generator=lambda: f"n-{next(numbers)}")
    assert [(await asgi_request(app)).body for _ in range(2)] == [b"n-0", b"n-1"]


@pytest.mark.parametrize("made", ["", "a b", "x" * 129, "a\r\nb", None, 7, b"abc", "é"])
async def test_a_generator_that_makes_something_else_does_not_fail_the_request(made, failures):
    """What is no valid id is reported, and a built-in one takes its place."""

    def generator():
        return made

    response = await asgi_request(RequestIDMiddleware(hello, generator=generator))
    assert FRESH.fullmatch(response.body.decode())
    assert list(failures.values()) == [1]


async def test_a_generator_that_raises_does_not_fail_the_request(failures):
    """An exception of the generator is reported, and a built-in id takes its place."""

    def generator():
        raise RuntimeError("no entropy")

    app = RequestIDMiddleware(hello, generator=generator)
    assert FRESH.fullmatch((await asgi_request(app)).body.decode())
    assert (await asgi_request(app)).status == 200
    assert list(failures.values()) == [2]


@pytest.mark.parametrize("header", ["", "X Request", "X-Request-ID:", "X-Request\r\n", "X-Réquest"])
def test_a_header_needs_a_name(header):
    """A header name that could not be sent is refused; the error names it."""
    with pytest.raises(ValueError, match="expected the name of a header") as caught:
        RequestIDMiddleware(hello, header=header)
    assert repr(header) in str(caught.value)


def test_a_network_is_checked():
    """What is no network is refused when the layer is made."""
    with pytest.raises(ValueError, match="'everybody' is not an address"):
        RequestIDMiddleware(hello, trust=["everybody"])


async def test_the_clock_of_the_record_can_be_given():
    """Where this layer is the outermost, the record reads its times from `clock`."""
    await asgi_request(RequestIDMiddleware(hello, clock=lambda: 42.0))
    assert hello.record.started_at == 42.0


async def test_a_request_leaves_no_cycle():
    """When a request is over, nothing of it waits for the garbage collector."""
    app = RequestIDMiddleware(answering(headers=[]))
    await asgi_request(app)
    gc.collect()
    gc.disable()
    try:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}

        async def nothing(*_):
            pass

        await app(scope, nothing, nothing)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_new_id_has_at_least_96_random_bits():
    """An id is `req_` and characters of a URL-safe alphabet that hold 120 bits."""
    made = new_request_id()
    assert FRESH.fullmatch(made)
    assert len(made.removeprefix("req_")) * math.log2(64) >= 96


def test_new_ids_use_the_whole_alphabet():
    """Every character is as likely as another: none of 64 is missing from many, and none stands out."""
    drawn = "".join(new_request_id()[4:] for _ in range(2000))
    counts = {character: drawn.count(character) for character in set(drawn)}
    assert len(counts) == 64
    assert max(counts.values()) < 1.5 * min(counts.values())


def test_threads_never_share_an_id():
    """Threads that draw at the same time get different ids."""
    made = [[] for _ in range(4)]

    def draw(into):
        into.extend(new_request_id() for _ in range(3000))

    threads = [threading.Thread(target=draw, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for into in made for each in into}) == 12_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_makes_other_ids():
    """A child throws away the ids that its parent had in stock: the two never make the same."""
    new_request_id()
    assert _stock
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child, which nobody measures
        try:
            os.write(writing, ",".join(new_request_id() for _ in range(100)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read().split(",")
    os.waitpid(child, 0)
    ours = {new_request_id() for _ in range(300)}
    assert len(theirs) == 100
    assert ours.isdisjoint(theirs)
