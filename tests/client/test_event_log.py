"""Outbound events in the log: one line each, with facts and without secrets."""

import logging

import pytest

from asgi_resilience.client import (
    AttemptFailed,
    BudgetExhausted,
    CircuitOpen,
    Event,
    FallbackUsed,
    GateClosed,
    GaveUp,
    Outcome,
    Rejected,
    RetryPolicy,
    RetryScheduled,
    StateChanged,
    WouldOpen,
)
from asgi_resilience.client.event_log import log_event
from asgi_resilience.testing import FailingDependency

pytestmark = pytest.mark.anyio


async def ended(awaitable):
    """Let a call end, however it does."""
    try:
        return await awaitable
    except Exception as error:
        return type(error)


class MissingError(Exception):
    """404."""

    status_code = 404


class ThrottledError(Exception):
    """429."""

    status_code = 429
    retry_after = 900.0


class BadDatabaseError(Exception):
    """Its text holds what must not be logged."""

    sqlstate = "40P01"


_PLAIN = {*vars(logging.makeLogRecord({})), "message", "taskName"}


ERROR = BadDatabaseError("Key (email)=(jane@example.com) already exists")


@pytest.mark.parametrize(
    ("event", "level", "message", "context"),
    [
        (
            AttemptFailed("db", 1, ERROR, "deadlock", Outcome.FAILURE, 0.0123),
            "WARNING",
            "db: attempt 1 failed: BadDatabaseError",
            {
                "attempt": 1, "error_type": "BadDatabaseError", "sqlstate": "40P01", "rule": "deadlock",
                "outcome": "failure", "duration_ms": 12.3,
            },
        ),
        (
            AttemptFailed("db", 1, MissingError(), "client error", Outcome.ANSWERED, 0.0),
            "DEBUG",
            "db: attempt 1 failed: MissingError",
            {
                "attempt": 1, "error_type": "MissingError", "status": 404, "rule": "client error",
                "outcome": "answered", "duration_ms": 0.0,
            },
        ),
        (
            RetryScheduled("db", 2, 0.1, "deadlock"),
            "WARNING",
            "db: attempt 2 follows in 100.0 ms",
            {"attempt": 2, "delay_ms": 100.0, "rule": "deadlock"},
        ),
        (
            RetryScheduled("db", 2, 7.005, "rate limit", 7.0),
            "WARNING",
            "db: attempt 2 follows in 7005.0 ms",
            {"attempt": 2, "delay_ms": 7005.0, "rule": "rate limit", "retry_after": 7.0},
        ),
        (
            BudgetExhausted("db", 2),
            "WARNING",
            "db: attempt 2 suppressed: the retry budget is spent",
            {"attempt": 2},
        ),
        (GateClosed("db", 7.0), "WARNING", "db: asked to be left alone for 7.0 s; all callers wait", {"seconds": 7.0}),
        (
            StateChanged("db", "closed", "open", "5 failures in a row", 0),
            "ERROR",
            "db: circuit open: 5 failures in a row",
            {"old": "closed", "new": "open", "reason": "5 failures in a row", "rejected": 0},
        ),
        (
            StateChanged("db", "open", "half_open", "time for probes", 7),
            "INFO",
            "db: circuit half_open: time for probes",
            {"old": "open", "new": "half_open", "reason": "time for probes", "rejected": 7},
        ),
        (
            StateChanged("db", "closed", "forced_open", "forced"),
            "WARNING",
            "db: circuit forced_open: forced",
            {"old": "closed", "new": "forced_open", "reason": "forced", "rejected": 0},
        ),
        (WouldOpen("db", "5 failures in a row"), "WARNING", "db: circuit would open: 5 failures in a row", {"reason": "5 failures in a row"}),
        (Rejected("db", "circuit_open", 3.0), "DEBUG", "db: call rejected: circuit_open", {"reason": "circuit_open", "retry_after": 3.0}),
        (Rejected("db", "deadline"), "WARNING", "db: call rejected: deadline", {"reason": "deadline"}),
        (
            FallbackUsed("db", "Cached", ThrottledError()),
            "WARNING",
            "db: answered by fallback Cached",
            {"fallback": "Cached", "error_type": "ThrottledError", "status": 429},
        ),
        (FallbackUsed("db", "Cached", None), "DEBUG", "db: answered by fallback Cached", {"fallback": "Cached"}),
        (
            FallbackUsed("db", "Call", CircuitOpen("db", 30.0)),
            "DEBUG",
            "db: answered by fallback Call",
            {"fallback": "Call", "error_type": "CircuitOpen"},
        ),
        (
            GaveUp("db", 4, "retries_exhausted", ERROR, 0.7, None),
            "WARNING",
            "db: gave up after 4 attempts: retries_exhausted",
            {"attempts": 4, "reason": "retries_exhausted", "error_type": "BadDatabaseError", "sqlstate": "40P01", "elapsed_ms": 700.0},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)  # fmt: skip
async def test_the_log(caplog, event, level, message, context):
    """An event is one line with its facts as fields; an exception's text is not among them."""
    with caplog.at_level(logging.DEBUG, "asgi_resilience.client"):
        log_event(event)
    (line,) = caplog.records
    facts = {name: value for name, value in vars(line).items() if name not in _PLAIN}
    assert (line.levelname, line.getMessage(), facts) == (level, message, {"dependency": "db", **context})
    assert "jane" not in str(vars(line))


async def test_a_level_that_is_off(caplog, make):
    """What is not to be logged is not put together."""
    with caplog.at_level(logging.CRITICAL, "asgi_resilience.client"):
        await ended(make(retry=RetryPolicy()).call(FailingDependency(ConnectionError())))
    assert not caplog.records
