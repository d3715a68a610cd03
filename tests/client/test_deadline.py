"""A call within its time: of the attempt, and of the request."""

import pytest

from asgi_resilience.client import (
    AttemptFailed,
    AttemptTimedOut,
    CircuitOpen,
    DeadlineExceeded,
    GaveUp,
    Rejected,
)
from asgi_resilience.context import request_scope
from asgi_resilience.testing import FailingDependency, Slow
from tests.client.calls import ThrottledError, now, only

pytestmark = pytest.mark.anyio


async def test_a_slow_attempt_is_retried(make, events):
    """An attempt that exceeds the timeout is a failure like any other."""
    assert await make(timeout=1.0).call(FailingDependency(Slow(5.0), Slow(0.5, "value"))) == "value"
    assert now() == 1.0 + 0.1 + 0.5
    (failed,) = only(events, AttemptFailed)
    assert isinstance(failed.error, AttemptTimedOut)
    assert failed.duration == 1.0


async def test_slow_attempts_open_the_circuit(make):
    """Timeouts are inside the breaker: five of them in a row open it."""
    dependency = make(timeout=1.0, retry=None)
    for _ in range(5):
        with pytest.raises(AttemptTimedOut):
            await dependency.call(FailingDependency(Slow(9.0)))
    with pytest.raises(CircuitOpen):
        await dependency.call(FailingDependency("value"))


async def test_no_attempt_after_the_deadline(make, events, record):
    """A request without time left makes no call at all, and it is nobody's failure."""
    dependency, service = make(), FailingDependency("value")
    record.deadline = 0.0
    with request_scope(record), pytest.raises(DeadlineExceeded):
        await dependency.call(service)
    assert service.calls == []
    assert events == [Rejected("db", "deadline")]


async def test_the_deadline_cuts_an_attempt(make, record):
    """An attempt gets what the request has left; that it was cut says nothing about the dependency."""
    dependency = make(timeout=10.0)
    for number in range(1, 21):
        record.deadline = float(number)
        with request_scope(record), pytest.raises(DeadlineExceeded):
            await dependency.call(FailingDependency(Slow(60.0)))
        assert now() == number
    assert dependency.breaker.label == "closed"
    assert dependency.breaker.outcomes.streak == 0


async def test_no_sleep_beyond_the_deadline(make, events, record):
    """A retry that could only begin after the deadline is given up at once."""
    record.deadline = 0.25
    service = FailingDependency(ConnectionError())
    with request_scope(record), pytest.raises(ConnectionError):
        await make().call(service)
    assert (len(service.calls), now()) == (2, 0.1)
    assert only(events, GaveUp)[0].reason == "deadline"


async def test_a_retry_after_beyond_the_deadline(make, events, record):
    """A wait that is asked for, and does not fit, is given up at once, with what was asked for."""
    record.deadline = 5.0
    with request_scope(record), pytest.raises(ThrottledError) as raised:
        await make().call(FailingDependency(ThrottledError(7.0)))
    assert now() == 0.0
    assert raised.value.retry_after == 7.0
    (gave_up,) = only(events, GaveUp)
    assert (gave_up.reason, gave_up.retry_after) == ("deadline", 7.0)


async def test_jitter_leaves_time_before_the_deadline(make, record):
    """Jitter on a wait that was asked for shrinks where it would reach the deadline."""
    record.deadline = 8.0
    with request_scope(record):
        assert await make(rnd=lambda: 1.0).call(FailingDependency(ThrottledError(7.0), "value")) == "value"
    assert now() == 7.5
