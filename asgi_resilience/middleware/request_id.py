"""Request ids: every request has one, every response that passes through carries it, and nobody can inject with it.

An id that the client sends is taken over when it is harmless, so that one id follows a request through many services;
otherwise a new one is made. The id stands in the record, for everything that mentions it. The request's own headers
stay as they came: the application sees what the client sent, and reads the id with `current_request().request_id`.
"""

import os
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final

from asgi_resilience.context import (
    ASGIApp,
    Message,
    RequestContext,
    Scope,
    report_failure,
)
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.process_life import in_forked_children
from asgi_resilience.recorder import Observer
from asgi_resilience.request_headers import watch, watched

__all__ = ("RequestIDMiddleware", "new_request_id")

_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_VALID_BYTES = re.compile(_VALID.pattern.encode())
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token

# A system call per id costs more than the rest of the layer, so ids are cut from larger draws. Taking one off a list is
# atomic, so threads never share one; a forked child throws the parent's stock away, so processes never do.
_RANDOM_BYTES: Final = 15  # 120 bits, which are 20 characters without padding
_CHARACTERS: Final = 20
_STOCKED: Final = 256
_stock: list[str] = []
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")

in_forked_children(_stock.clear)


def new_request_id() -> str:
    """`req_` and 20 characters of URL-safe base64: 120 bits from the operating system, unique across threads and forks."""
    try:
        return _stock.pop()
    except IndexError:
        drawn = b2a_base64(os.urandom(_RANDOM_BYTES * _STOCKED), newline=False).translate(_URL_SAFE).decode()
        made = [f"req_{drawn[at : at + _CHARACTERS]}" for at in range(0, len(drawn), _CHARACTERS)]
        own = made.pop()
        _stock.extend(made)
        return own


class RequestIDMiddleware(Observer):
    """Give every request an id, and put it on every response: of any status, on websocket accept and denial too.

    Args:
        app: The ASGI application.
        header: The header that carries the id in both directions. On responses it replaces one that the app has set.
        generator: Makes new ids: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. When it fails, `new_request_id` steps in.
        trust: Whose ids are taken over: everybody's (True, the default), nobody's (False), or those of peers in these
            networks; see `TrustedProxies` for their forms.
        clock: Where this layer is the outermost: what the record reads its times from, in seconds; monotonic.

    Raises:
        ValueError: `header` is no header name, or an entry of `trust` no network.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        header: str = "X-Request-ID",
        generator: Callable[[], str] = new_request_id,
        trust: bool | Iterable[str] | TrustedProxies = True,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if not _FIELD_NAME.fullmatch(header):
            raise ValueError(f"header={header!r}: expected the name of a header, such as 'X-Request-ID'")
        super().__init__(app, clock)
        self._name = header.lower().encode()
        self._size = len(header)
        self._generator = generator
        self._new_id = new_request_id if generator is new_request_id else self._generate
        self._trusted = TrustedProxies.of(("*",) if trust is True else () if trust is False else trust)
        self._hook = self._on_start  # bound once, not for every request
        watch(self._name)

    def begin(self, record: RequestContext, scope: Scope) -> ASGIApp:
        """Give a request its id."""
        if record.request_id is None or not _VALID.fullmatch(record.request_id):
            found = watched(record, scope)
            known = self._inbound(found, scope, record) if found else None
            record.request_id = known or self._new_id()
        record.on_start.append(self._hook)
        return self.app

    def _inbound(
        self, headers: list[tuple[bytes, bytes]], scope: Scope, record: RequestContext
    ) -> str | None:
        name = self._name
        found: bytes | None = None
        values = 0
        for key, value in headers:
            if key == name:
                found = value
                values += 1
        if found is None or not self._trusted.trusts(peer(scope)):
            return None
        if values > 1:  # which one the others in the chain believe is anybody's guess
            record.bind(rejected_request_id=f"{values} values")
            return None
        if not _VALID_BYTES.fullmatch(found):
            record.bind(rejected_request_id=f"{len(found)} bytes")
            return None
        return found.decode()

    def _generate(self) -> str:
        generator = self._generator
        try:
            made = generator()
            if _VALID.fullmatch(made):
                return made
            report_failure(generator, ValueError(f"request id {made!r:.200}: expected {_VALID.pattern}"))
        except Exception as error:  # noqa: BLE001 - an id is telemetry: without one the request is still answered
            report_failure(generator, error)
        return new_request_id()

    def _on_start(self, record: RequestContext, message: Message) -> None:
        request_id = record.request_id
        if request_id is None:  # somebody has taken it away: nothing is better than something wrong
            return
        name, size = self._name, self._size
        headers = message["headers"]
        for key, _ in headers:
            if len(key) == size and key.lower() == name:
                headers = message["headers"] = [pair for pair in headers if pair[0].lower() != name]
                break
        headers.append((name, request_id.encode()))
