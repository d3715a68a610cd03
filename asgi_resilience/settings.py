"""All settings of the stack in one frozen value, validated when it is made, readable from the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, Literal, Self, get_args

from asgi_resilience.logs.redaction import DEFAULT_KEYS, Redactor
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.quota.gcra import RateLimit

__all__ = ("ClientErrorLevel", "LogLevel", "RedactEmail", "Settings")

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
ClientErrorLevel = Literal["INFO", "WARN"]
RedactEmail = Literal["local", "domain"]

PREFIX = "ASGI_RESILIENCE_"
_TAGS = {"service": "DD_SERVICE", "environment": "DD_ENV", "version": "DD_VERSION"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `wrap` and `stack` build. Every field has a default that is good for production.

    Attributes:
        service: Name of the service on every log line. From `DD_SERVICE`.
        environment: Such as `production`. From `DD_ENV`.
        version: Of the service. From `DD_VERSION`.
        health: Answer `/health`, `/health/live`, `/health/ready` and `/health/startup`.
        health_path: Of the whole report; the three probes live below it.
        health_checks: Named async checks of dependencies, or `HealthCheck`s.
        request_id: Give every request an id.
        request_id_header: Name of its header, in and out.
        trust_request_id: Take over a well-formed inbound id: from everyone, from no one, or from these networks.
        trace_context: Find or make the ids that join log lines to traces.
        access_log: Write one line per request.
        access_log_sample_rate: Share of successful requests whose line is kept, 0 to 1; errors and slow ones always are.
        access_log_slow: Seconds from which a request is slow.
        access_log_exclude_paths: Paths, with everything below them, whose successful requests are not logged.
        client_error_level: Level of the line of a 4xx.
        log_level: Lines below it are not written.
        redact_keys: More names whose values are redacted, besides the built-in ones.
        redact_patterns: More regular expressions whose matches are redacted.
        redact_email: Which side of an e-mail address is masked.
        metrics: Feed `metric_sink`.
        metric_sink: Where the numbers go; by default nowhere, at no cost.
        error_envelope: Answer errors with the JSON envelope.
        rewrite_error_responses: Rewrite the framework's plain-text and HTML error pages, too.
        reraise: Raise unknown exceptions again after the answer, for the server and for tracers outside.
        docs_url: Where the error codes are explained; the base of `documentation_url`.
        rate_limit: Such as `"100/minute"`, several such, or `RateLimit`s. None: no limit.
        rate_limit_paths: Other limits for some paths and everything below them.
        rate_limit_key: `"client"`, `"header:X-API-Key"`, or a callable that gets the scope.
        rate_limit_exempt_paths: Paths that are not limited, with everything below them.
        rate_limit_headers: Send `RateLimit` and `RateLimit-Policy` with allowed responses.
        timeout: Seconds until the response starts. None: no limit.
        stream_idle_timeout: Seconds between two body messages. None: no limit.
        event_stream_idle_timeout: The same for `text/event-stream`. None: no limit.
        stream_timeout: Seconds from the start of a response to its end. None: no limit.
        timeout_paths: Other values of `timeout` (or whole `Timeouts`) for some paths and everything below them.
        timeout_exempt_paths: Paths without any timeout, with everything below them.
        deadline_header: Request header with the milliseconds left, believed from `trusted_proxies`. None: not read.
        trusted_proxies: Addresses and networks whose forwarding headers are believed.

    Raises:
        ValueError: A value is out of range; it names the field, the value and the range.
    """

    service: str = "asgi-app"
    environment: str = ""
    version: str = ""

    health: bool = True
    health_path: str = "/health"
    health_checks: Any = ()
    request_id: bool = True
    request_id_header: str = "X-Request-ID"
    trust_request_id: bool | tuple[str, ...] = True
    trace_context: bool = True
    access_log: bool = True
    access_log_sample_rate: float = 1.0
    access_log_slow: float = 1.0
    access_log_exclude_paths: tuple[str, ...] = ()
    client_error_level: ClientErrorLevel = "INFO"
    log_level: LogLevel = "INFO"
    redact_keys: tuple[str, ...] = ()
    redact_patterns: tuple[str, ...] = ()
    redact_email: RedactEmail = "local"
    metrics: bool = True
    metric_sink: MetricSink = NULL
    error_envelope: bool = True
    rewrite_error_responses: bool = True
    reraise: bool = True
    docs_url: str | None = None
    rate_limit: str | RateLimit | tuple[str | RateLimit, ...] | None = None
    rate_limit_paths: Mapping[str, Any] = field(default_factory=dict)
    rate_limit_key: str | Callable[[Any], str | None] = "client"
    rate_limit_exempt_paths: tuple[str, ...] = ()
    rate_limit_headers: bool = True
    timeout: float | None = 30.0
    stream_idle_timeout: float | None = 30.0
    event_stream_idle_timeout: float | None = None
    stream_timeout: float | None = None
    timeout_paths: Mapping[str, Any] = field(default_factory=dict)
    timeout_exempt_paths: tuple[str, ...] = ()
    deadline_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("log_level", self.log_level, get_args(LogLevel))
        _one_of("client_error_level", self.client_error_level, get_args(ClientErrorLevel))
        _one_of("redact_email", self.redact_email, get_args(RedactEmail))
        if not 0 <= self.access_log_sample_rate <= 1:
            raise ValueError(f"access_log_sample_rate={self.access_log_sample_rate!r}: expected 0 to 1")
        if not self.access_log_slow >= 0:
            raise ValueError(f"access_log_slow={self.access_log_slow!r}: expected seconds, 0 or more")
        if not self.health_path.startswith("/"):
            raise ValueError(f"health_path={self.health_path!r}: expected a path that starts with '/'")
        for option, seconds in (
            ("timeout", self.timeout),
            ("stream_idle_timeout", self.stream_idle_timeout),
            ("event_stream_idle_timeout", self.event_stream_idle_timeout),
            ("stream_timeout", self.stream_timeout),
        ):
            if seconds is not None and not 0 < seconds < inf:
                raise ValueError(f"{option}={seconds!r}: expected seconds above 0, or None for no limit")

    def redactor(self) -> Redactor:
        """What every log line of the service is redacted by."""
        return Redactor(
            keys=(*DEFAULT_KEYS, *self.redact_keys), patterns=self.redact_patterns, email=self.redact_email
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Settings from environment variables: `ASGI_RESILIENCE_<FIELD>`, and Datadog's tags first.

        `DD_SERVICE`, `DD_ENV` and `DD_VERSION` win over `ASGI_RESILIENCE_SERVICE` and its like. Switches read
        true/false, yes/no, on/off, 1/0; a number may be `none`; lists are separated by commas; paths with a value read
        `/reports=120,/stream=none`. Fields that hold objects (`metric_sink`, `health_checks`) are not read.

        Args:
            environ: Read instead of `os.environ`.
            overrides: Fields that are given in the code, and win over the environment.

        Raises:
            ValueError: A variable does not fit its field; it names the variable and the value.
        """
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for each in fields(cls):
            tag, name = _TAGS.get(each.name, ""), PREFIX + each.name.upper()
            read = _READERS.get(each.name) or _READERS_BY_TYPE.get(type(each.default))
            variable = tag if environ.get(tag) else name
            value = environ.get(variable)
            if value is None or read is None or each.name in overrides:
                continue
            try:
                found[each.name] = read(value.strip())
            except ValueError:
                form = (read.__doc__ or "").rstrip(".").lower()
                raise ValueError(f"{variable}={value!r}: expected {form}") from None
        try:
            return cls(**found, **overrides)
        except ValueError as error:
            field_name = str(error).partition("=")[0]
            raise ValueError(
                f"{PREFIX + field_name.upper() if field_name in found else field_name}: {error}"
            ) from None


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{option}={value!r}: expected one of {', '.join(allowed)}")


def _switch(text: str) -> bool:
    """True or false."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


def _number(text: str) -> float | None:
    """A number, or none."""
    return None if text.lower() in ("", "none") else float(text)


def _text(text: str) -> str:
    """Text."""
    return text


def _optional_text(text: str) -> str | None:
    """Text, or none."""
    return None if text.lower() in ("", "none") else text


def _list(text: str) -> tuple[str, ...]:
    """A list separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _switch_or_list(text: str) -> bool | tuple[str, ...]:
    """True, false, or networks separated by commas."""
    try:
        return _switch(text)
    except ValueError:
        return _list(text)


def _seconds_by_path(text: str) -> dict[str, float | None]:
    """Paths with seconds, as in /reports=120,/stream=none."""
    pairs = (part.partition("=") for part in _list(text))
    return {path.strip(): _number(value.strip()) for path, _, value in pairs}


def _texts_by_path(text: str) -> dict[str, str | None]:
    """Paths with limits, as in /login=5/minute,/assets=none."""
    pairs = (part.partition("=") for part in _list(text))
    return {path.strip(): _optional_text(value.strip()) for path, _, value in pairs}


_READERS_BY_TYPE: dict[type, Callable[[str], Any]] = {bool: _switch, float: _number, str: _text, tuple: _list}
_READERS: dict[str, Callable[[str], Any]] = {
    "trust_request_id": _switch_or_list,
    "docs_url": _optional_text,
    "deadline_header": _optional_text,
    "rate_limit": _optional_text,
    "event_stream_idle_timeout": _number,
    "stream_timeout": _number,
    "timeout_paths": _seconds_by_path,
    "rate_limit_paths": _texts_by_path,
}
