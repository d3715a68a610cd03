"""Outbound events in the log: one line per event, with its facts as fields.

WARNING is what the service recovered from, ERROR a circuit that opened. What is not worth a line each (the 404s of a
lookup, every call that an open circuit rejects, and the fallback that answers it) is DEBUG; how many were rejected is told
when the circuit leaves its state, and the line of each request names its degraded dependencies.

Only the class of an exception is logged, and its status or SQLSTATE. Its text may hold an address with its query, or the
values of a database row.
"""

import logging
from dataclasses import fields
from typing import Any, Final

from asgi_resilience.client.breaker import CircuitOpen
from asgi_resilience.client.classification import Outcome
from asgi_resilience.client.events import (
    AttemptFailed,
    BudgetExhausted,
    Event,
    FallbackUsed,
    GateClosed,
    GaveUp,
    Rejected,
    RetryScheduled,
    StateChanged,
    WouldOpen,
)
from asgi_resilience.client.facts import facts_of

__all__ = ("log_event", "logs_rejections")

_logger: Final = logging.getLogger("asgi_resilience.client")

_MESSAGES: Final[dict[type[Event], str]] = {
    AttemptFailed: "{dependency}: attempt {attempt} failed: {error_type}",
    RetryScheduled: "{dependency}: attempt {attempt} follows in {delay_ms} ms",
    BudgetExhausted: "{dependency}: attempt {attempt} suppressed: the retry budget is spent",
    GateClosed: "{dependency}: asked to be left alone for {seconds} s; all callers wait",
    StateChanged: "{dependency}: circuit {new}: {reason}",
    WouldOpen: "{dependency}: circuit would open: {reason}",
    Rejected: "{dependency}: call rejected: {reason}",
    FallbackUsed: "{dependency}: answered by fallback {fallback}",
    GaveUp: "{dependency}: gave up after {attempts} attempts: {reason}",
}
_IN_MILLISECONDS: Final = frozenset(("delay", "duration", "elapsed"))


def log_event(event: Event) -> None:
    """Write one line for an event to the logger `asgi_resilience.client`, its facts in `extra`."""
    level = _level(event)
    if _logger.isEnabledFor(level):
        facts = _facts(event)
        _logger.log(level, _MESSAGES[type(event)].format_map(facts), extra=facts)


def logs_rejections() -> bool:
    """Whether calls that an open circuit rejects are logged one by one."""
    return _logger.isEnabledFor(logging.DEBUG)


def _level(event: Event) -> int:
    match event:
        case StateChanged(new="open"):
            return logging.ERROR
        case (
            Rejected(reason="circuit_open")
            | AttemptFailed(outcome=Outcome.ANSWERED)
            | FallbackUsed(error=CircuitOpen() | None)
        ):
            return logging.DEBUG
        case StateChanged(new="closed" | "half_open"):
            return logging.INFO
        case _:
            return logging.WARNING


def _facts(event: Event) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for each in fields(event):
        name, value = each.name, getattr(event, each.name)
        if isinstance(value, Exception):
            found = facts_of(value)
            facts["error_type"] = type(value).__qualname__
            facts.update(status=found.status, service_code=found.code, sqlstate=found.sqlstate)
        elif isinstance(value, Outcome):
            facts[name] = value.value
        elif name in _IN_MILLISECONDS:
            facts[f"{name}_ms"] = round(value * 1000, 1)
        else:
            facts[name] = value
    return {name: value for name, value in facts.items() if value is not None}
