"""The one place that shapes an error answer: the JSON envelope, problem+json, and a websocket's denial or close.

    {"error": {"code", "message", "details", "timestamp", "request_id", "documentation_url"}}

A client that prefers `application/problem+json` gets the same facts in the shape of RFC 9457.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any, Final

import orjson

from asgi_resilience.context import KEY, Message, RequestContext, Scope, Send, header
from asgi_resilience.error_catalogue import ErrorCatalogue, Failure, catalogue
from asgi_resilience.error_specs import ErrorSpec

__all__ = ("ErrorRenderer", "retry_after_seconds")

Headers = list[tuple[bytes, bytes]]

_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2, token
_FIELD_VALUE = re.compile(
    rb"[\t\x20-\x7e\x80-\xff]*"
)  # RFC 9110 §5.5: no control characters, so no injection
_OURS: Final = frozenset((b"content-type", b"content-length", b"retry-after", b"transfer-encoding"))
_LONGEST_DELAY: Final = 9  # digits: more than thirty years
_OVERLOAD: Final = frozenset((429, 503))
_INTERNAL_ERROR, _TRY_AGAIN_LATER = 1011, 1013  # RFC 6455 §7.4.1 and the IANA close code registry


@dataclass(frozen=True, slots=True)
class ErrorRenderer:
    """Turns a `Failure` into messages to the client.

    Attributes:
        catalogue: The errors that are known.
        docs_url: Where the errors are explained; each error's `docs_path` is added to it. None: no
            `documentation_url`.
        retry_after: Seconds that a 429 asks for when nobody said how long.
        now: Wall clock for the envelope's `timestamp`, in seconds since the epoch.

    Raises:
        ValueError: `docs_url` is no http(s) address, or `retry_after` is not positive.
    """

    catalogue: ErrorCatalogue = field(default=catalogue)
    docs_url: str | None = None
    retry_after: float = 1.0
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.docs_url is not None and not self.docs_url.startswith(("http://", "https://")):
            raise ValueError(
                f"docs_url={self.docs_url!r}: expected an address that starts with http:// or https://"
            )
        if not self.retry_after > 0:
            raise ValueError(f"retry_after={self.retry_after!r}: expected seconds above 0")

    async def answer(
        self,
        scope: Scope,
        send: Send,
        failure: Failure,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        accepted: bool = False,
    ) -> None:
        """Send the whole answer, and note the error in the request's record.

        Args:
            scope: Of the request; its type decides between an HTTP response, a denial response and a close.
            send: Where the messages go.
            failure: What to tell.
            headers: Added to the response after the failure's own.
            accepted: The websocket has been accepted, so that only a close can tell.
        """
        record: RequestContext | None = scope.get(KEY)
        if record is not None:
            record.error_code = failure.spec.code
            if record.error_message is None:
                record.error_message = self.message(failure)
        if scope["type"] == "http":
            start, body = self.response(scope, failure, headers)
            await send({"type": "http.response.start", "status": failure.spec.status, "headers": start})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        elif not accepted and "websocket.http.response" in (scope.get("extensions") or {}):
            start, body = self.response(scope, failure, headers)
            status = failure.spec.status
            await send({"type": "websocket.http.response.start", "status": status, "headers": start})
            await send({"type": "websocket.http.response.body", "body": body})
        else:
            await send(self.close(failure))

    def close(self, failure: Failure) -> Message:
        """The close message of a websocket: 1013 when a later try may succeed, else 1011; the reason is the code."""
        code = _TRY_AGAIN_LATER if failure.spec.status in _OVERLOAD else _INTERNAL_ERROR
        return {"type": "websocket.close", "code": code, "reason": failure.spec.code}

    def response(
        self, scope: Scope, failure: Failure, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> tuple[Headers, bytes]:
        """The headers and the body of the HTTP answer; `headers` replace the failure's own of the same name."""
        problem = _prefers_problem(header(scope, b"accept"))
        body = self._body(scope, failure, problem=problem)
        fields: Headers = [
            (b"content-type", b"application/problem+json" if problem else b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"vary", b"accept"),
        ]
        seconds = self.retry_seconds(failure)
        if seconds is not None:
            fields.append((b"retry-after", b"%d" % seconds))
        extra = list(headers)
        taken = _OURS.union(name for name, _ in extra)
        fields += [(name, value) for name, value in _encoded(failure) if name not in taken]
        fields += extra
        return fields, body

    def retry_seconds(self, failure: Failure) -> int | None:
        """Whole seconds for `Retry-After`, rounded up and never 0; None when the answer has none (RFC 9110 §10.2.3)."""
        after = failure.retry_after
        if after is None:
            after = self._header_seconds(failure)
        if after is None:
            if failure.spec.status != 429:  # noqa: PLR2004 - Too Many Requests
                return None
            after = self.retry_after
        return max(1, ceil(after))

    def message(self, failure: Failure) -> str:
        """The message for the client, with the seconds to wait filled in."""
        if "{retry_after}" not in failure.message:
            return failure.message
        return failure.message.replace("{retry_after}", str(self.retry_seconds(failure) or 1))

    def documentation_url(self, spec: ErrorSpec) -> str | None:
        """Where this error is explained, or None without `docs_url`."""
        if self.docs_url is None:
            return None
        path = spec.docs_path or spec.code.lower().replace("_", "-")
        return f"{self.docs_url.rstrip('/')}/{path.lstrip('/')}"

    def _header_seconds(self, failure: Failure) -> float | None:
        value = next((value for name, value in _encoded(failure) if name == b"retry-after"), None)
        return None if value is None else retry_after_seconds(value, self.now())

    def _body(self, scope: Scope, failure: Failure, *, problem: bool) -> bytes:
        record: RequestContext | None = scope.get(KEY)
        request_id = None if record is None else record.request_id
        timestamp = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        spec, message, url = failure.spec, self.message(failure), self.documentation_url(failure.spec)
        content: dict[str, Any]
        if problem:
            # The title must not change from case to case (RFC 9457 §3.1.3), so not with the seconds in it.
            title = failure.message.partition(". ")[0] if "{" in failure.message else message
            content = {
                "type": url or "about:blank",
                "title": title,
                "status": spec.status,
                "detail": message if failure.details is None else failure.details,
                "instance": _instance(scope),
                "code": spec.code,
                "request_id": request_id,
                "timestamp": timestamp,
            }
        else:
            content = {
                "code": spec.code,
                "message": message,
                "details": failure.details,
                "timestamp": timestamp,
                "request_id": request_id,
                "documentation_url": url,
            }
        try:
            return orjson.dumps(content if problem else {"error": content}, default=_marker)
        except orjson.JSONEncodeError:  # a lone surrogate, a ring, a key that is no string
            content.update(
                {"detail": spec.message} if problem else {"details": None, "message": spec.message}
            )
            return orjson.dumps(content if problem else {"error": content})


