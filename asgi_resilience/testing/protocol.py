"""Which ASGI messages are legal when: one state machine per kind of connection.

    http       waiting --start--> body --last body, pathsend--> [trailers --last trailers-->] done
    websocket  connecting --accept--> open --close--> closed
               connecting --close--> closed
               connecting --denial start--> denying --last denial body--> closed
    lifespan   a startup answers a startup, a shutdown answers a shutdown

Every method yields what is wrong, in words; nothing yielded means nothing wrong. Messages of an extension are legal
where `scope["extensions"]` offers it; types that no specification names count as extensions, too.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from asgi_resilience.context import Message, Scope

__all__ = ("ConnectionRules", "rules_for")

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 §5.6.2, lower case as ASGI asks
_VALUE: Final = re.compile(rb"[^\r\n\0]*")
_FIRST_FINAL_STATUS, _LAST_STATUS = 200, 999
_LONGEST_REASON: Final = 123  # RFC 6455 §5.5: 125 bytes of a control frame, less the code


class ConnectionRules(Protocol):
    """The legal course of one connection."""

    def received(self, message: Message) -> Iterator[str]:
        """What is wrong with a message that the app is given."""
        ...

    def sent(self, message: Message) -> Iterator[str]:
        """What is wrong with a message that the app sends."""
        ...

    def returned(self) -> Iterator[str]:
        """What is wrong with the app's return at this point."""
        ...


def rules_for(scope: Scope) -> ConnectionRules | None:
    """The rules for the connection that `scope` describes; None for a kind without any."""
    kinds: dict[str, type[_HTTPRules | _WebSocketRules | _LifespanRules]] = {
        "http": _HTTPRules,
        "websocket": _WebSocketRules,
        "lifespan": _LifespanRules,
    }
    rules = kinds.get(scope["type"])
    return None if rules is None else rules(scope)


class _HTTPRules:
    def __init__(self, scope: Scope) -> None:
        self._extensions: Mapping[str, Any] = scope.get("extensions") or {}
        self._head = scope["method"] == "HEAD"
        self._state = "waiting"
        self._trailers = False
        self._bodyless = False
        self._length: int | None = None
        self._written: int | None = 0  # None: not known, the server reads it from a file
        self._request_over = False
        self._disconnected = False

    def received(self, message: Message) -> Iterator[str]:
        if message["type"] == "http.disconnect":
            self._disconnected = True
            return
        if message["type"] != "http.request":
            yield f"{message['type']} given to an http app"
        elif self._request_over or self._disconnected:
            yield "http.request after the end of the request"
        yield from _field(message, "body", bytes)
        yield from _field(message, "more_body", bool)
        self._request_over = not message.get("more_body", False)

    def sent(self, message: Message) -> Iterator[str]:
        kind = message["type"]
        if self._state == "done":
            yield f"{kind} after the end of the response"
        elif kind == "http.response.start":
            yield from self._start(message)
        elif kind == "http.response.body":
            yield from _field(message, "body", bytes)
            yield from self._body(message, len(message.get("body", b"")))
        elif kind not in self._extensions:
            yield f"{kind} is neither of the protocol nor offered in scope['extensions']"
        elif kind == "http.response.pathsend":
            yield from _field(message, "path", str, required=True)
            yield from self._body({"type": kind}, None)
        elif kind == "http.response.zerocopysend":
            yield from self._body(message, None)
        elif kind == "http.response.trailers":
            yield from self._trailer(message)

    def returned(self) -> Iterator[str]:
        if self._state != "done" and not self._disconnected:
            yield f"the app returned, but the response is not complete ({self._state})"

    def _start(self, message: Message) -> Iterator[str]:
        if self._state != "waiting":
            yield "a second http.response.start"
        yield from _field(message, "status", int, required=True)
        yield from _field(message, "trailers", bool)
        yield from _headers(message)
        status = message.get("status", _FIRST_FINAL_STATUS)
        if not _FIRST_FINAL_STATUS <= status <= _LAST_STATUS:
            yield f"status {status} in http.response.start"
        self._bodyless = status in (204, 304)
        self._trailers = message.get("trailers", False)
        lengths = [value for name, value in message.get("headers", ()) if name == b"content-length"]
        if lengths and status == 204:  # noqa: PLR2004 - RFC 9110 §8.6
            yield "a content-length in a 204"
        elif len(lengths) > 1 or not all(value.isdigit() for value in lengths):
            yield f"content-length {lengths}"
        elif lengths and not self._head and not self._bodyless:
            self._length = int(lengths[0])
        self._state = "body"

    def _body(self, message: Message, size: int | None) -> Iterator[str]:
        yield from _field(message, "more_body", bool)
        if self._state != "body":
            yield f"{message['type']} while {self._state}"
        if self._bodyless and size != 0:
            yield "a body in a 204 or 304"
        self._written = None if size is None or self._written is None else self._written + size
        over = not message.get("more_body", False)
        length, written = self._length, self._written
        if length is not None and written is not None and (written > length or (over and written < length)):
            yield f"{written} bytes of body for content-length {length}"
        if over:
            self._state = "trailers" if self._trailers else "done"

    def _trailer(self, message: Message) -> Iterator[str]:
        yield from _headers(message)
        yield from _field(message, "more_trailers", bool)
        if self._state != "trailers":
            yield f"http.response.trailers while {self._state}, trailers announced: {self._trailers}"
        if not message.get("more_trailers", False):
            self._state = "done"


