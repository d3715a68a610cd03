"""The ASGI lint: what it lets through, and every kind of violation that it names."""

import pytest

from asgi_resilience.testing import ASGILint, ASGIViolation, asgi_request, asgi_websocket

EXTENSIONS = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
    "http.response.push": {},
    "http.response.debug": {},
    "websocket.http.response": {},
    "x.own": {},
}
START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"abc"}
LAST = {"type": "http.response.body"}
ACCEPT = {"type": "websocket.accept"}
DENIAL = {"type": "websocket.http.response.start", "status": 403}

pytestmark = pytest.mark.anyio


def sending(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


def start(*headers, **fields):
    return {**START, "headers": list(headers), **fields}


LEGAL_HTTP = {
    "an empty response": [START, LAST],
    "headers as a one-shot iterable": [{**START, "headers": iter([(b"content-length", b"3")])}, BODY],
    "chunks": [START, {**BODY, "more_body": True}, {**BODY, "more_body": True}, LAST],
    "a declared length": [start((b"content-length", b"6")), {**BODY, "more_body": True}, BODY],
    "pathsend": [start((b"content-length", b"9")), {"type": "http.response.pathsend", "path": "/x"}],
    "zerocopysend, then a body": [
        START,
        {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
        BODY,
    ],
    "trailers in two messages": [
        {**START, "trailers": True},
        BODY,
        {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": True},
        {"type": "http.response.trailers"},
    ],
    "informational messages": [
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.debug", "info": {}},
        START,
        {"type": "http.response.push", "path": "/a", "headers": []},
        {"type": "x.own"},
        BODY,
    ],
    "204": [start(status=204), LAST],
    "304 with the length of what is not sent": [start((b"content-length", b"9"), status=304), LAST],
}

ILLEGAL_HTTP = {
    "a second start": ([START, START, LAST], "a second http.response.start"),
    "a body first": ([LAST], "http.response.body while waiting"),
    "something after the end": ([START, LAST, LAST], "after the end of the response"),
    "an unfinished response": ([START], "not complete"),
    "no response": ([], "not complete"),
    "no status": ([{"type": "http.response.start"}], "status is missing"),
    "a status in words": ([start(status="ok")], "status is str, expected int"),
    "an informational status": ([start(status=103)], "status 103"),
    "a str header": ([start(("a", b"b"))], "header name 'a'"),
    "a str value": ([start((b"a", "b"))], "value 'b'"),
    "a capital in a header": ([start((b"A", b"b"))], "lower-case token"),
    "a line end in a value": ([start((b"a", b"b\r\nc: d"))], "without CR, LF and NUL"),
    "a str body": ([START, {**BODY, "body": "abc"}], "body is str, expected bytes"),
    "a body in a 204": ([start(status=204), BODY], "a body in a 204 or 304"),
    "a length in a 204": ([start((b"content-length", b"0"), status=204), LAST], "a content-length in a 204"),
    "two lengths": ([start((b"content-length", b"3"), (b"content-length", b"3")), BODY], "content-length ["),
    "a length in words": ([start((b"content-length", b"three")), BODY], "content-length ["),
    "a short body": ([start((b"content-length", b"4")), BODY], "3 bytes of body for content-length 4"),
    "a long body": ([start((b"content-length", b"2")), {**BODY, "more_body": True}], "3 bytes of body for"),
    "an extension that is not offered": ([START, {"type": "http.response.sendfile"}], "nor offered"),
    "trailers that were not announced": ([START, LAST, {"type": "http.response.trailers"}], "after the end"),
    "trailers before the body": (
        [{**START, "trailers": True}, {"type": "http.response.trailers"}],
        "while body",
    ),
    "pathsend without a path": ([START, {"type": "http.response.pathsend"}], "path is missing"),
    "more_body in words": ([START, {**BODY, "more_body": "no"}], "more_body is str, expected bool"),
    "a number as body": ([START, {**BODY, "body": 3}], "body is int, expected bytes"),
    "a type that is none": ([{"type": None}], "None is neither"),
}


@pytest.mark.parametrize("messages", LEGAL_HTTP.values(), ids=LEGAL_HTTP)
async def test_a_legal_response_passes(messages):
    """Every legal sequence reaches the client unchanged."""
    messages = [{**m, "headers": list(m["headers"])} if "headers" in m else m for m in messages]
    lint = ASGILint(sending(*messages))
    response = await asgi_request(lint, extensions=EXTENSIONS)
    assert response.exception is None
    assert response.messages == messages
    assert lint.violations == []


async def test_a_one_shot_iterable_stays_one():
    """Headers that can be read only once reach what stands outside as something that can be read only once."""
    kinds = []

    def outside(app):
        async def middleware(scope, receive, send):
            async def watched(message):
                if "headers" in message:
                    kinds.append(type(message["headers"]))
                await send(message)

            await app(scope, receive, watched)

        return middleware

    lint = ASGILint(sending({**START, "headers": iter([(b"a", b"b")])}, LAST))
    response = await asgi_request(outside(lint))
    assert response.headers["a"] == "b"
    assert kinds == [type(iter([]))]


@pytest.mark.parametrize(("messages", "complaint"), ILLEGAL_HTTP.values(), ids=ILLEGAL_HTTP)
async def test_an_illegal_response_is_named(messages, complaint):
    """Every kind of illegal message fails, in words that say what is wrong."""
    lint = ASGILint(sending(*messages))
    response = await asgi_request(lint, extensions=EXTENSIONS)
    assert isinstance(response.exception, ASGIViolation)
    assert complaint in str(response.exception)
    assert any(complaint in violation for violation in lint.violations)


async def test_a_head_response_may_declare_what_it_does_not_send():
    """The content-length of a HEAD response counts the body of the GET (RFC 9110 §9.3.2)."""
    lint = ASGILint(sending(start((b"content-length", b"9")), LAST))
    assert (await asgi_request(lint, "HEAD")).exception is None


async def test_a_client_that_left_excuses_an_unfinished_response():
    """An app that has heard of the disconnect may return at any point."""

    async def app(scope, receive, send):
        await send(START)
        await receive()

    assert (await asgi_request(ASGILint(app), disconnect_after=1)).exception is None


async def test_an_app_that_raises_keeps_its_exception():
    """An exception before the end of the response is the app's own and no violation."""

    async def app(scope, receive, send):
        await send(START)
        raise LookupError

    lint = ASGILint(app)
    assert isinstance((await asgi_request(lint)).exception, LookupError)
    assert lint.violations == []


@pytest.mark.parametrize("raises", [True, False])
async def test_a_swallowed_violation_is_raised_at_the_end(raises):
    """An app that catches the violation can't hide it."""

    async def app(scope, receive, send):
        with pytest.raises(ASGIViolation):
            await send(LAST)
        if raises:
            raise LookupError
        await send(START)
        await send(LAST)

    response = await asgi_request(ASGILint(app))
    assert isinstance(response.exception, ASGIViolation)


async def test_a_message_changed_later_is_found():
    """A message belongs to the outside once it has been sent."""

    async def app(scope, receive, send):
        message = start((b"a", b"b"))
        await send(message)
        message["headers"].append((b"c", b"d"))
        await send(LAST)

    response = await asgi_request(ASGILint(app))
    assert "http.response.start was changed after it had been handed over" in str(response.exception)


async def test_a_message_changed_outside_is_found():
    """What stands outside of the lint may not edit the message that it is given."""

    async def middleware(scope, receive, send):
        async def editing(message):
            message.setdefault("headers", [])
            await send(message)

        await ASGILint(sending(START, LAST))(scope, receive, editing)

    response = await asgi_request(middleware)
    assert "was changed after" in str(response.exception)


@pytest.mark.parametrize("change", ["key", "headers", "extensions"])
async def test_a_scope_changed_towards_the_outside_is_found(change):
    """Keys, headers and extensions of the scope belong to the server; the state is there to be written to."""

    async def app(scope, receive, send):
        scope["state"]["seen"] = True
        if change == "key":
            scope["route"] = "/"
        elif change == "headers":
            scope["headers"].append((b"x", b"y"))
        else:
            scope["extensions"]["more"] = {}
        await sending(START, LAST)(scope, receive, send)

    response = await asgi_request(ASGILint(app), extensions={})
    assert "the scope was changed" in str(response.exception)
    assert (await asgi_request(ASGILint(app, scope_may_change=True), extensions={})).exception is None


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([{"type": "http.request"}, {"type": "http.request"}], "after the end of the request"),
        ([{"type": "http.disconnect"}, {"type": "http.request"}], "after the end of the request"),
        ([{"type": "websocket.connect"}], "websocket.connect given to an http app"),
        ([{"type": "http.request", "body": "text"}], "body is str"),
    ],
)
async def test_what_an_app_is_given_is_checked(messages, complaint):
    """A middleware that hands an illegal message inwards is named, too."""
    given = iter(messages)

    async def app(scope, receive, send):
        for _ in messages:
            await receive()

    async def middleware(scope, receive, send):
        async def forged():
            return next(given)

        await ASGILint(app)(scope, forged, send)

    assert complaint in str((await asgi_request(middleware)).exception)


LEGAL_WEBSOCKET = {
    "a conversation": [
        ACCEPT,
        {"type": "websocket.send", "text": "a"},
        {"type": "websocket.close", "code": 1000},
    ],
    "left open": [ACCEPT, {"type": "websocket.send", "bytes": b"a", "text": None}],
    "refused": [{"type": "websocket.close", "reason": None}],
    "denied": [
        DENIAL,
        {"type": "websocket.http.response.body", "more_body": True},
        {"type": "websocket.http.response.body"},
    ],
    "an extension": [{"type": "x.own"}, ACCEPT],
}

ILLEGAL_WEBSOCKET = {
    "no answer": ([], "the handshake is not answered (connecting)"),
    "half a denial": ([DENIAL], "the handshake is not answered (denying)"),
    "accepted twice": ([ACCEPT, ACCEPT], "websocket.accept while open"),
    "sent before accepted": ([{"type": "websocket.send", "text": "a"}], "websocket.send while connecting"),
    "sent after closed": (
        [{"type": "websocket.close"}, {"type": "websocket.send", "text": "a"}],
        "while closed",
    ),
    "denied after accepted": ([ACCEPT, DENIAL], "websocket.http.response.start while open"),
    "both kinds of data": (
        [ACCEPT, {"type": "websocket.send", "text": "a", "bytes": b"a"}],
        "either bytes or text",
    ),
    "no data": ([ACCEPT, {"type": "websocket.send"}], "either bytes or text"),
    "an http answer": ([START], "http.response.start while connecting"),
    "a code in words": ([{"type": "websocket.close", "code": "1000"}], "code is str"),
    "a long reason": ([{"type": "websocket.close", "reason": "é" * 62}], "more than 123 bytes"),
    "a str header": ([{**ACCEPT, "headers": [("a", "b")]}], "header name 'a'"),
}


@pytest.mark.parametrize("messages", LEGAL_WEBSOCKET.values(), ids=LEGAL_WEBSOCKET)
async def test_a_legal_websocket_passes(messages):
    """Every legal sequence reaches the client unchanged."""
    record = await asgi_websocket(ASGILint(sending(*messages)), extensions=EXTENSIONS)
    assert (record.exception, record.messages) == (None, messages)


@pytest.mark.parametrize(("messages", "complaint"), ILLEGAL_WEBSOCKET.values(), ids=ILLEGAL_WEBSOCKET)
async def test_an_illegal_websocket_is_named(messages, complaint):
    """Every kind of illegal message fails, in words that say what is wrong."""
    record = await asgi_websocket(ASGILint(sending(*messages)), extensions=EXTENSIONS)
    assert complaint in str(record.exception)


async def test_a_denial_needs_its_extension():
    """A denial response is legal only where the server offers it."""
    record = await asgi_websocket(ASGILint(sending(DENIAL)))
    assert "websocket.http.response.start while connecting" in str(record.exception)


async def test_a_websocket_is_given_its_own_messages():
    """An http message given to a websocket app is named; after a disconnect the app may simply return."""

    async def app(scope, receive, send):
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def answer(type_):
        async def receive():
            return {"type": type_}

        await ASGILint(app)({"type": "websocket"}, receive, None)

    await answer("websocket.disconnect")
    with pytest.raises(ASGIViolation, match=r"http.request given to a websocket app"):
        await answer("http.request")


async def test_a_lifespan_is_checked():
    """Startup and shutdown are answered once each, and only when asked."""

    async def run(app, *questions):
        asked = iter(questions)

        async def receive():
            return {"type": next(asked)}

        async def send(message):
            pass

        await ASGILint(app)({"type": "lifespan"}, receive, send)

    async def app(scope, receive, send):
        scope["app"] = app
        for question in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{question}.complete"})

    await run(app, "lifespan.startup", "lifespan.shutdown")
    with pytest.raises(ASGIViolation, match=r"lifespan.shutdown.complete without being asked"):
        await run(app, "lifespan.startup", "lifespan.startup")
    with pytest.raises(ASGIViolation, match=r"http.request given to a lifespan app"):
        await run(app, "http.request")


async def test_an_unknown_connection_is_not_checked():
    """A scope of a type that the lint does not know is served as it is."""
    sent = []

    async def send(message):
        sent.append(message)

    await ASGILint(sending({"type": "anything"}))({"type": "quic"}, None, send)
    assert sent == [{"type": "anything"}]
