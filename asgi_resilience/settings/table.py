"""How each setting is checked and read: the one table of forms and readers; without an entry, its type decides."""

from typing import Final, Literal, get_args

from asgi_resilience.settings import forms as form
from asgi_resilience.settings import policies as policy
from asgi_resilience.settings import readers as read_as
from asgi_resilience.slo.objective import objectives

__all__ = (
    "FORMS",
    "FORMS_BY_TYPE",
    "OBJECTS",
    "READERS",
    "READERS_BY_TYPE",
    "SECRETS",
    "ClientErrorLevel",
    "LogLevel",
    "RedactEmail",
    "UnknownClient",
)

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
ClientErrorLevel = Literal["INFO", "WARN"]
RedactEmail = Literal["local", "domain"]
UnknownClient = Literal["allow", "shared", "refuse"]


SECRETS: Final = (
    "rate_limit_key_secret",
    "rate_limit_store",
)  # whose values no error may show; a URL has a password

OBJECTS: Final = frozenset(("metric_sink", "health_checks", "slos", "faults", "route_resolver"))

FORMS_BY_TYPE: dict[type, form.Form] = {bool: form.switch, str: form.text, tuple: form.paths}
FORMS: dict[str, form.Form] = {
    "service": form.name,
    "health_path": form.path,
    "health_checks": policy.checks,
    "drain_seconds": form.seconds_or_zero,
    "request_id_header": form.header_name,
    "trust_request_id": form.switch_or_networks,
    "trust_trace": form.switch_or_networks,
    "keep_traces": policy.keep_rules,
    "route_resolver": form.function_or_none,
    "access_log_sample_rate": form.share,
    "access_log_slow": form.threshold,
    "client_error_level": form.one_of(*get_args(ClientErrorLevel)),
    "log_level": form.one_of(*get_args(LogLevel)),
    "redact_keys": policy.redact_keys,
    "redact_patterns": policy.redact_patterns,
    "redact_email": form.one_of(*get_args(RedactEmail)),
    "metric_sink": form.or_none(policy.sink),
    "metric_errors": policy.errors,
    "dogstatsd": form.or_none(form.switch),
    "prometheus_path": form.or_none(form.path),
    "runtime_metrics_interval": form.seconds,
    "slos": objectives,
    "slo_state_file": form.or_none(form.name),
    "faults": policy.faults,
    "docs_url": form.url_or_none,
    "rate_limit": policy.limit,
    "rate_limit_paths": policy.limits_by_path,
    "rate_limit_key": policy.limit_key,
    "rate_limit_unknown_client": form.one_of(*get_args(UnknownClient)),
    "rate_limit_store": form.or_none(policy.store_url),
    "rate_limit_key_secret": form.or_none(policy.key_secret),
    "load_shed_limit": form.or_none(form.count),
    "load_shed_queue": form.count_or_zero,
    "load_shed_max_wait": form.seconds,
    "load_shed_lag_target": form.seconds_or_none,
    "load_shed_paths": policy.priorities_by_path,
    "load_shed_priority_header": form.header_name_or_none,
    "timeout": form.seconds_or_none,
    "stream_idle_timeout": form.seconds_or_none,
    "event_stream_idle_timeout": form.seconds_or_none,
    "stream_timeout": form.seconds_or_none,
    "timeout_paths": policy.timeouts_by_path,
    "deadline_header": form.header_name_or_none,
    "trusted_proxies": form.networks,
}

READERS_BY_TYPE: dict[type, read_as.Reader] = {
    bool: read_as.switch,
    float: read_as.number,
    str: read_as.text,
    tuple: read_as.listed,
}
READERS: dict[str, read_as.Reader] = {
    "client_error_level": read_as.upper,
    "log_level": read_as.upper,
    "redact_patterns": read_as.words,
    "trust_request_id": read_as.switch_or_listed,
    "trust_trace": read_as.switch_or_listed,
    "docs_url": read_as.optional,
    "dogstatsd": read_as.switch_or_none,
    "prometheus_path": read_as.optional,
    "slo_state_file": read_as.optional,
    "deadline_header": read_as.optional,
    "rate_limit": read_as.optional,
    "rate_limit_store": read_as.optional,
    "rate_limit_key_secret": read_as.optional,
    "load_shed_limit": read_as.count,
    "load_shed_queue": read_as.count,
    "load_shed_paths": read_as.texts_by_path,
    "load_shed_priority_header": read_as.optional,
    "event_stream_idle_timeout": read_as.number,
    "stream_timeout": read_as.number,
    "timeout_paths": read_as.numbers_by_path,
    "rate_limit_paths": read_as.texts_by_path,
}
