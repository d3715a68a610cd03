"""Which of a framework's own error answers become envelopes, and that all others pass untouched: against a model."""

import json
from dataclasses import dataclass

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.testing import ASGILint, asgi_request, virtual_time

LIMIT = 100
KEPT = (
    (b"allow", b"GET"),
    (b"www-authenticate", b"Bearer"),
    (b"set-cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
    (b"vary", b"origin"),
    (b"access-control-allow-origin", b"*"),
    (b"x-own", b"1"),
)
DROPPED = ((b"etag", b'"1"'), (b"content-language", b"en"), (b"last-modified", b"x"))
PLAIN = (b"text/plain", b"text/html; charset=utf-8", b"TEXT/Plain;charset=utf-8")
OTHER = (b"application/json", b"text/event-stream", b"image/png", b"text/plainer")


@dataclass(frozen=True)
class Answer:
    """An app's answer: with `raises`, what it raises afterwards."""

    method: str
    status: int
    kind: bytes | None
    length: str  # none, right, wrong (too large to rewrite), words
    encoding: bool
    parts: tuple[bytes, ...]
    between: str  # what comes before the first part: nothing, a hint, a pathsend in its place
    headers: tuple[tuple[bytes, bytes], ...]
    raises: str  # nothing, known, unknown; before the last part or after it

    @property
    def size(self):
        return sum(map(len, self.parts))

    @property
    def announced_empty(self):
        return not self.size and self.length == "right"

    @property
    def rewritable(self):
        """The rule: short, plain or empty, in one piece or announced, and nothing but body messages."""
        return (
            self.status >= 400
            and (self.kind in PLAIN or not self.size)
            and (self.kind not in OTHER or self.announced_empty)
            and self.length not in ("wrong", "words")
            and not self.encoding
            and self.between == "nothing"
            and self.size <= LIMIT
            and (len(self.parts) == 1 or self.length == "right")
        )

    def messages(self):
        headers = list(self.headers)
        if self.kind is not None:
            headers.append((b"Content-Type" if self.status == 404 else b"content-type", self.kind))
        lengths = {"right": str(self.size), "wrong": str(LIMIT + 1), "words": "many"}
        if self.length in lengths:
            headers.append((b"content-length", lengths[self.length].encode()))
        if self.encoding:
            headers.append((b"content-encoding", b"gzip"))
        messages = [{"type": "http.response.start", "status": self.status, "headers": headers}]
        if self.between == "hint":
            messages.append({"type": "http.response.early_hint", "links": []})
        if self.between == "pathsend":
            return [*messages, {"type": "http.response.pathsend", "path": "/x"}]
        for index, part in enumerate(self.parts):
            more = {"more_body": True} if index + 1 < len(self.parts) else {}
            messages.append({"type": "http.response.body", "body": part, **more})
        return messages


@st.composite
def answers(draw):
    return Answer(
        draw(st.sampled_from(("GET", "HEAD"))),
        draw(st.sampled_from((200, 301, 400, 404, 405, 429, 500, 500, 503))),
        draw(st.sampled_from((None, *PLAIN, *OTHER))),
        draw(st.sampled_from(("none", "right", "right", "wrong", "words"))),
        draw(st.sampled_from((False, False, False, True))),
        draw(st.lists(st.sampled_from((b"", b"Not here", b"x" * 60)), min_size=1, max_size=3).map(tuple)),
        draw(st.sampled_from(("nothing", "nothing", "nothing", "hint", "pathsend"))),
        draw(st.lists(st.sampled_from(KEPT + DROPPED), max_size=4, unique=True).map(tuple)),
        draw(st.sampled_from(("nothing", "nothing", "known before", "unknown before", "known", "unknown"))),
    )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(answer=answers())
def test_plain_error_answers_become_envelopes_and_nothing_else_does(backend, answer):
    """A short plain error becomes an envelope that keeps its fields; every other answer is untouched; HEAD has no body.

    (Edge cases 24, 25, 58, 66, 70.)
    """
    error = HTTPException(409, "taken") if answer.raises.startswith("known") else ValueError("secret")

    async def app(scope, receive, send):
        messages = answer.messages()
        last = messages.pop()
        for message in messages:
            await send(message)
        if answer.raises.endswith("before"):
            raise error
        await send(last)
        if answer.raises != "nothing":
            raise error

    extensions = {"http.response.early_hint": {}, "http.response.pathsend": {}}

    async def main():
        envelope = ErrorEnvelopeMiddleware(app, rewrite_limit=LIMIT)
        # The app's own content-length may be wrong on purpose, so the answer is linted where it is the layer's.
        outermost = ASGILint(envelope) if answer.rewritable else envelope
        return await asgi_request(outermost, answer.method, extensions=extensions)

    name, options = virtual_time(backend)
    response = anyio.run(main, backend=name, backend_options=options)

    raises = answer.raises != "nothing"
    if answer.raises.endswith("before"):
        # Only the last part was not sent: what had to be let through before has gone out.
        so_far = answer.messages()[:-1]
        held = _still_held(answer, len(so_far) - 1)
        untouched = so_far
    else:
        held = answer.rewritable
        untouched = answer.messages()

    if not held:
        assert response.messages == untouched
        assert (response.exception is error) is raises
        return
    status = answer.status
    if raises and (status == 500 or answer.raises.endswith("before")):
        status = 409 if answer.raises.startswith("known") else 500
    assert response.status == status
    assert response.complete
    assert [m["type"] for m in response.messages] == ["http.response.start", "http.response.body"]
    assert response.headers["content-type"] == "application/json"
    if answer.method == "HEAD":
        assert response.body == b""
    else:
        assert response.headers["content-length"] == str(len(response.body))
        assert json.loads(response.body)["error"]["code"]
        assert b"secret" not in response.body
    for pair in answer.headers:
        assert (pair in response.start["headers"]) is (pair in KEPT)
    # A known exception is answered; one that comes too late to be, or that nobody knows, goes on.
    too_late = answer.raises == "known" and answer.status != 500
    assert (response.exception is error) is (answer.raises.startswith("unknown") or too_late)


def _still_held(answer, sent):
    """Whether the answer is still held after its start and `sent` parts, its last part missing."""
    size = sum(map(len, answer.parts[:sent]))
    return (
        answer.status >= 400
        and answer.between != "hint"
        and (answer.kind in PLAIN or (answer.kind is None and not size) or answer.announced_empty)
        and answer.length not in ("wrong", "words")
        and not answer.encoding
        and size <= LIMIT
        and not (answer.length == "right" and answer.size > LIMIT)
        and (sent == 0 or answer.length == "right")
    )
