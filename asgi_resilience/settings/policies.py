"""The settings that are options of a layer: what the layer makes of a value is asked, so that a mistake shows at once."""

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from time import monotonic
from typing import Any, Final

from asgi_resilience.error_rule import ErrorRule
from asgi_resilience.faults import Fault, FaultPlan
from asgi_resilience.health_check import HealthCheck, HealthChecks
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.quota.fields import QuotaPolicy
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.settings.forms import HEADER_NAME, ask, by_path, one_of, seconds_or_none, several
from asgi_resilience.shedding.gate import PRIORITIES
from asgi_resilience.telemetry.keep import KeepRules
from asgi_resilience.timeouts import Timeouts

__all__ = (
    "checks",
    "errors",
    "faults",
    "keep_rules",
    "key_secret",
    "limit",
    "limit_key",
    "limits_by_path",
    "priorities_by_path",
    "redact_keys",
    "redact_patterns",
    "sink",
    "store_url",
    "timeouts_by_path",
)

_STORES: Final = ("redis://", "rediss://", "unix://")
_SECRET_SIZES: Final = range(16, 65)
_SINK: Final = ("increment", "gauge", "histogram")


def limit(value: Any) -> Any:
    """A rate limit in words, a `RateLimit`, several of them, or none."""
    if value is None:
        return None
    kept = value if isinstance(value, str | RateLimit) else several(value, str, RateLimit)
    rules: list[RateLimit] = []
    for each in (kept,) if isinstance(kept, str | RateLimit) else kept:
        rules += [each] if isinstance(each, RateLimit) else RateLimit.parse_many(each)
    if not rules:
        raise ValueError("expected at least one limit, or None for no limit")
    QuotaPolicy(tuple(rules))
    return kept


def limits_by_path(value: Any) -> Mapping[str, Any]:
    """Other limits for some paths."""
    return by_path(value, limit)


def limit_key(value: Any) -> Any:
    """What tells one client from another."""
    if isinstance(value, str):
        kind, _, header = value.partition(":")
        fits = value == "client" or (kind == "header" and HEADER_NAME.fullmatch(header.strip()) is not None)
    else:
        fits = callable(value) and not iscoroutinefunction(value)
    if not fits:
        raise ValueError("expected 'client', 'header:<name>', or a callable that returns without waiting")
    return value


def store_url(value: Any) -> str:
    """Where a shared quota store is."""
    if not isinstance(value, str) or not value.startswith(_STORES):
        raise ValueError("expected a URL such as redis://localhost:6379/0, rediss://… or unix://…, or None")
    return value


def key_secret(value: Any) -> str:
    """A secret that several processes share."""
    if not isinstance(value, str) or len(value.encode()) not in _SECRET_SIZES:
        raise ValueError("expected text of 16 to 64 bytes, or None")
    return value


def timeouts_by_path(value: Any) -> Mapping[str, Any]:
    """Other timeouts for some paths."""
    return by_path(value, lambda each: each if isinstance(each, Timeouts) else seconds_or_none(each))


def priorities_by_path(value: Any) -> Mapping[str, Any]:
    """Priorities of some paths."""
    return by_path(value, one_of(*PRIORITIES))


def redact_keys(value: Any) -> tuple[str, ...]:
    """Names of secrets."""
    keys = several(value)
    ask(Redactor, keys=keys)
    return keys


def redact_patterns(value: Any) -> tuple[str, ...]:
    """What secrets look like."""
    patterns = several(value)
    ask(Redactor, patterns=patterns)
    return patterns


def checks(value: Any) -> Any:
    """Health checks, by name or as `HealthCheck`s."""
    given: object = value
    kept = dict(value) if isinstance(given, Mapping) else several(value, HealthCheck)
    HealthChecks(kept, timeout=1.0, ttl=0.0, clock=monotonic)
    return kept


def faults(value: Any) -> Any:
    """Faults, or a plan of them."""
    given: object = value
    return value if isinstance(given, FaultPlan) else several(value, Fault)


def sink(value: Any) -> Any:
    """A metric sink."""
    if not all(callable(getattr(value, each, None)) for each in _SINK):
        raise ValueError(f"expected an object with the methods {', '.join(_SINK)}")
    return value


def errors(value: Any) -> tuple[int | str, ...]:
    """What counts as an error."""
    entries = several(value, int, str)
    ask(ErrorRule, entries)
    return entries


def keep_rules(value: Any) -> tuple[Any, ...]:
    """Several rules of which traces are kept."""
    rules = several(value, str, Callable)  # type: ignore[arg-type]  # an abstract class
    KeepRules(rules)
    return rules
