"""All settings of the stack in one frozen value, validated when it is made, readable from the environment."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, Self

from asgi_resilience.faults import Fault, FaultPlan
from asgi_resilience.faults.plan import IN_PRODUCTION
from asgi_resilience.logs.redaction import DEFAULT_KEYS, Redactor
from asgi_resilience.metric_sink import MetricSink
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.settings.readers import Reader
from asgi_resilience.settings.table import (
    FORMS,
    FORMS_BY_TYPE,
    OBJECTS,
    READERS,
    READERS_BY_TYPE,
    SECRETS,
    ClientErrorLevel,
    LogLevel,
    RedactEmail,
    UnknownClient,
)
from asgi_resilience.slo.objective import SLO

__all__ = ("Settings",)

_PREFIX: Final = "ASGI_RESILIENCE_"
_TAGS: Final = {"service": "DD_SERVICE", "environment": "DD_ENV", "version": "DD_VERSION"}


class SettingError(ValueError):
    """A setting that does not fit.

    Args:
        where: The field, or the variable that it comes from.
        value: What it was given.
        problem: What was expected instead.
    """

    def __init__(self, where: str, value: object, problem: str) -> None:
        secret = where.lower().endswith(SECRETS) and value is not None
        super().__init__(f"{where}={'***' if secret else repr(value)}: {problem}")
        self.where = where
        self.problem = problem


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
        drain_seconds: How long SIGTERM is held back from the server, while readiness is 503 and requests are served.
        request_id: Give every request an id.
        request_id_header: Name of its header, in and out.
        trust_request_id: Take over a well-formed inbound id: from everyone, from no one, or from these networks.
        trace_context: Find or make the ids that join log lines to traces.
        trust_trace: Believe inbound trace headers: of everyone, of no one, or of these networks.
        keep_traces: Requests whose traces are kept whatever the rules of sampling say: paths, `"header:X-Debug"`,
            `"header:X-Tier=gold"`, functions of the scope.
        route_resolver: Tells the template of a request's route from the scope, for routers that leave nothing there.
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
        metric_sink: Where the numbers go. None: to the pipeline of this process; `NULL`: nowhere, at no cost.
        metric_errors: What counts as an error: statuses, classes of them, error codes.
        dogstatsd: Send metrics to a DogStatsD agent. None: if the package `datadog` is installed.
        dogstatsd_distribution: Send histograms as distributions.
        prometheus_path: Where Prometheus finds the metrics, such as `/metrics`. None: nowhere.
        runtime_metrics: Measure event loop, process and machine, too; only without a `metric_sink` of one's own.
        runtime_metrics_interval: Seconds between two such measurements.
        slos: Objectives whose error budgets are kept, such as `DEFAULT_SLOS`.
        slo_state_file: Keeps the budgets across a restart. None: they begin full.
        faults: What goes wrong on purpose: `Fault`s, or a `FaultPlan`. Refused in production.
        error_envelope: Answer errors with the JSON envelope.
        rewrite_error_responses: Rewrite the framework's plain-text and HTML error pages, too.
        reraise: Raise unknown exceptions again after the answer, for the server and for tracers outside.
        docs_url: Where the error codes are explained; the base of `documentation_url`.
        rate_limit: Such as `"100/minute"`, several such, or `RateLimit`s. None: no limit.
        rate_limit_paths: Other limits for some paths and everything below them.
        rate_limit_key: `"client"`, `"header:X-API-Key"`, or a callable that gets the scope.
        rate_limit_exempt_paths: Paths that are not limited, with everything below them.
        rate_limit_headers: Send `RateLimit` and `RateLimit-Policy` with allowed responses.
        rate_limit_unknown_client: `"allow"`, `"refuse"`, or count as one (`"shared"`) clients without an address.
        rate_limit_store: Of counts that all processes share, such as `redis://localhost:6379/0`. None: each for itself.
        rate_limit_leased: Take from that store for about a second in advance, and not for each request.
        rate_limit_key_secret: 16 to 64 bytes, the same in all processes, for keys that are no addresses in that store.
        load_shed: Refuse with a 503 what could not be done in time.
        load_shed_limit: How many requests may be worked on at once. None: it is found out.
        load_shed_queue: How many more may wait for their turn.
        load_shed_max_wait: Seconds that one may wait in a burst; in a standing overload a twentieth of it.
        load_shed_lag_target: Seconds that the event loop may be behind. None: it is not watched.
        load_shed_paths: `"critical"` or `"sheddable"` for some paths and everything below them.
        load_shed_priority_header: Request header with the priority, believed from `trusted_proxies`. None: not read.
        load_shed_exempt_paths: Paths that are never refused, with everything below them.
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
    drain_seconds: float = 0.0
    request_id: bool = True
    request_id_header: str = "X-Request-ID"
    trust_request_id: bool | tuple[str, ...] = True
    trace_context: bool = True
    trust_trace: bool | tuple[str, ...] = True
    keep_traces: tuple[str | Callable[[Any], bool], ...] = ()
    route_resolver: Callable[[Any], str | None] | None = None
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
    metric_sink: MetricSink | None = None
    metric_errors: tuple[int | str, ...] = ("5xx",)
    dogstatsd: bool | None = None
    dogstatsd_distribution: bool = False
    prometheus_path: str | None = None
    runtime_metrics: bool = True
    runtime_metrics_interval: float = 15.0
    slos: tuple[SLO, ...] = ()
    slo_state_file: str | None = None
    faults: FaultPlan | tuple[Fault, ...] = ()
    error_envelope: bool = True
    rewrite_error_responses: bool = True
    reraise: bool = True
    docs_url: str | None = None
    rate_limit: str | RateLimit | tuple[str | RateLimit, ...] | None = None
    rate_limit_paths: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rate_limit_key: str | Callable[[Any], str | None] = "client"
    rate_limit_exempt_paths: tuple[str, ...] = ()
    rate_limit_headers: bool = True
    rate_limit_unknown_client: UnknownClient = "allow"
    rate_limit_store: str | None = field(default=None, repr=False)
    rate_limit_leased: bool = False
    rate_limit_key_secret: str | None = field(default=None, repr=False)
    load_shed: bool = False
    load_shed_limit: int | None = None
    load_shed_queue: int = 100
    load_shed_max_wait: float = 0.1
    load_shed_lag_target: float | None = 0.05
    load_shed_paths: Mapping[str, Any] = field(default_factory=dict[str, Any])
    load_shed_priority_header: str | None = None
    load_shed_exempt_paths: tuple[str, ...] = ()
    timeout: float | None = 30.0
    stream_idle_timeout: float | None = 30.0
    event_stream_idle_timeout: float | None = None
    stream_timeout: float | None = None
    timeout_paths: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout_exempt_paths: tuple[str, ...] = ()
    deadline_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            try:
                kept = (FORMS.get(each.name) or FORMS_BY_TYPE[type(each.default)])(value)
            except (ValueError, TypeError) as error:
                raise SettingError(each.name, value, str(error)) from None
            object.__setattr__(self, each.name, kept)
        for name in ("dogstatsd", "prometheus_path", "slos"):
            if getattr(self, name) and self.metric_sink is not None:
                raise SettingError(name, getattr(self, name), "does not go with a metric_sink")
        if self.rate_limit_store and self.rate_limit_key != "client" and not self.rate_limit_key_secret:
            problem = f"needed with a rate_limit_store and rate_limit_key={self.rate_limit_key!r}"
            raise SettingError("rate_limit_key_secret", None, problem)

    def redactor(self) -> Redactor:
        """What every log line of the service is redacted by."""
        return Redactor(
            keys=(*DEFAULT_KEYS, *self.redact_keys), patterns=self.redact_patterns, email=self.redact_email
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Settings from environment variables: `ASGI_RESILIENCE_<FIELD>`, and Datadog's tags first.

        `DD_SERVICE`, `DD_ENV` and `DD_VERSION` win over `ASGI_RESILIENCE_SERVICE` and its like. Switches read
        true/false, yes/no, on/off, 1/0; what may be None may be `none`; lists are separated by commas, `redact_patterns`
        by white space; paths with a value read `/reports=120,/stream=none`. An empty variable counts as one that is not
        set. Fields that hold objects (`metric_sink`, `health_checks`, `slos`, `faults`) are not read.

        A variable that names no field is a warning and not an error: a deployment may set it for another version.

        Args:
            environ: Read instead of `os.environ`.
            overrides: Fields that are given in the code, and win over the environment.

        Raises:
            ValueError: A variable does not fit its field; it names the variable, the value and what is expected.
        """
        environ = os.environ if environ is None else environ
        _warn_of_strangers(environ)
        found: dict[str, Any] = {}
        variables: dict[str, str] = {}
        for each in fields(cls):
            if each.name in OBJECTS or each.name in overrides:
                continue
            read = READERS.get(each.name) or READERS_BY_TYPE[type(each.default)]
            for variable in (_TAGS.get(each.name, ""), _PREFIX + each.name.upper()):
                value = environ.get(variable, "").strip()
                if value:
                    variables[each.name] = variable
                    found[each.name] = _read(read, variable, value)
                    break
        try:
            return cls(**found, **overrides)
        except SettingError as error:
            if error.where not in variables:
                raise
            variable = variables[error.where]
            raise SettingError(variable, environ[variable], error.problem) from None


def _read(read: Reader, variable: str, value: str) -> Any:
    try:
        return read(value)
    except ValueError:
        expected = (read.__doc__ or "").rstrip(".")
        raise SettingError(variable, value, f"expected {expected[:1].lower()}{expected[1:]}") from None


def _warn_of_strangers(environ: Mapping[str, str]) -> None:
    known = {_PREFIX + each.name.upper() for each in fields(Settings) if each.name not in OBJECTS}
    known.add(IN_PRODUCTION)
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in known:
            near = get_close_matches(variable, known, n=1)
            meant = f"; is {near[0]} meant?" if near else ""
            warnings.warn(f"{variable} is not a setting that can be read{meant}", stacklevel=3)
