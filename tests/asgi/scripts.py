"""Apps that follow a script, scripts that hypothesis makes up, and one run of such an app."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from asgi_resilience.context import ASGIApp, current_request
from asgi_resilience.errors import NotFound
from asgi_resilience.testing import asgi_request, virtual_time
from asgi_resilience.testing.http import snapshot

EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.early_hint": {},
    "http.response.debug": {},
    "http.response.push": {},
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
    "x.unknown": {},
}
REQUEST_BODY = (b"ab", b"cd")
PATIENCE = 1e6  # seconds, of a clock that takes no time for them
MOST_RECEIVES = len(REQUEST_BODY) + 1

ERRORS: dict[str, Exception] = {
    "unknown": ValueError("secret"),
    "http": HTTPException(409, "taken"),
    "ours": NotFound("no such match"),
    "timeout": TimeoutError("the app's own"),
    "group": ExceptionGroup("several", [ValueError("one"), NotFound()]),
    "os": OSError("not of send"),
}


@dataclass(frozen=True)
class Script:
    """What an app does, step by step: `("receive",)`, `("sleep", seconds)`, `("send", message, kind of headers)`."""

    steps: tuple[tuple[Any, ...], ...]
    ending: str = "return"
    method: str = "GET"
    disconnect_after: int | None = None
    spec_version: str = "2.3"

    def refuses(self, sent: int) -> bool:
        """Whether the server raises when one more message comes after so many."""
        return (
            self.spec_version != "2.3" and self.disconnect_after is not None and self.disconnect_after <= sent
        )


@dataclass
class Run:
    """What the server saw of one run, and what the app saw of the server."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    exception: BaseException | None = None
    cancelled: bool = False
    send_failed: bool = False
    duration: float = 0.0
    clean: bool = False

    @property
    def started(self) -> bool:
        return any(message["type"] == "http.response.start" for message in self.messages)

    @property
    def client_gone(self) -> bool:
        return self.send_failed or "http.disconnect" in self.received


def materialised(message: dict[str, Any], kind: str) -> dict[str, Any]:
    """The message with its headers as a list, a tuple, a generator, lists of lists, or none at all."""
    headers = message.get("headers")
    if headers is None:
        return dict(message)
    kinds: dict[str, Any] = {
        "list": lambda: list(headers),
        "tuple": lambda: tuple(headers),
        "generator": lambda: (pair for pair in headers),
        "lists": lambda: [list(pair) for pair in headers],
    }
    return {**message, "headers": kinds[kind]()}


def run(backend: str, script: Script, layer) -> Run:
    """Serve one request to `layer(an app that follows script)`, and check that nothing is left behind."""
    result = Run()

    async def main() -> None:
        server = anyio.CancelScope(deadline=PATIENCE)

        async def app(scope, receive, send):
            for step in script.steps:
                if step[0] == "receive":
                    result.received.append((await receive())["type"])
                elif step[0] == "sleep":
                    await anyio.sleep(step[1])
                else:
                    try:
                        await send(materialised(*step[1:]))
                    except OSError:
                        result.send_failed = True
                        raise
            if script.ending == "cancelled error" and backend == "asyncio":
                raise asyncio.CancelledError
            if script.ending.startswith("cancel"):
                server.cancel()
                await anyio.sleep_forever()
            if script.ending in ERRORS:
                raise ERRORS[script.ending].with_traceback(None)

        wrapped: ASGIApp = layer(app)

        async def watched(scope, receive, send):
            async def watched_send(message):
                message = {
                    **message,
                    **({"headers": list(message["headers"])} if "headers" in message else {}),
                }
                result.messages.append(snapshot(message))
                result.times.append(anyio.current_time())
                await send(message)

            before = {**scope, "headers": list(scope["headers"]), "extensions": dict(scope["extensions"])}
            try:
                await wrapped(scope, receive, watched_send)
            except BaseException as error:
                result.exception = error
                raise
            finally:
                result.clean = scope == before and current_request() is None

        with server, suppress(asyncio.CancelledError if script.ending == "cancelled error" else ()):
            await asgi_request(
                watched,
                script.method,
                "/path?query",
                body=REQUEST_BODY,
                extensions=EXTENSIONS,
                disconnect_after=script.disconnect_after,
                spec_version=script.spec_version,
            )
        assert result.clean, "the scope was changed, or the record is still the current one"
        assert anyio.current_time() < PATIENCE, "it would have waited for ever"
        result.cancelled = server.cancelled_caught
        result.duration = anyio.current_time()
        if backend == "asyncio":
            assert asyncio.current_task().cancelling() == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left behind"

    _, options = virtual_time(backend)
    anyio.run(main, backend=backend, backend_options=options)
    return result


