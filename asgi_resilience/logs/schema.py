"""The one shape of every log line: a JSON object in the schema of the service, with Datadog's standard attributes.

    every line       timestamp level service version environment request_id user_id message error context duration_ms
                     logger dd.*
    of a request     http network duration ttfb_ms outcome sample_rate

A field without a value is absent. Levels are ERROR, WARN, INFO, DEBUG and TRACE, and CRITICAL for what asks for it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from asgi_resilience.context import RequestContext, current_request
from asgi_resilience.logs.encoding import encode, timestamps
from asgi_resilience.logs.record_fields import record_fields
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.logs.request_fields import UserAgents, error_fields
from asgi_resilience.logs.request_line import PlainLines

__all__ = ("ACCESS_LOGGER", "LEVELS", "TRACE", "LineFormatter")

TRACE: Final = 5
"""The level below DEBUG: SQL statements, requests and responses in full."""

LEVELS: Final = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": TRACE,
}
"""The names of the levels on the lines, and their numbers in `logging`; a number between two has the name below it."""

_NAMES: Final = {number: name for name, number in LEVELS.items()}

ACCESS_LOGGER: Final = "asgi_resilience.access"
"""`logger.name` of the lines of requests."""

_LONGEST_METHOD: Final = 32
_LONGEST_PATH: Final = 2048
_LONGEST_ID: Final = 256


class LineFormatter:
    """Makes the lines: of `logging` records, and of requests. Its methods never raise.

    Args:
        service: Of every line, as are the next two; absent when empty.
        environment: Such as `production`.
        version: Of the service.
        redactor: Takes the secrets out. None: one with the default options.
        clock: Seconds since 1970, for the lines of requests.
    """

    def __init__(
        self,
        *,
        service: str = "",
        environment: str = "",
        version: str = "",
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.redactor = redactor or Redactor()
        self._clock = clock
        self._timestamp = timestamps()
        self._user_agent = UserAgents(self.redactor)
        tags = {"service": service, "version": version, "environment": environment}
        self._tags = {name: value for name, value in tags.items() if value}
        self._of_request = {**self._tags, "logger": {"name": ACCESS_LOGGER}}
        self._plain = PlainLines(self._of_request, self.redactor, self._user_agent)

    def request(
        self,
        record: RequestContext,
        level: str = "INFO",
        client: str | None = None,
        user_agent: bytes | None = None,
        *,
        query: bytes | None = None,
        sample_rate: float | None = None,
    ) -> bytes:
        """The line of a request that is over.

        Args:
            record: What is known of it.
            level: A name in `LEVELS`; at ERROR the line has the stack trace of `record.exception`.
            client: The client's address.
            user_agent: As it came.
            query: The query string, when it is to be logged.
            sample_rate: The share of such lines that is kept, when it is not all of them.
        """
        timestamp = self._timestamp(self._clock())
        fields: dict[str, Any]
        try:
            if not query and sample_rate is None:
                line = self._plain(record, timestamp, level, client, user_agent)
                if line is not None:
                    return line
            fields = self._request(record, timestamp, level, client, user_agent)
            if query:
                fields["http"]["url_details"]["queryString"] = self.redactor.query(query[:_LONGEST_PATH])
            if sample_rate is not None:
                fields["sample_rate"] = sample_rate
            if (
                record.exception is not None
                or record.error_code is not None
                or record.fields
                or record.degraded
                or record.close_code is not None
            ):
                fields.update(error_fields(record, self.redactor, stack=level == "ERROR"))
        except Exception as error:  # noqa: BLE001 - whatever a handler has put into the record
            fields = {"timestamp": timestamp, "level": level, **self._of_request, "message": _lost(error)}
            fields["request_id"] = record.request_id
        return encode(fields)

    def _request(
        self,
        record: RequestContext,
        timestamp: str,
        level: str,
        client: str | None,
        user_agent: bytes | None,
    ) -> dict[str, Any]:
        # Almost every request has a value for almost each of these fields: making them all, and taking out those
        # without one, costs half of asking first.
        text = self.redactor.text
        method = record.method[:_LONGEST_METHOD]
        path = text(record.path[:_LONGEST_PATH])
        status, route, first_byte_at = record.status, record.route, record.first_byte_at
        nanoseconds = int(record.duration * 1e9)
        http: dict[str, Any] = {
            "method": method,
            "status_code": status,
            "route": route,
            "url_details": {"path": path},
            "useragent": None if user_agent is None else self._user_agent(user_agent),
        }
        network: dict[str, Any] = {"bytes_written": record.bytes_sent}
        fields: dict[str, Any] = {
            "timestamp": timestamp,
            "level": level,
            **self._of_request,
            "request_id": record.request_id,
            "message": f"{method} {path} {status}",
            "outcome": record.outcome,
            "duration_ms": nanoseconds // 1000 / 1000,
            "duration": nanoseconds,
            "http": http,
            "network": network,
        }
        if first_byte_at is not None:
            fields["ttfb_ms"] = int((first_byte_at - record.started_at) * 1e6) / 1000
        if record.user_id is not None:
            fields["user_id"] = text(str(record.user_id)[:_LONGEST_ID])
        trace = record.log_fields
        if trace is not None:
            fields.update(trace)
        if status is None:
            fields["message"] = f"{method} {path} {record.outcome}"
            del http["status_code"]
        if route is None:
            del http["route"]
        if user_agent is None:
            del http["useragent"]
        if client is not None:
            network["client"] = {"ip": client[:_LONGEST_ID]}
        if record.request_id is None:
            del fields["request_id"]
        return fields

    def record(self, record: logging.LogRecord) -> bytes:
        """The line of a `logging` record; of the current request when there is one."""
        level = _NAMES.get(record.levelno) or _level(record.levelno)
        fields: dict[str, Any] = {"timestamp": self._timestamp(record.created), "level": level, **self._tags}
        try:
            fields.update(record_fields(record, current_request(), self.redactor))
        except Exception as error:  # noqa: BLE001 - logging must not fail where the program does not
            fields["message"] = _lost(error)
        return encode(fields)

    def dropped(self, dropped: Mapping[str, int]) -> bytes:
        """The line that tells how many lines were dropped, by level: the `report` of a sink."""
        message = f"{sum(dropped.values())} log lines were dropped: the output did not take them in time"
        fields = {
            "timestamp": self._timestamp(self._clock()),
            "level": "WARN",
            **self._tags,
            "message": message,
        }
        return encode({**fields, "context": {"dropped": dict(dropped)}})


def _level(number: int) -> str:
    return next((name for name, least in LEVELS.items() if number >= least), "TRACE")


def _lost(error: Exception) -> str:
    return f"[a log line could not be made: {type(error).__name__}]"