class _WebSocketRules:
    def __init__(self, scope: Scope) -> None:
        self._extensions: Mapping[str, Any] = scope.get("extensions") or {}
        self._state = "connecting"
        self._disconnected = False

    def received(self, message: Message) -> Iterator[str]:
        kind = message["type"]
        if kind not in ("websocket.connect", "websocket.receive", "websocket.disconnect"):
            yield f"{kind} given to a websocket app"
        self._disconnected = self._disconnected or kind == "websocket.disconnect"

    def sent(self, message: Message) -> Iterator[str]:
        kind, state = message["type"], self._state
        if kind == "websocket.accept":
            yield from _headers(message)
            legal, self._state = state == "connecting", "open"
        elif kind == "websocket.send":
            if (message.get("bytes") is None) == (message.get("text") is None):
                yield "websocket.send needs either bytes or text"
            legal = state == "open"
        elif kind == "websocket.close":
            yield from _field(message, "code", int)
            reason = message.get("reason") or ""
            if len(reason.encode()) > _LONGEST_REASON:
                yield f"a close reason of more than {_LONGEST_REASON} bytes"
            legal, self._state = state in ("connecting", "open"), "closed"
        elif kind == "websocket.http.response.start" and "websocket.http.response" in self._extensions:
            yield from _field(message, "status", int, required=True)
            yield from _headers(message)
            legal, self._state = state == "connecting", "denying"
        elif kind == "websocket.http.response.body" and "websocket.http.response" in self._extensions:
            yield from _field(message, "body", bytes)
            legal = state == "denying"
            self._state = state if message.get("more_body", False) else "closed"
        else:
            legal = kind in self._extensions
        if not legal:
            yield f"{kind} while {state}"

    def returned(self) -> Iterator[str]:
        if self._state in ("connecting", "denying") and not self._disconnected:
            yield f"the app returned, but the handshake is not answered ({self._state})"


class _LifespanRules:
    def __init__(self, scope: Scope) -> None:  # noqa: ARG002 - all rules are made alike
        self._asked: set[str] = set()

    def received(self, message: Message) -> Iterator[str]:
        if message["type"] not in ("lifespan.startup", "lifespan.shutdown"):
            yield f"{message['type']} given to a lifespan app"
        self._asked.add(message["type"])

    def sent(self, message: Message) -> Iterator[str]:
        question, _, answer = message["type"].rpartition(".")
        if answer not in ("complete", "failed") or question not in self._asked:
            yield f"{message['type']} without being asked"
        self._asked.discard(question)
        yield from _field(message, "message", str)

    def returned(self) -> Iterator[str]:
        yield from ()


def _field(message: Message, name: str, kind: type, *, required: bool = False) -> Iterator[str]:
    if name in message:
        if not isinstance(message[name], kind):
            yield f"{message['type']}: {name} is {type(message[name]).__name__}, expected {kind.__name__}"
    elif required:
        yield f"{message['type']}: {name} is missing"


def _headers(message: Message) -> Iterator[str]:
    headers: Any = message.get("headers", ())
    for name, value in headers:
        if not isinstance(name, bytes) or not _TOKEN.fullmatch(name):
            yield f"{message['type']}: header name {name!r}, expected a lower-case token in bytes"
        if not isinstance(value, bytes) or not _VALUE.fullmatch(value):
            yield f"{message['type']}: value {value!r} of header {name!r}, expected bytes without CR, LF and NUL"
