"""The circuit breaker: when it opens, what it rejects, and what it does not count."""

import asyncio
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from aiobreaker import CircuitBreakerError

from asgi_resilience.client import BreakerPolicy
from asgi_resilience.client.breaker import CircuitOpen, PolicyBreaker
from asgi_resilience.client.events import StateChanged, WouldOpen
from tests.client.breakers import Gates, MissingError, NeutralError, failing, succeed

pytestmark = pytest.mark.anyio


async def test_five_failures_open_it(breaker, emitted):
    """The fifth failure in a row opens the circuit, and its caller sees the original exception."""
    await failing(breaker, 4)
    assert breaker.label == "closed"
    await failing(breaker)
    assert breaker.label == "open"
    assert emitted == [StateChanged("db", "closed", "open", "5 failures in a row", 0)]


@pytest.mark.parametrize("odd", [True, False])
async def test_half_of_ten_opens_it(breaker, odd):
    """Five failures among ten calls open it at the tenth, be that a failure or a success."""
    for number in range(10):
        assert breaker.label == "closed"
        if number % 2 == odd:
            await failing(breaker)
        else:
            await breaker.call_async(succeed)
    assert breaker.label == "open"


async def test_a_rejected_call(breaker):
    """While it is open, nothing is called; the rejection names the time left, and the last real error as its cause."""
    await failing(breaker, 5)
    breaker.clock.now = 10.0
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(pytest.fail, "called")
    assert (rejected.value.dependency, rejected.value.retry_after) == ("db", 20.0)
    assert isinstance(rejected.value, CircuitBreakerError)
    assert isinstance(rejected.value.__cause__, OSError)
    assert str(rejected.value) == rejected.value.message == "db: circuit open, tried again in 20 s"
    assert rejected.value.time_remaining == timedelta(seconds=20)
    assert abs(rejected.value.reopen_time - datetime.now(UTC) - timedelta(seconds=20)) < timedelta(seconds=5)


async def test_late_failures_do_not_prolong(breaker, emitted):
    """Calls that began while it was closed, and fail while it is open, neither open it again nor make it longer."""
    stragglers = Gates(breaker)
    await stragglers.begin(8)
    for number in range(5):
        await stragglers.end(number, OSError())
    breaker.clock.now = 20.0
    for number in range(5, 8):
        await stragglers.end(number, TimeoutError())
    assert breaker.retry_after() == 10.0
    assert isinstance(breaker.last_error, OSError)
    assert not isinstance(breaker.last_error, TimeoutError)
    assert len(emitted) == 1


async def test_a_late_outcome_of_an_earlier_closed_state(breaker):
    """A call that began before a reset is not counted after it."""
    early = Gates(breaker)
    await early.begin(4)
    breaker.reset()
    for number in range(4):
        await early.end(number, OSError())
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_neutral_errors_are_not_counted(breaker):
    """A neutral error neither breaks a streak nor adds to it, and reaches the caller unchanged."""
    await failing(breaker, 4)
    await failing(breaker, 50, NeutralError)
    assert breaker.label == "closed"
    await failing(breaker)
    assert breaker.label == "open"


async def test_answers_are_successes_while_closed(breaker):
    """A dependency that says no to a request is well: its answer ends a streak."""
    await failing(breaker, 4)
    await failing(breaker, 1, MissingError)
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_cancellations_are_not_counted(breaker):
    """A cancelled call says nothing, and its cancellation goes on."""
    calls = Gates(breaker)
    await calls.begin(20)
    for task in calls.tasks:
        task.cancel()
    await asyncio.wait(calls.tasks)
    assert all(task.cancelled() for task in calls.tasks)
    assert breaker.label == "closed"
    assert breaker.outcomes.streak == 0


async def test_a_rejection_does_not_grow(breaker):
    """The thousandth rejection has as long a traceback as the first, and so has its cause."""
    await failing(breaker, 5)
    lengths = set()
    for _ in range(1000):
        try:
            await breaker.call_async(succeed)
        except CircuitOpen as error:
            cause = error.__cause__
            lengths.add(
                (
                    len(traceback.extract_tb(error.__traceback__)),
                    len(traceback.extract_tb(cause.__traceback__)),
                )
            )
    assert len(lengths) == 1


async def test_rejections_are_counted(breaker, emitted):
    """What leaves a state says how many calls it rejected."""
    await failing(breaker, 5)
    for _ in range(7):
        with pytest.raises(CircuitOpen):
            await breaker.call_async(succeed)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    assert emitted[-1].rejected == 7


async def test_force_open(breaker):
    """Forced open, it rejects until it is reset, however long that is."""
    breaker.force_open()
    breaker.clock.now = 1e9
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(succeed)
    assert rejected.value.retry_after == breaker.retry_after() == 30.0
    assert breaker.label == "forced_open"
    breaker.reset()
    assert await breaker.call_async(succeed) == "value"


async def test_force_closed(breaker):
    """Forced closed, it lets everything through, and counts nothing."""
    breaker.force_closed()
    await failing(breaker, 50)
    assert await breaker.call_async(succeed) == "value"
    assert breaker.label == "forced_closed"
    breaker.reset()
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_metrics_only(breaker, emitted):
    """A breaker that only measures lets everything through, and says each time that it would have opened."""
    breaker.metrics_only()
    await failing(breaker, 10)
    assert breaker.label == "metrics_only"
    assert emitted[1:] == [WouldOpen("db", "5 failures in a row")] * 2


async def test_a_policy_of_its_own(clock):
    """Each number of the policy is the one that counts."""
    policy = BreakerPolicy(failures_in_a_row=2, open_for=5.0, close_after=1)
    breaker = PolicyBreaker("db", policy, clock=clock)
    await failing(breaker, 2)
    assert breaker.retry_after() == 5.0
    clock.now = 5.0
    await breaker.call_async(succeed)
    assert breaker.label == "closed"


async def test_the_event_loops_clock_is_the_default():
    """Without a clock, the running loop's counts."""
    breaker = PolicyBreaker("db")
    await failing(breaker, 5)
    await asyncio.sleep(29.0)
    assert breaker.label == "open"
    assert breaker.retry_after() == pytest.approx(1.0)
    await asyncio.sleep(1.0)
    assert await breaker.call_async(succeed) == "value"
