"""The line of a request that went well, joined from pieces that are JSON already.

Almost all lines are such. Building a dict and encoding it costs three times as much, so that way is kept for those with
something to tell: an error, a `context`, or text that JSON would have to escape. Both make the same fields. What lines
have in common is spelled once and remembered: all that depends on the answer and the route, and the user agent.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

import orjson

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.encoding import THOUSANDTHS, encode
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.logs.request_fields import UserAgents

__all__ = ("PlainLines",)

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"))
_LONGEST: Final = 256
"""Characters of all free text of a line together; a field may have as many, so nothing here needs to be cut."""
_MOST_KNOWN: Final = 1024
_SHORT_TRACE: Final = "0" * 16


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Frame: TypeAlias = tuple[str, str, str]
"""What stands between the values of a line: the same for all requests of one route with the same answer."""


class PlainLines:
    """Makes the lines that need no encoder.

    Args:
        constant: The fields that stand behind the level on every line.
        redactor: Takes the secrets out of the path.
        user_agents: The text of a user agent.
    """

    def __init__(self, constant: Mapping[str, Any], redactor: Redactor, user_agents: UserAgents) -> None:
        self._constant = _members(constant)
        self._redactor = redactor
        self._user_agents = user_agents
        self._frames: dict[tuple[object, ...], _Frame | None] = {}
        self._agents: dict[bytes | None, str] = {}
        self._paths: dict[str, None] = {}  # the plain ones
        self._tags: tuple[Mapping[str, str] | None, str] = (None, "")

    def __call__(
        self, record: RequestContext, timestamp: str, level: str, client: str | None, user_agent: bytes | None
    ) -> bytes | None:
        """The line; None where it takes the encoder."""
        path, method, request_id = record.path, record.method, record.request_id
        started_at, first_byte_at, ended_at = record.started_at, record.first_byte_at, record.ended_at
        if (
            record.exception is not None
            or record.error_code is not None
            or record.fields
            or record.degraded
            or record.close_code is not None
            or record.user_id is not None
            or first_byte_at is None
            or ended_at is None
            or not started_at <= first_byte_at <= ended_at
            or not (path in self._paths or self._is_plain_path(path))
            or not _is_plain(f"{request_id}{client}{record.trace_id}")
        ):
            return None
        answer = (level, method, record.status, record.outcome, record.route)
        frame = self._frames.get(answer) or self._frame(*answer)
        if frame is None:
            return None
        agent = self._agents.get(user_agent)
        if agent is None:
            agent = self._agent(user_agent)
        opening, answered, requested = frame
        named = "" if request_id is None else f'"request_id":"{request_id}",'
        address = "" if client is None else f',"client":{{"ip":"{client}"}}'
        nanoseconds = int((ended_at - started_at) * 1e9)
        took, ttfb = nanoseconds // 1000, int((first_byte_at - started_at) * 1e6)
        return (
            f'{{"timestamp":"{timestamp}{opening}{named}'
            f'"message":"{method} {path}{answered}'
            f'{took // 1000}{THOUSANDTHS[took % 1000]},"duration":{nanoseconds}{requested}{path}"}}{agent}}},'
            f'"network":{{"bytes_written":{record.bytes_sent}{address}}},'
            f'"ttfb_ms":{ttfb // 1000}{THOUSANDTHS[ttfb % 1000]}{self._trace(record)}}}\n'
        ).encode()

    def _is_plain_path(self, path: str) -> bool:
        if not _is_plain(path) or self._redactor.text(path) is not path:
            return False
        _remember(self._paths, path, None)
        return True

    def _frame(
        self, level: str, method: str, status: int | None, outcome: str | None, route: str | None
    ) -> _Frame | None:
        if method not in _METHODS or status is None or not _is_plain(f"{outcome}"):
            return None
        told = "" if route is None else _members({"route": route})
        frame = (
            f'","level":"{level}"{self._constant},',
            f' {status}","outcome":"{outcome}","duration_ms":',
            f',"http":{{"method":"{method}","status_code":{status}{told},"url_details":{{"path":"',
        )
        if len(told) <= _LONGEST:
            _remember(self._frames, (level, method, status, outcome, route), frame)
        return frame

    def _agent(self, user_agent: bytes | None) -> str:
        told = "" if user_agent is None else _members({"useragent": self._user_agents(user_agent)})
        if len(told) <= _LONGEST:
            _remember(self._agents, user_agent, told)
        return told

    def _trace(self, record: RequestContext) -> str:
        """What `record.log_fields` holds."""
        tags, trace_id, span_id = record.log_tags, record.trace_id, record.span_id
        if tags is None or trace_id is None or span_id is None:
            return ""
        if trace_id.startswith(_SHORT_TRACE):
            return _members(record.log_fields or {})
        known, text = self._tags
        if known is not tags:  # almost every process has one trace layer, and that one dict of tags
            text = _members(tags)
            self._tags = (tags, text)
        return f'{text},"dd.trace_id":"{trace_id}","dd.span_id":"{int(span_id, 16)}"'


def _is_plain(text: str) -> bool:
    """Whether text is short, and can stand in JSON as it is."""
    size = len(text)
    return size <= _LONGEST and text.isascii() and len(orjson.dumps(text)) == size + 2


def _members(fields: Mapping[str, Any]) -> str:
    """The members of a JSON object, each with a comma in front of it."""
    return f",{encode(dict(fields))[1:-2].decode()}" if fields else ""


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = value
