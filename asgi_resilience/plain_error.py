"""A framework's own error page, held back until it is clear what becomes of it.

Frameworks answer many errors themselves, as plain text or HTML. Such an answer is short and comes in one piece, so its
start can wait for its body, and then the envelope goes out in its place. Anything else is let through as it was.

A 500 is held until the app ends: a framework that answers an exception with a text 500 raises that exception right
after, and the exception may well mean a 404. (A plain 500 with a background task thus waits for the task.)
"""

from collections.abc import Iterable
from typing import Final

from asgi_resilience.context import Message, Scope, Send
from asgi_resilience.error_catalogue import Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.error_specs import is_error_status, standard_phrase
from asgi_resilience.retry_after import parse_retry_after

__all__ = ("PlainError",)

_INTERNAL_SERVER_ERROR: Final = 500
_LONGEST_DETAILS: Final = 500  # characters
_MOST_DIGITS: Final = 18
# They describe the body that is replaced (RFC 9110 §8), or are set anew.
_OF_THE_BODY: Final = frozenset(
    (
        *(b"content-type", b"content-length", b"content-encoding", b"content-language", b"content-location"),
        *(b"content-range", b"content-disposition", b"content-digest", b"content-md5"),
        b"accept-ranges",
        b"etag",
        b"last-modified",
        b"digest",
        b"repr-digest",
        b"transfer-encoding",
        b"retry-after",
    )
)


class PlainError:
    """One held answer.

    Args:
        start: The `http.response.start` message, with its headers in a list.
        limit: Bytes of body up to which it is rewritten.
        errors: How the envelope looks.
        scope: Of the request.
        send: Where the messages go in the end.
    """

    __slots__ = ("_bodies", "_complete", "_errors", "_limit", "_scope", "_send", "_size", "_start", "pending")

    def __init__(self, start: Message, limit: int, errors: ErrorRenderer, scope: Scope, send: Send) -> None:
        self.pending = True
        self._start = start
        self._bodies: list[Message] = []
        self._size = 0
        self._complete = False
        self._limit = limit
        self._errors = errors
        self._scope = scope
        self._send = send

    @staticmethod
    def looks_like(start: Message, limit: int) -> bool:
        """Whether an answer with this start may be a framework's error page; its body may still tell otherwise."""
        if not is_error_status(start["status"]) or start.get("trailers", False):
            return False
        kind, empty = None, False
        for name, value in start["headers"]:
            lower = name.lower()
            if lower == b"content-type":
                kind = value.lower().partition(b";")[0].strip()
            elif (
                lower == b"content-length"
                and value.isdigit()
                and len(value) <= _MOST_DIGITS
                and int(value) <= limit
            ):
                empty = int(value) == 0
            elif lower in (b"content-encoding", b"content-length"):
                return False
        return empty or kind in (None, b"text/plain", b"text/html")

    async def take(self, message: Message) -> bool:
        """Hold one more message; False: it is not held, and everything before it has been sent."""
        if not self.pending:
            return False
        if message["type"] != "http.response.body" or self._complete:
            await self.finish()
            return False
        more = message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > self._limit or (more and not self._announced()) or (self._size and not self._typed()):
            await self.finish()
            return False
        self._bodies.append(message)
        if not more:
            self._complete = True
            if self._start["status"] != _INTERNAL_SERVER_ERROR:
                await self.finish()
        return True

    async def finish(self) -> None:
        """Send the envelope in its place when the answer is complete, else what was held, as it was."""
        if not self.pending:
            return
        self.pending = False
        if self._complete:
            await self._errors.answer(self._scope, self._send, self._failure(), headers=self.kept())
            return
        await self._send(self._start)
        for body in self._bodies:
            await self._send(body)

    def kept(self) -> list[tuple[bytes, bytes]]:
        """The header fields that the envelope keeps: all but those that describe the replaced body."""
        return [
            (name.lower(), value)
            for name, value in self._start["headers"]
            if name.lower() not in _OF_THE_BODY
        ]

    def discard(self) -> None:
        """Forget the answer: an exception explains better what went wrong."""
        self.pending = False

    def _failure(self) -> Failure:
        spec = self._errors.catalogue.for_status(self._start["status"])
        after = _value(self._start["headers"], b"retry-after")
        seconds = (
            None if after is None else parse_retry_after(after.decode("latin-1"), now=self._errors.now())
        )
        return Failure(spec, spec.message, details=self._details(), retry_after=seconds)

    def _details(self) -> str | None:
        """The text, when it says more than the status: `PlainTextResponse("Match 9 is unknown", 404)`."""
        status = self._start["status"]
        kind = _value(self._start["headers"], b"content-type") or b""
        # What a 500 says may be a traceback. HTML is for people.
        if status >= _INTERNAL_SERVER_ERROR or not kind.lower().startswith(b"text/plain"):
            return None
        body = b"".join(body.get("body", b"") for body in self._bodies)
        try:
            text = body.decode().strip()
        except UnicodeDecodeError:
            return None
        if not text or len(text) > _LONGEST_DETAILS or text.lower() == standard_phrase(status).lower():
            return None
        return text

    def _announced(self) -> bool:
        return _value(self._start["headers"], b"content-length") is not None

    def _typed(self) -> bool:
        return _value(self._start["headers"], b"content-type") is not None


def _value(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name.lower() == wanted), None)
