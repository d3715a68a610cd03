"""Calls that are too many: for the dependency that says so, and for the retry budget."""

import asyncio

import pytest

from asgi_resilience.client import (
    BudgetExhausted,
    BudgetPolicy,
    GateClosed,
    GaveUp,
    RateLimited,
    Rejected,
    RetryPolicy,
)
from asgi_resilience.context import request_scope
from asgi_resilience.testing import FailingDependency
from tests.client.calls import ThrottledError, now, only

pytestmark = pytest.mark.anyio


async def test_retry_after_is_waited(make, events):
    """A 429 with Retry-After is retried after that, not after our own schedule."""
    assert await make(rnd=lambda: 0.0).call(FailingDependency(ThrottledError(7.0), "value")) == "value"
    assert now() == 7.005
    assert only(events, GateClosed) == [GateClosed("db", 7.0)]


async def test_everybody_waits(make):
    """Calls that come later wait at the gate, and nothing is sent before the time is over."""
    dependency, sent = make(), []

    async def call(number):
        sent.append((number, now()))
        if len(sent) == 1:
            raise ThrottledError(4.0)
        return number

    first = asyncio.create_task(dependency.call(call, 0))
    await asyncio.sleep(1.0)
    others = [asyncio.create_task(dependency.call(call, number)) for number in range(1, 6)]
    assert await asyncio.gather(first, *others) == [0, 1, 2, 3, 4, 5]
    assert all(at >= 4.0 for _, at in sent[1:])


async def test_a_pause_that_is_too_long(make, events):
    """A wait beyond `max_retry_after` is given up at once; those who come later are refused by the gate if they must."""
    dependency = make(retry=RetryPolicy(max_retry_after=30.0))
    with pytest.raises(ThrottledError):
        await dependency.call(FailingDependency(ThrottledError(31.0)))
    assert only(events, GaveUp)[0].reason == "retry_after_too_long"
    assert dependency.gate.closed_until == 31.0


async def test_nobody_waits_longer_at_the_gate_than_for_a_retry(make, events):
    """A call that would have to wait beyond `max_retry_after` is refused by the gate, so that its fallback can answer."""
    dependency, service = make(retry=RetryPolicy(max_retry_after=2.0)), FailingDependency("value")
    dependency.gate.close(5.0, 0.0)
    with pytest.raises(RateLimited):
        await dependency.call(service)
    assert events == [Rejected("db", "rate_limited", 5.0)]
    await asyncio.sleep(4.0)
    assert await dependency.call(service) == "value"
    assert 5.0 <= now() < 6.0


async def test_refused_at_the_gate(make, events, record):
    """A request that can't wait for the gate is refused before anything is sent; it is nobody's failure."""
    dependency, service = make(), FailingDependency("value")
    dependency.gate.close(10.0, 0.0)
    record.deadline = 5.0
    with request_scope(record), pytest.raises(RateLimited):
        await dependency.call(service)
    assert service.calls == []
    assert events == [Rejected("db", "rate_limited", 10.0)]


async def test_rate_limits_are_no_failures(make):
    """However often 429 is answered, the circuit stays closed."""
    dependency = make(retry=None)
    for _ in range(20):
        with pytest.raises(ThrottledError):
            await dependency.call(FailingDependency(ThrottledError()))
    assert dependency.breaker.label == "closed"


async def test_a_spent_budget(make, events):
    """When retries are too large a share already, the first error is the last."""
    dependency = make(retry=RetryPolicy(budget=BudgetPolicy(ratio=0.2, floor=0.0)), breaker=None)
    service = FailingDependency(ConnectionError())
    for _ in range(10):
        with pytest.raises(ConnectionError):
            await dependency.call(service)
    assert len(service.calls) == 12
    assert only(events, BudgetExhausted)[0] == BudgetExhausted("db", 2)
    assert {each.reason for each in only(events, GaveUp)} == {"budget_exhausted"}


async def test_without_a_budget(make):
    """`budget=None` grants every retry."""
    dependency = make(retry=RetryPolicy(budget=None), breaker=None)
    service = FailingDependency(ConnectionError())
    for _ in range(50):
        with pytest.raises(ConnectionError):
            await dependency.call(service)
    assert len(service.calls) == 200
