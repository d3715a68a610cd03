"""Whatever legal thing an app does on a websocket, what goes into a layer comes out of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import WebSocketException

from asgi_resilience.context import current_request
from asgi_resilience.error_catalogue import catalogue
from asgi_resilience.errors import ServiceUnavailable
from asgi_resilience.testing import asgi_websocket, virtual_time
from asgi_resilience.testing.http import snapshot
from tests.asgi.layers import ADDED_HEADERS, ANSWERS_ERRORS, NAMES, CountingSink, layer
from tests.asgi.scripts import PATIENCE, materialised

ERRORS: dict[str, Exception] = {
    "unknown": ValueError("secret"),
    "overload": ServiceUnavailable(),
    "websocket": WebSocketException(4001, "asked for"),
}
CLIENT_MESSAGES = ("text", b"bytes")


@dataclass(frozen=True)
class Script:
    """What an app does: `("receive",)`, `("sleep", seconds)`, `("send", message, kind of headers)`."""

    steps: tuple[tuple[Any, ...], ...]
    ending: str
    denial: bool


@dataclass
class Run:
    messages: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    exception: BaseException | None = None
    cancelled: bool = False
    clean: bool = False

    def sent(self, *kinds: str) -> bool:
        return any(message["type"] in kinds for message in self.messages)


_headers = st.lists(st.tuples(st.sampled_from((b"x-a", b"X-Request-ID")), st.just(b"1")), max_size=2)
_kinds = st.sampled_from(("list", "tuple", "generator", "lists"))


@st.composite
def scripts(draw: Any) -> Script:
    """A conversation, a refusal or a denial, cut short at any index by any ending."""
    steps: list[tuple[Any, ...]] = [("receive",)] if draw(st.booleans()) else []
    denial = draw(st.booleans())
    course = draw(st.sampled_from(("accept", "accept", "refuse", *(["deny"] if denial else []))))
    if course == "accept":
        message = {"type": "websocket.accept"} | draw(st.sampled_from(({}, {"subprotocol": "v1"})))
        if draw(st.booleans()):
            message["headers"] = draw(_headers)
        steps.append(("send", message, draw(_kinds)))
        data = st.sampled_from(
            (
                ("send", {"type": "websocket.send", "text": "é"}, "list"),
                ("send", {"type": "websocket.send", "bytes": b"b", "text": None}, "list"),
                ("receive",),
                ("sleep", 1000.0),
                ("send", {"type": "x.unknown"}, "list"),
            )
        )
        steps += draw(st.lists(data, max_size=5))
        if draw(st.booleans()):
            steps.append(("send", {"type": "websocket.close", "code": 4000, "reason": "done"}, "list"))
    elif course == "refuse":
        steps.append(("send", {"type": "websocket.close"}, "list"))
    else:
        start = {"type": "websocket.http.response.start", "status": 403, "headers": draw(_headers)}
        steps.append(("send", start, draw(_kinds)))
        body = {"type": "websocket.http.response.body"}
        steps.append(("send", {**body, "body": b"no", "more_body": True}, "list"))
        steps.append(("send", body, "list"))
    ending = draw(st.sampled_from(("return", "cancel", *ERRORS)))
    at = draw(st.integers(0, len(steps))) if draw(st.booleans()) else len(steps)
    return Script(tuple(steps[:at]), ending, denial)


def run(backend: str, script: Script, wrap: Any) -> Run:
    """Serve one websocket to `wrap(an app that follows script)`, and check that nothing is left behind."""
    result = Run()

    async def main() -> None:
        server = anyio.CancelScope(deadline=PATIENCE)

        async def app(scope, receive, send):
            for step in script.steps:
                if step[0] == "receive":
                    result.received.append(await receive())
                elif step[0] == "sleep":
                    await anyio.sleep(step[1])
                else:
                    await send(materialised(*step[1:]))
            if script.ending == "cancel":
                server.cancel()
                await anyio.sleep_forever()
            if script.ending in ERRORS:
                raise ERRORS[script.ending].with_traceback(None)

        wrapped = wrap(app)

        async def watched(scope, receive, send):
            async def watched_send(message):
                message = {
                    **message,
                    **({"headers": list(message["headers"])} if "headers" in message else {}),
                }
                result.messages.append(snapshot(message))
                await send(message)

            before = {**scope, "headers": list(scope["headers"])}
            try:
                await wrapped(scope, receive, watched_send)
            except BaseException as error:
                result.exception = error
                raise
            finally:
                result.clean = scope == before and current_request() is None

        extensions = {"x.unknown": {}} | ({"websocket.http.response": {}} if script.denial else {})
        with server:
            await asgi_websocket(watched, "/ws", messages=CLIENT_MESSAGES, extensions=extensions)
        assert result.clean, "the scope was changed, or the record is still the current one"
        assert anyio.current_time() < PATIENCE, "it would have waited for ever"
        result.cancelled = server.cancelled_caught
        if backend == "asyncio":
            assert asyncio.all_tasks() == {asyncio.current_task()}

    name, options = virtual_time(backend)
    anyio.run(main, backend=name, backend_options=options)
    return result


def without_added_headers(message):
    if message["type"] not in ("websocket.accept", "websocket.http.response.start"):
        return message
    return {
        **message,
        "headers": [p for p in message.get("headers", ()) if p[0].lower() not in ADDED_HEADERS],
    }


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=scripts())
def test_what_goes_in_comes_out(backend, name, script):
    """Messages pass unchanged; an exception, or silence, denies the handshake or closes with the error's code as its reason."""
    sink = CountingSink()
    bare = run(backend, script, layer("nothing", sink))
    wrapped = run(backend, script, layer(name, sink))

    seen, exception = wrapped.messages, bare.exception
    over = bare.sent("websocket.close", "websocket.http.response.start")
    gone = any(message["type"] == "websocket.disconnect" for message in bare.received)
    silent = exception is None and not bare.cancelled and not bare.sent("websocket.accept")
    if name in ANSWERS_ERRORS and (isinstance(exception, Exception) or silent) and not over and not gone:
        answer, seen = seen[len(bare.messages) :], seen[: len(bare.messages)]
        failure = catalogue.classify(RuntimeError() if silent else exception)
        if script.ending == "websocket":
            assert answer == [{"type": "websocket.close", "code": 4001, "reason": "asked for"}]
            exception = None
        elif script.denial and not bare.sent("websocket.accept"):
            assert [m["type"] for m in answer] == [
                "websocket.http.response.start",
                "websocket.http.response.body",
            ]
            assert answer[0]["status"] == failure.spec.status
        else:
            code = 1013 if script.ending == "overload" else 1011
            assert answer == [{"type": "websocket.close", "code": code, "reason": failure.spec.code}]
        if failure.known:
            exception = None
    assert [without_added_headers(m) for m in seen] == [without_added_headers(m) for m in bare.messages]
    assert wrapped.received == bare.received
    assert wrapped.cancelled == bare.cancelled
    if isinstance(bare.exception, Exception):
        assert wrapped.exception is exception
    else:
        assert type(wrapped.exception) is type(exception)
    if name in ("MetricsMiddleware", "stack"):
        assert (sink.counted, sink.in_flight) == (1, 0)
    if name in ("RequestIDMiddleware", "stack"):
        for message in wrapped.messages:
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                ids = [value for key, value in message["headers"] if key.lower() == b"x-request-id"]
                assert len(ids) == 1
                assert ids != [b"1"]
