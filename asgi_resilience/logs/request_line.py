"""The line of a request that went well, joined from pieces that are JSON already.

Almost all lines are such. Building a dict and encoding it costs three times as much, so that way is kept for those with
something to tell: an error, a `context`, or text that JSON would have to escape. Both make the same fields.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.encoding import encode
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.logs.request_fields import UserAgents

__all__ = ("PlainLines",)

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"))
_LONGEST: Final = 256
"""Characters of all free text of a line together; a field may have as many, so nothing here needs to be cut."""
_MOST_KNOWN: Final = 1024
_SHORT_TRACE: Final = "0" * 16


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
        self._agents: dict[bytes | None, str] = {None: ""}
        self._routes: dict[str | None, str] = {None: ""}
        self._tags: tuple[Mapping[str, str] | None, str] = (None, "")

    def __call__(
        self, record: RequestContext, timestamp: str, level: str, client: str | None, user_agent: bytes | None
    ) -> bytes | None:
        """The line; None where it takes the encoder."""
        method, path, request_id = record.method, record.path, record.request_id
        status, first_byte_at = record.status, record.first_byte_at
        nanoseconds = int(record.duration * 1e9)
        if (
            record.exception is not None
            or record.error_code is not None
            or record.fields
            or record.degraded
            or record.close_code is not None
            or record.user_id is not None
            or status is None
            or first_byte_at is None
            or method not in _METHODS
            or nanoseconds < 0
        ):
            return None
        free = f"{path}{request_id}{client}{record.outcome}{record.trace_id}"
        if (
            len(free) > _LONGEST
            or not free.isascii()
            or len(orjson.dumps(free)) > len(free) + 2  # something in it has to be escaped
            or self._redactor.text(path) is not path
        ):
            return None
        agent = self._agents.get(user_agent)
        if agent is None:
            told = {"useragent": self._user_agents(user_agent or b"")}
            agent = self._learn(self._agents, user_agent, _members(told))
        route = self._routes.get(record.route)
        if route is None:
            route = self._learn(self._routes, record.route, _members({"route": record.route}))
        named = "" if request_id is None else f'"request_id":"{request_id}",'
        address = "" if client is None else f',"client":{{"ip":"{client}"}}'
        return (
            f'{{"timestamp":"{timestamp}","level":"{level}"{self._constant},{named}'
            f'"message":"{method} {path} {status}","outcome":"{record.outcome}",'
            f'"duration_ms":{nanoseconds // 1000 / 1000},"duration":{nanoseconds},'
            f'"http":{{"method":"{method}","status_code":{status}{route},"url_details":{{"path":"{path}"}}{agent}}},'
            f'"network":{{"bytes_written":{record.bytes_sent}{address}}},'
            f'"ttfb_ms":{int((first_byte_at - record.started_at) * 1e6) / 1000}{self._trace(record)}}}\n'
        ).encode()

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

    @staticmethod
    def _learn(known: dict[Any, str], key: Any, text: str) -> str:
        if len(known) >= _MOST_KNOWN:
            known.clear()
            known[None] = ""
        if key is None or len(key) <= _LONGEST:
            known[key] = text
        return text


def _members(fields: Mapping[str, Any]) -> str:
    """The members of a JSON object, each with a comma in front of it."""
    return f",{encode(dict(fields))[1:-2].decode()}" if fields else ""
