"""All policies together: fallback(retry(breaker(attempt_timeout(call))))."""

import asyncio

import pytest

from asgi_resilience.client import (
    BreakerPolicy,
    CircuitOpen,
    GaveUp,
    RetryScheduled,
)
from asgi_resilience.testing import FailingDependency, Slow
from tests.client.calls import now, only

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("outcomes", "policy", "attempts", "error"),
    [
        # The breaker counts attempts: five failures are a call of four and one more.
        ([ConnectionError()] * 9, BreakerPolicy(), [4, 1, 0, 0], CircuitOpen),
        # A breaker that needs more leaves the retries alone.
        (
            [ConnectionError()] * 99,
            BreakerPolicy(failures_in_a_row=99, window=99),
            [4, 4, 4, 4],
            ConnectionError,
        ),
        # A breaker that trips in the middle of a call ends its retries.
        ([ConnectionError()] * 9, BreakerPolicy(failures_in_a_row=2), [2, 0, 0, 0], CircuitOpen),
        ([ConnectionError()] * 9, BreakerPolicy(failures_in_a_row=1), [1, 0, 0, 0], CircuitOpen),
        # Retries that succeed in time keep it closed.
        ([ConnectionError(), "ok"] * 9, BreakerPolicy(window=99), [2, 2, 2, 2], None),
        # Timeouts count like other failures.
        ([Slow(60.0)] * 9, BreakerPolicy(failures_in_a_row=4), [4, 0, 0, 0], CircuitOpen),
        # What is not retried can open it all the same.
        ([OSError("disk")] * 9, BreakerPolicy(failures_in_a_row=3), [1, 1, 1, 0], CircuitOpen),
        # Without a breaker, there are only retries.
        ([ConnectionError()] * 99, None, [4, 4, 4, 4], ConnectionError),
    ],
)
async def test_retry_around_breaker_around_timeout(make, outcomes, policy, attempts, error):
    """So many attempts reach the service in each of four calls, and the last of them ends like this."""
    dependency, service = make(timeout=1.0, breaker=policy), FailingDependency(*outcomes)
    made, ended = [], None
    for _ in range(4):
        before = len(service.calls)
        ended = None
        try:
            await dependency.call(service)
        except Exception as raised:
            ended = raised
        made.append(len(service.calls) - before)
    assert made == attempts
    assert ended is None if error is None else isinstance(ended, error)


async def test_the_call_that_trips_sees_its_own_error(make, events):
    """The attempt that opens the circuit is not followed by a rejection: its own error is the caller's, at once."""
    dependency = make(breaker=BreakerPolicy(failures_in_a_row=2))
    with pytest.raises(ConnectionError):
        await dependency.call(FailingDependency(ConnectionError()))
    assert now() == 0.1
    assert only(events, GaveUp)[0].reason == "circuit_open"


async def test_opened_by_others_meanwhile(make):
    """A retry that finds the circuit opened by others is rejected; the rejection's cause is the last real error."""
    dependency, last = make(), TimeoutError("last")
    sleeping = asyncio.create_task(dependency.call(FailingDependency(ConnectionError())))
    await asyncio.sleep(0.05)
    for _ in range(4):
        with pytest.raises(TimeoutError):
            await dependency.using(retry=None).call(FailingDependency(last))
    with pytest.raises(CircuitOpen) as rejected:
        await sleeping
    assert rejected.value.__cause__ is last


async def test_a_retry_can_be_the_probe(make):
    """A wait that lasts until the circuit lets probes through is worth it."""
    dependency = make(breaker=BreakerPolicy(failures_in_a_row=1, open_for=0.05))
    assert await dependency.call(FailingDependency(ConnectionError(), "value")) == "value"


async def test_one_dependency_inside_of_another(make, events):
    """What an inner dependency rejects is not held against the outer one, nor retried there."""
    inner, outer = make("inner"), make("outer")
    inner.breaker.force_open()
    for _ in range(20):
        with pytest.raises(CircuitOpen) as rejected:
            await outer.call(inner.call, FailingDependency("value"))
        assert rejected.value.dependency == "inner"
    assert outer.breaker.label == "closed"
    assert not only(events, RetryScheduled)
