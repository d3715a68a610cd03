"""Cancellation and shutdown: who waits is woken, and nothing is swallowed."""

import asyncio

import pytest

from asgi_resilience.client import (
    GaveUp,
    RetryPolicy,
    RetryScheduled,
)
from asgi_resilience.testing import FailingDependency, Slow
from tests.client.calls import now, only

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("after", [0.5, 1.05, 1.5])
async def test_cancellation_goes_on_at_once(make, events, after):
    """A call is cancelled while it attempts, sleeps or attempts again, at that very moment."""
    call = asyncio.create_task(make(timeout=None).call(FailingDependency(Slow(1.0, ConnectionError()))))
    await asyncio.sleep(after)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert now() == after
    assert only(events, GaveUp) == []


async def test_a_shutdown_wakes_sleepers(make, events):
    """At shutdown, a call that waits for its retry ends in its last error; attempts under way may end."""
    dependency = make(retry=RetryPolicy(base=4.0))
    sleeping = asyncio.create_task(dependency.call(FailingDependency(ConnectionError("last"))))
    flying = asyncio.create_task(dependency.call(FailingDependency(Slow(3.0, "value"))))
    failing = asyncio.create_task(dependency.call(FailingDependency(Slow(3.0, ConnectionError("final")))))
    await asyncio.sleep(1.0)
    await dependency.aclose()
    with pytest.raises(ConnectionError, match="last"):
        await sleeping
    assert now() == 1.0
    assert await flying == "value"
    with pytest.raises(ConnectionError, match="final"):
        await failing
    assert [each.reason for each in only(events, GaveUp)] == ["shutdown", "shutdown"]
    assert asyncio.current_task().cancelling() == 0


async def test_cancelled_while_it_is_woken(make):
    """A cancellation that comes together with the shutdown goes on."""
    dependency = make()
    sleeping = asyncio.create_task(dependency.call(FailingDependency(ConnectionError())))
    await asyncio.sleep(0.05)
    sleeping.cancel()
    await dependency.aclose()
    with pytest.raises(asyncio.CancelledError):
        await sleeping


async def test_events_of_a_call(make, events):
    """What happens is told in the order in which it happens."""
    error = ConnectionError()
    await make().call(FailingDependency(error, "value"))
    failed, scheduled = events
    assert (failed.attempt, failed.error, failed.rule, failed.outcome.value) == (
        1,
        error,
        "connection failure",
        "failure",
    )
    assert scheduled == RetryScheduled("db", 2, 0.1, "connection failure", None)
