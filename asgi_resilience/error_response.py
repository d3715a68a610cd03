"""The one place that shapes an error answer: the JSON envelope, problem+json, and a websocket's denial or close.

    {"error": {"code", "message", "details", "timestamp", "request_id", "documentation_url"}}

A client that prefers `application/problem+json` gets the same facts in the shape of RFC 9457.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, isfinite
from typing import Any, Final
from urllib.parse import quote

import orjson

from asgi_resilience.accept import asks_for
from asgi_resilience.context import KEY, Message, RequestContext, Scope, Send, status_outcome
from asgi_resilience.error_catalogue import ErrorCatalogue, Failure, catalogue
from asgi_resilience.error_specs import ErrorSpec, standard_phrase
from asgi_resilience.retry_after import parse_retry_after

__all__ = ("ErrorRenderer",)

Headers = list[tuple[bytes, bytes]]

_JSON, _PROBLEM = b"application/json", b"application/problem+json"
_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*")
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2, token
# RFC 9110 §5.5: no control characters, so no injection.
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset((b"content-type", b"content-length", b"retry-after", b"transfer-encoding"))
_LONGEST_DELAY: Final = 10**9
"""Seconds, more than thirty years: as good as never, and no overflow in any client."""
_PLACEHOLDER: Final = "{retry_after}"
_IN_A_PATH: Final = "/%:@!$&'()*+,;=~"  # RFC 3986 §3.3; what is encoded already stays as it is
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
        ValueError: `docs_url` is no http(s) address, or `retry_after` is out of range; it names option, value and range.
    """

    catalogue: ErrorCatalogue = field(default=catalogue)
    docs_url: str | None = None
    retry_after: float = 1.0
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.docs_url is not None and not _ADDRESS.fullmatch(self.docs_url):
            raise ValueError(
                f"docs_url={self.docs_url!r}: expected an address such as 'https://docs.example.com/errors'"
            )
        if not 0 < self.retry_after <= _LONGEST_DELAY:
            raise ValueError(
                f"retry_after={self.retry_after!r}: expected seconds, above 0 and at most {_LONGEST_DELAY}"
            )

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
            if accepted and record.outcome is None:  # the status on the wire is 101, and tells nothing
                record.outcome = status_outcome(failure.spec.status)
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
        problem = _prefers_problem(scope)
        body = self._body(scope, failure, problem=problem)
        fields: Headers = [
            (b"content-type", _PROBLEM if problem else _JSON),
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
        if not _is_delay(after):
            after = self._header_seconds(failure)
        if after is None:
            if failure.spec.status != 429:  # noqa: PLR2004 - Too Many Requests
                return None
            after = self.retry_after
        return max(1, min(ceil(after), _LONGEST_DELAY))

    def message(self, failure: Failure) -> str:
        """The message for the client, with the seconds to wait filled in."""
        if _PLACEHOLDER not in failure.message:
            return failure.message
        return failure.message.replace(_PLACEHOLDER, str(self.retry_seconds(failure) or 1))

    def documentation_url(self, spec: ErrorSpec) -> str | None:
        """Where this error is explained, or None without `docs_url`."""
        if self.docs_url is None:
            return None
        path = spec.docs_path or spec.code.lower().replace("_", "-")
        return f"{self.docs_url.rstrip('/')}/{path.lstrip('/')}"

    def _header_seconds(self, failure: Failure) -> float | None:
        value = next((value for name, value in _encoded(failure) if name == b"retry-after"), None)
        return None if value is None else parse_retry_after(value.decode("latin-1"), now=self.now())

    def _body(self, scope: Scope, failure: Failure, *, problem: bool) -> bytes:
        record: RequestContext | None = scope.get(KEY)
        facts: dict[str, Any] = {
            "code": failure.spec.code,
            "message": self.message(failure),
            "details": failure.details,
            "timestamp": datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "request_id": None if record is None else record.request_id,
            "documentation_url": self.documentation_url(failure.spec),
        }
        shape = _problem_document if problem else _envelope
        try:
            return _dumps(shape(scope, failure, facts))
        except orjson.JSONEncodeError:  # a lone surrogate, a ring, an integer of more than 64 bits
            facts["details"] = None if failure.details is None else _marker(failure.details)
            facts["message"] = facts["message"].encode("utf-8", "replace").decode()
            return _dumps(shape(scope, failure, facts))


def _envelope(_: Scope, __: Failure, facts: dict[str, Any]) -> dict[str, Any]:
    return {"error": facts}


def _problem_document(scope: Scope, failure: Failure, facts: dict[str, Any]) -> dict[str, Any]:
    """RFC 9457 §3.1: the title is the same in every case of a code, the detail is about this one; nothing is lost."""
    message, details = facts["message"], facts["details"]
    plain = isinstance(details, str) and failure.message == failure.spec.message
    document = {
        "type": facts["documentation_url"] or "about:blank",
        "title": _title(failure.spec),
        "status": failure.spec.status,
        "detail": details if plain else message,
        "instance": _instance(scope),
        "code": facts["code"],
        "request_id": facts["request_id"],
        "timestamp": facts["timestamp"],
    }
    return document if plain or details is None else document | {"details": details}


def _title(spec: ErrorSpec) -> str:
    """The catalogue's message, without the sentence that tells how long to wait."""
    if _PLACEHOLDER not in spec.message:
        return spec.message
    first = spec.message.partition(". ")[0]
    return first if _PLACEHOLDER not in first else standard_phrase(spec.status) or spec.code


def _dumps(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content, default=_marker, option=orjson.OPT_NON_STR_KEYS)


def _is_delay(after: object) -> bool:
    return isinstance(after, int | float) and isfinite(after)


def _marker(value: object) -> str:
    return f"<{type(value).__name__}>"


def _instance(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return quote(raw, safe=_IN_A_PATH)


def _encoded(failure: Failure) -> Iterator[tuple[bytes, bytes]]:
    """The failure's own headers; one that can't be sent is dropped, because the answer must go out."""
    items: Any = getattr(failure.headers, "items", tuple)  # what is no mapping counts as none
    for name, value in items():
        try:
            pair = name.lower().encode("latin-1"), value.strip(" \t").encode("latin-1")
        except (AttributeError, UnicodeEncodeError, TypeError):
            continue
        if _FIELD_NAME.fullmatch(pair[0]) and _FIELD_VALUE.fullmatch(pair[1]):
            yield pair


def _prefers_problem(scope: Scope) -> bool:
    accept = [bytes(value) for name, value in scope["headers"] if name.lower() == b"accept"]
    return asks_for(accept, _PROBLEM, rather_than=_JSON)
