"""One websocket connection to an ASGI app, without a server: what the client sends is scripted, the rest recorded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.datastructures import Headers

from asgi_resilience.context import ASGIApp, Message
from asgi_resilience.testing.http import HeaderValues, connection_scope, snapshot

__all__ = ("RecordedWebSocket", "asgi_websocket")


@dataclass(slots=True)
class RecordedWebSocket:
    """Everything that the app sent on a websocket connection.

    Attributes:
        messages: Copies of the messages, in order.
        times: For each of them, seconds since the connection began, on the event loop's clock.
        exception: What the app raised, or None.
    """

    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    times: list[float] = field(default_factory=list[float])
    exception: Exception | None = None

    def _first(self, kind: str) -> dict[str, Any] | None:
        return next((message for message in self.messages if message["type"] == kind), None)

    @property
    def accepted(self) -> bool:
        """Whether the app accepted the connection."""
        return self._first("websocket.accept") is not None

    @property
    def headers(self) -> Headers:
        """The headers of the answer to the handshake: of the acceptance or of the denial response."""
        answer = self._first("websocket.accept") or self._first("websocket.http.response.start") or {}
        return Headers(raw=answer.get("headers", []))

    @property
    def sent(self) -> list[str | bytes]:
        """The data messages of the app: text as str, binary as bytes."""
        data = [message for message in self.messages if message["type"] == "websocket.send"]
        return [m["bytes"] if m.get("bytes") is not None else m.get("text", "") for m in data]

    @property
    def close_code(self) -> int | None:
        """The code with which the app closed the connection, or None when it did not."""
        closed = self._first("websocket.close")
        return None if closed is None else closed.get("code", 1000)

    @property
    def close_reason(self) -> str:
        """The reason with which the app closed the connection; empty when there is none."""
        return (self._first("websocket.close") or {}).get("reason") or ""

    @property
    def denial_status(self) -> int | None:
        """The status of the denial response (the `websocket.http.response` extension), or None."""
        return (self._first("websocket.http.response.start") or {}).get("status")

    @property
    def denial_body(self) -> bytes:
        """The body of the denial response."""
        parts = [m for m in self.messages if m["type"] == "websocket.http.response.body"]
        return b"".join(message.get("body", b"") for message in parts)


async def asgi_websocket(
    app: ASGIApp,
    path: str = "/",
    *,
    messages: Iterable[str | bytes] = (),
    close_code: int = 1000,
    headers: HeaderValues = (),
    subprotocols: Iterable[str] = (),
    extensions: Mapping[str, Any] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    scope: Mapping[str, Any] | None = None,
) -> RecordedWebSocket:
    """Open a websocket, send `messages` once it is accepted, then close it; record what the app sends.

    What the app raises is recorded; cancellations and other BaseExceptions propagate.

    Args:
        app: Any ASGI application.
        path: As on the wire: percent-encoded, with the query string if there is one.
        messages: What the client sends: str as text, bytes as binary.
        close_code: The code with which the client closes after its last message.
        headers: A mapping or pairs, as str or bytes.
        subprotocols: Offered by the client.
        extensions: What `scope["extensions"]` offers, such as `{"websocket.http.response": {}}`; None: no such key.
        client: The client's address and port; None as behind a unix socket.
        scope: More keys for the scope, or others in place of those made here.
    """
    record = RecordedWebSocket()
    began = anyio.current_time()
    answered = anyio.Event()
    script = iter(messages)
    connected = False

    async def receive() -> Message:
        nonlocal connected
        if not connected:
            connected = True
            return {"type": "websocket.connect"}
        await answered.wait()
        if record.close_code is None and record.denial_status is None:
            for data in script:
                return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}
            return {"type": "websocket.disconnect", "code": close_code, "reason": ""}
        return {"type": "websocket.disconnect", "code": record.close_code or 1006, "reason": ""}

    async def send(message: Message) -> None:
        record.messages.append(snapshot(message))
        record.times.append(anyio.current_time() - began)
        answered.set()

    connection = connection_scope("websocket", path, headers, extensions, "2.3", client)
    try:
        await app({**connection, "subprotocols": list(subprotocols), **(scope or {})}, receive, send)
    except Exception as error:  # noqa: BLE001 - what the app raises is a part of the record
        record.exception = error
    return record
