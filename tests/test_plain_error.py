"""A framework's own error page: recognised, held back, replaced or let through as it was."""

import json

import pytest

from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.plain_error import PlainError

pytestmark = pytest.mark.anyio

LIMIT = 100
TEXT, HTML = (b"content-type", b"text/plain; charset=utf-8"), (b"content-type", b"text/html")
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


def start_of(status=404, headers=(TEXT,), **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body_of(body=b"", **more):
    return {"type": "http.response.body", "body": body, **more}


class Held:
    """A held answer, and what has been sent of it."""

    def __init__(self, start):
        self.sent = []
        self.error = PlainError(start, LIMIT, ErrorRenderer(now=lambda: 0.0), SCOPE, self.send)

    async def send(self, message):
        self.sent.append(message)

    async def take(self, *messages):
        return [await self.error.take(message) for message in messages]

    @property
    def envelope(self):
        start, body = self.sent
        return start, json.loads(body["body"])["error"]


@pytest.mark.parametrize(
    "start",
    [
        start_of(),
        start_of(599),
        start_of(headers=[HTML]),
        start_of(headers=[(b"Content-Type", b"TEXT/HTML ; charset=latin-1")]),
        start_of(headers=[]),
        start_of(headers=[(b"x-a", b"1"), TEXT, (b"content-length", b"100")]),
        start_of(headers=[(b"content-type", b"application/json"), (b"content-length", b"0")]),
        start_of(trailers=False),
    ],
)
async def test_it_looks_like_an_error_page(start):
    """400 to 599, plain text, HTML or announced as empty, and not longer than the bound."""
    assert PlainError.looks_like(start, LIMIT)


@pytest.mark.parametrize(
    "start",
    [
        *(start_of(status) for status in (101, 200, 204, 304, 399, 600, 999)),
        *(
            start_of(headers=[(b"content-type", kind)])
            for kind in (b"application/json", b"text/plainer", b"", b"a/b")
        ),
        start_of(headers=[TEXT, (b"content-length", b"101")]),
        start_of(headers=[TEXT, (b"content-length", b"9" * 5000)]),
        start_of(headers=[TEXT, (b"content-length", b"many")]),
        start_of(headers=[TEXT, (b"content-length", "²".encode())]),
        start_of(headers=[TEXT, (b"Content-Encoding", b"gzip")]),
        start_of(trailers=True),
    ],
)
async def test_it_does_not_look_like_one(start):
    """No error, another type, an encoding, trailers, or a length that is too large or no number: the app's own."""
    assert not PlainError.looks_like(start, LIMIT)


async def test_a_short_page_becomes_an_envelope():
    """Start and body are held, and the envelope goes out in their place."""
    held = Held(start_of())
    assert await held.take(body_of(b"Not Found")) == [True]
    start, error = held.envelope
    assert (start["status"], error["code"], error["details"]) == (404, "RESOURCE_NOT_FOUND", None)
    assert not held.error.pending


async def test_an_announced_page_may_come_in_pieces():
    """With a content-length it is known to end soon."""
    held = Held(start_of(headers=[TEXT, (b"content-length", b"9")]))
    assert await held.take(body_of(b"No", more_body=True), body_of(b"t Found", more_body=True)) == [
        True,
        True,
    ]
    assert held.sent == []
    assert await held.take({"type": "http.response.body"}) == [True]
    assert held.envelope[0]["status"] == 404


@pytest.mark.parametrize(
    ("start", "messages"),
    [
        (start_of(), [body_of(b"a", more_body=True), body_of(b"b")]),
        (start_of(), [body_of(b"x" * (LIMIT + 1))]),
        (
            start_of(headers=[TEXT, (b"content-length", b"3")]),
            [body_of(b"x", more_body=True), body_of(b"x" * LIMIT)],
        ),
        (start_of(headers=[]), [body_of(b"{}")]),
        (start_of(), [{"type": "http.response.pathsend", "path": "/x"}]),
        (start_of(), [{"type": "http.response.early_hint", "links": []}, body_of(b"Not Found")]),
    ],
)
async def test_everything_else_goes_out_as_it_was(start, messages):
    """What turns out not to be a short page is sent in order and unchanged, and so is all that follows."""
    held = Held(start)
    for message in messages:
        if not await held.error.take(message):
            await held.send(message)
    assert held.sent == [start, *messages]


async def test_a_500_waits_for_the_end_of_the_app():
    """A text 500 may be followed by the exception that it stands for; without one it becomes an envelope."""
    held = Held(start_of(500))
    assert await held.take(body_of(b"Internal Server Error")) == [True]
    assert held.error.pending
    assert held.sent == []
    await held.error.finish()
    await held.error.finish()
    assert held.envelope[0]["status"] == 500


async def test_what_follows_a_held_500_releases_it():
    """A message after the last one is the app's mistake, and the server's to refuse."""
    held = Held(start_of(500))
    assert await held.take(body_of(b"x"), body_of(b"y")) == [True, False]
    assert held.envelope[0]["status"] == 500


async def test_an_incomplete_page_is_let_through():
    """An app that ends without the last body message leaves an incomplete response, as it would without us."""
    held = Held(start_of(headers=[TEXT, (b"content-length", b"3")]))
    await held.take(body_of(b"x", more_body=True))
    await held.error.finish()
    assert [message["type"] for message in held.sent] == ["http.response.start", "http.response.body"]
    assert held.sent[1]["more_body"]


async def test_a_discarded_page_is_never_sent():
    """When an exception explains better what went wrong, the page is forgotten."""
    held = Held(start_of(500))
    await held.take(body_of(b"x"))
    held.error.discard()
    await held.error.finish()
    assert held.sent == []


KEPT = [
    (b"allow", b"GET"),
    (b"www-authenticate", b"Bearer"),
    (b"set-cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
    (b"access-control-allow-origin", b"*"),
    (b"vary", b"origin"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cache-control", b"no-store"),
]
DROPPED = [
    *((b"content-language", b"en"), (b"Content-Length", b"9"), (b"ETag", b'"1"'), (b"last-modified", b"x")),
    *((b"accept-ranges", b"bytes"), (b"content-disposition", b"inline"), (b"transfer-encoding", b"chunked")),
]


async def test_fields_that_do_not_describe_the_old_body_are_kept():
    """Allow, WWW-Authenticate, every Set-Cookie, CORS, Vary and policies stay, in order; the old body's go."""
    held = Held(start_of(405, [TEXT, *KEPT, *DROPPED]))
    await held.take(body_of(b"Not Found"))
    start, _ = held.envelope
    assert start["headers"][3:] == KEPT
    assert [name for name, _ in start["headers"][:3]] == [b"content-type", b"content-length", b"vary"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", b"7"), (b"Thu, 01 Jan 1970 00:01:00 GMT", b"60"), (b"soon", b"1"), (None, b"1")],
)
async def test_retry_after_becomes_seconds(value, seconds):
    """A 429's Retry-After, number or date, is told in header and message, and there is always exactly one."""
    headers = [TEXT] if value is None else [TEXT, (b"Retry-After", value)]
    held = Held(start_of(429, headers))
    await held.take(body_of(b"slow down"))
    start, error = held.envelope
    assert [value for name, value in start["headers"] if name == b"retry-after"] == [seconds]
    assert error["message"].endswith(f"in {seconds.decode()} seconds")


@pytest.mark.parametrize(
    ("status", "headers", "body", "details"),
    [
        (404, [TEXT], b"Match 9 is unknown\n", "Match 9 is unknown"),
        (404, [TEXT], "Größe".encode(), "Größe"),
        (404, [TEXT], b"  not found ", None),
        (404, [TEXT], b"", None),
        (404, [TEXT], b"\xff", None),
        (404, [HTML], b"<h1>Match 9</h1>", None),
        (404, [], b"", None),
        (499, [TEXT], b"odd", "odd"),
        (500, [TEXT], b"Traceback: secret", None),
        (503, [TEXT], b"db-7 is down", None),
    ],
)
async def test_a_text_that_says_more_than_the_status_is_told(status, headers, body, details):
    """A 4xx's own words become details; what a 5xx says may be a traceback, and HTML is for people."""
    held = Held(start_of(status, headers))
    await held.take(body_of(body))
    await held.error.finish()
    assert held.envelope[1]["details"] == details


async def test_a_long_text_is_no_detail():
    """More than 500 characters are a page, not a detail."""
    sent = []

    async def send(message):
        sent.append(message)

    error = PlainError(start_of(), 1000, ErrorRenderer(), SCOPE, send)
    await error.take(body_of(b"x" * 501))
    assert json.loads(sent[1]["body"])["error"]["details"] is None