def retry_after_seconds(value: bytes, now: float) -> float | None:
    """What a `Retry-After` field asks for, in seconds from `now`, or None when it is malformed (RFC 9110 §10.2.3)."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _LONGEST_DELAY else None
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except ValueError:
        return None


def _marker(value: object) -> str:
    return f"<{type(value).__name__}>"


def _instance(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return str(raw.decode("latin-1"))


def _encoded(failure: Failure) -> Iterable[tuple[bytes, bytes]]:
    for name, value in (failure.headers or {}).items():
        try:
            pair = name.lower().encode("latin-1"), value.encode("latin-1")
        except (AttributeError, UnicodeEncodeError):
            continue
        # A header that can't be sent is dropped; the answer must go out.
        if _FIELD_NAME.fullmatch(pair[0]) and _FIELD_VALUE.fullmatch(pair[1]):
            yield pair


def _prefers_problem(accept: bytes | None) -> bool:
    """Whether problem+json is asked for by name, at least as much as plain JSON (RFC 9110 §12.5.1)."""
    if accept is None or b"problem+json" not in accept.lower():
        return False
    quality: dict[bytes, float] = {}
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = next((p[2:] for p in parameters if p.startswith(b"q=")), b"1")
        try:
            quality[kind] = float(weight)
        except ValueError:
            quality[kind] = 0.0
    wanted = quality.get(b"application/problem+json", 0.0)
    return wanted > 0 and wanted >= quality.get(b"application/json", 0.0)