# ------------------------------------------------------------------------------------------------- made-up scripts

_NAMES = (
    b"content-type",
    b"x-a",
    b"set-cookie",
    b"X-Caps",
    b"X-Request-ID",
    b"vary",
    b"retry-after",
    b"x-trace-id",
)
_pairs = st.lists(
    st.tuples(st.sampled_from(_NAMES), st.sampled_from((b"", b"1", b"text/plain", b"\xff"))), max_size=4
)
_kinds = st.sampled_from(("list", "tuple", "generator", "lists"))
_chunk = st.sampled_from((b"", b"x", b"chunk" * 100))
STATUSES = (200, 201, 204, 301, 304, 400, 404, 429, 500, 503, 599)


def _optional(name: str, values: Any) -> Any:
    """A dict with one key, or without it."""
    return st.one_of(st.just({}), values.map(lambda value: {name: value}))


@st.composite
def _informational(draw: Any) -> tuple[Any, ...]:
    message = draw(
        st.sampled_from(
            (
                {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
                {"type": "http.response.debug", "info": {"template": "index.html"}},
                {"type": "x.unknown", "anything": object},
            )
        )
    )
    return ("send", message, "list")


@st.composite
def _push(draw: Any) -> tuple[Any, ...]:
    headers = draw(_pairs)
    return ("send", {"type": "http.response.push", "path": "/style.css", "headers": headers}, "list")


@st.composite
def _start(draw: Any, statuses: tuple[int, ...], *, trailers: bool) -> tuple[Any, ...]:
    message = {"type": "http.response.start", "status": draw(st.sampled_from(statuses))}
    message |= draw(_optional("headers", _pairs))
    message |= {"trailers": True} if trailers else draw(_optional("trailers", st.just(False)))
    return ("send", message, draw(_kinds))


@st.composite
def _part(draw: Any, *, last: bool) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(("body", "body", "body", "zerocopysend", *(["pathsend"] if last else []))))
    message: dict[str, Any] = {"type": f"http.response.{kind}"}
    if kind == "pathsend":
        message["path"] = "/srv/file"
    else:
        message |= draw(_optional("more_body", st.just(False))) if last else {"more_body": True}
        if kind == "body":
            message |= draw(_optional("body", _chunk))
        else:
            message |= (
                {"file": 3} | draw(_optional("offset", st.just(0))) | draw(_optional("count", st.just(7)))
            )
    return ("send", message, "list")


@st.composite
def complete_scripts(draw: Any, statuses: tuple[int, ...] = STATUSES, longest_sleep: float = 20.0) -> Script:
    """A legal and complete response, then perhaps a background task; the app reads, waits and hints in between."""
    trailers = draw(st.booleans())
    steps = draw(st.lists(_informational(), max_size=2))
    steps.append(draw(_start(statuses, trailers=trailers)))
    steps += draw(
        st.lists(st.one_of(_part(last=False), _part(last=False), _informational(), _push()), max_size=4)
    )
    steps.append(draw(_part(last=True)))
    if trailers:
        more = draw(st.integers(0, 2))
        for left in range(more, -1, -1):
            message: dict[str, Any] = {"type": "http.response.trailers", "headers": draw(_pairs)}
            message |= {"more_trailers": True} if left else draw(_optional("more_trailers", st.just(False)))
            steps.append(("send", message, draw(_kinds)))
    if draw(st.booleans()):
        steps.append(("sleep", 100.0))
    receives = draw(st.integers(0, MOST_RECEIVES))
    pauses = [
        ("sleep", draw(st.sampled_from((0.0, 0.5, longest_sleep)))) for _ in range(draw(st.integers(0, 1)))
    ]
    for step in [("receive",)] * receives + pauses:
        steps.insert(draw(st.integers(0, len(steps))), step)
    return Script(tuple(steps), method=draw(st.sampled_from(("GET", "POST", "HEAD"))))


@st.composite
def scripts(draw: Any, **options: Any) -> Script:
    """A legal response, cut short at any index by any ending, to a client that may leave at any index."""
    whole = draw(complete_scripts(**options))
    ending = draw(st.sampled_from(("return", "return", "cancel", "cancelled error", *ERRORS)))
    at = draw(st.integers(0, len(whole.steps))) if draw(st.booleans()) else len(whole.steps)
    disconnect_after = draw(st.one_of(st.none(), st.none(), st.integers(0, 4)))
    spec_version = draw(st.sampled_from(("2.3", "2.4")))
    return Script(whole.steps[:at], ending, whole.method, disconnect_after, spec_version)
