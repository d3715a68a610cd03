"""One HTTP request to an ASGI app, without a server: every message that it sends, in order, and how it ended."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

import anyio
from starlette.datastructures import Headers

from asgi_resilience.context import ASGIApp, Message, Scope

__all__ = ("HeaderValues", "RecordedResponse", "asgi_request", "connection_scope", "snapshot")

HeaderValues: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes]

_BODY_TYPES: Final = {
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
}
_NEW_ERRORS: Final = (2, 4)  # the spec_version since which a server may raise OSError from `send`


@dataclass(slots=True)
class RecordedResponse:
    """What a client would have seen of the response, and what the server would have seen of the app.

    Attributes:
        messages: Copies of the messages that went out before the client was gone, in order.
        times: For each of them, seconds since the request began, on the event loop's clock.
        exception: What the app raised, or None.
    """

    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    times: list[float] = field(default_factory=list[float])
    exception: Exception | None = None

    @property
    def start(self) -> dict[str, Any] | None:
        """The first `http.response.start`, or None."""
        return next((message for message in self.messages if message["type"] == "http.response.start"), None)

    @property
    def status(self) -> int | None:
        """The status of the response, or None when it never started."""
        return None if self.start is None else self.start["status"]

    @property
    def headers(self) -> Headers:
        """The headers of the response; empty when it never started. `getlist` gives repeated ones."""
        return Headers(raw=[] if self.start is None else self.start.get("headers", []))

    @property
    def body(self) -> bytes:
        """The body as far as it arrived."""
        return b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        """Whether the last message of the response went out: the last trailers where trailers were announced."""
        if self.start is None:
            return False
        if self.start.get("trailers", False):
            return any(
                m["type"] == "http.response.trailers" and not m.get("more_trailers") for m in self.messages
            )
        return any(m["type"] in _BODY_TYPES and not m.get("more_body", False) for m in self.messages)

    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)


async def asgi_request(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    *,
    headers: HeaderValues = (),
    body: Body = b"",
    extensions: Mapping[str, Any] | None = None,
    disconnect_after: int | None = None,
    spec_version: str = "2.3",
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    scope: Mapping[str, Any] | None = None,
) -> RecordedResponse:
    """Send one request to `app` and record the answer; works on asyncio and trio, needs no HTTP library.

    As behind a real server, `receive` waits once the body is read, and tells of a disconnect when the response is
    complete. What the app raises is recorded; cancellations and other BaseExceptions propagate.

    Args:
        app: Any ASGI application.
        method: The request method.
        path: As on the wire: percent-encoded, with the query string if there is one.
        headers: A mapping or pairs, as str or bytes.
        body: All of it, or chunks; an async iterable may wait between chunks, as a slow client does.
        extensions: What `scope["extensions"]` offers, such as `{"http.response.pathsend": {}}`; None: no such key.
        disconnect_after: The client goes away after this many messages; 0: before the response. None: it stays.
        spec_version: From "2.4" on, `send` raises OSError once the client is gone; before, it does nothing.
        client: The client's address and port; None as behind a unix socket.
        scope: More keys for the scope, or others in place of those made here.
    """
    request = {**connection_scope("http", path, headers, extensions, spec_version, client), "method": method}
    exchange = _Exchange(body, disconnect_after, spec_version)
    try:
        await app({**request, **(scope or {})}, exchange.receive, exchange.send)
    except Exception as error:  # noqa: BLE001 - what the app raises is a part of the record
        exchange.response.exception = error
    finally:
        await exchange.chunks.aclose()
    return exchange.response


class _Exchange:
    """The server's side of one request."""

    def __init__(self, body: Body, disconnect_after: int | None, spec_version: str) -> None:
        self.response = RecordedResponse()
        self.chunks = _request_messages(body)
        self._raises = tuple(int(part) for part in spec_version.split(".")) >= _NEW_ERRORS
        self._disconnect_after = disconnect_after
        self._began = anyio.current_time()
        self._finished = anyio.Event()
        self._count()

    async def receive(self) -> Message:
        if not self._finished.is_set():
            async for message in self.chunks:
                return message
            await self._finished.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._gone():
            if self._raises:
                raise OSError("the client is gone")
            return
        self.response.messages.append(snapshot(message))
        self.response.times.append(anyio.current_time() - self._began)
        self._count()

    def _gone(self) -> bool:
        return self._disconnect_after is not None and len(self.response.messages) >= self._disconnect_after

    def _count(self) -> None:
        if self._gone() or self.response.complete:
            self._finished.set()


def connection_scope(
    kind: str,
    path: str,
    headers: HeaderValues,
    extensions: Mapping[str, Any] | None,
    spec_version: str,
    client: tuple[str, int] | None,
) -> dict[str, Any]:
    """The scope keys that HTTP and websocket connections share."""
    target, _, query = path.partition("?")
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": unquote(target),
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": list(_raw_headers(headers)),
        "client": client,
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    return {**scope, **({} if extensions is None else {"extensions": dict(extensions)})}


def snapshot(message: Message) -> dict[str, Any]:
    """A copy of a message that later changes do not reach; headers become a list of pairs of bytes."""
    copy = dict(message)
    if "headers" in copy:
        copy["headers"] = [(bytes(name), bytes(value)) for name, value in copy["headers"]]
    return copy


def _raw_headers(headers: HeaderValues) -> Iterator[tuple[bytes, bytes]]:
    for name, value in (
        cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    ):
        yield (
            name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1"),
            value if isinstance(value, bytes) else value.encode("latin-1"),
        )


async def _request_messages(body: Body) -> AsyncGenerator[Message, None]:
    if isinstance(body, bytes):
        yield {"type": "http.request", "body": body, "more_body": False}
        return
    if isinstance(body, AsyncIterable):
        async for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
    else:
        for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}
