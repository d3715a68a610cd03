"""A call under all its policies: fallback(retry(breaker(attempt_timeout(call)))), within the request's deadline."""

import asyncio
import gc
import weakref

import pytest

from asgi_resilience.client import (
    AttemptFailed,
    AttemptTimedOut,
    BreakerPolicy,
    BudgetExhausted,
    BudgetPolicy,
    CircuitOpen,
    DeadlineExceeded,
    GateClosed,
    GaveUp,
    RateLimited,
    Rejected,
    RetryPolicy,
    RetryScheduled,
    Rule,
)
from asgi_resilience.context import request_scope
from asgi_resilience.testing import FailingDependency, Slow

pytestmark = pytest.mark.anyio


def now():
    """The event loop's clock."""
    return round(asyncio.get_running_loop().time(), 6)


def only(events, kind):
    """The events of one type."""
    return [each for each in events if type(each) is kind]


class ThrottledError(Exception):
    """429, with or without a Retry-After."""

    def __init__(self, retry_after=None):
        self.status_code = 429
        self.retry_after = retry_after


class DeadlockError(Exception):
    """What asyncpg raises for one of two transactions that wait for each other."""

    sqlstate = "40P01"


# ------------------------------------------------------------------------------------------------------------- retry


async def test_a_success_is_passed_on(make, events):
    """What succeeds at once is returned as it is; nothing else happens."""
    service = FailingDependency({"id": 1})
    assert await make().call(service, 1, key="x") == {"id": 1}
    assert service.calls == [((1,), {"key": "x"})]
    assert events == []


async def test_three_retries_at_most(make, events):
    """A network error is retried after 100, 200 and 400 ms; the fourth attempt's error is the caller's, with a note."""
    service = FailingDependency(
        ConnectionResetError("1"), ConnectionResetError("2"), ConnectionResetError("3"), OSError("4")
    )
    with pytest.raises(OSError, match="4"):
        await make().call(service)
    assert now() == 0.7
    service = FailingDependency(ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone") as raised:
        await make("other").call(service)
    assert len(service.calls) == 4
    assert raised.value.__notes__ == [
        "asgi_resilience: other: gave up after 4 attempt(s) in 0.700 s: retries exhausted"
    ]
    assert [each.delay for each in only(events, RetryScheduled)] == [0.1, 0.2, 0.4] * 2


@pytest.mark.parametrize(
    ("errors", "attempts", "seconds"),
    [
        ([TimeoutError()], 4, 0.7),
        ([DeadlockError()], 4, 0.7),
        ([ThrottledError()], 6, 1.5),
        ([KeyError("x")], 1, 0.0),
        ([DeadlockError(), TimeoutError(), DeadlockError(), TimeoutError()], 4, 0.7),
        ([ThrottledError(), ThrottledError(), ThrottledError(), TimeoutError()], 4, 0.6),
        ([TimeoutError(), ThrottledError()], 6, 0.1 + 0.2 + 0.3 + 0.4 + 0.5),
        ([TimeoutError(), KeyError("x")], 2, 0.1),
    ],
)
async def test_rules_never_multiply(make, errors, attempts, seconds):
    """Each error is judged by its own rule against all retries made so far."""
    service = FailingDependency(*errors)
    with pytest.raises(type(errors[-1])):
        await make(breaker=None).call(service)
    assert len(service.calls) == attempts
    assert now() == pytest.approx(seconds)


async def test_without_a_policy_there_are_no_retries(make, events):
    """`retry=None` makes one attempt; the breaker hears of it all the same."""
    dependency = make(retry=None)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await dependency.call(FailingDependency(ConnectionError()))
    assert dependency.breaker.label == "open"
    assert only(events, RetryScheduled) == only(events, GaveUp) == []


async def test_the_bound_of_the_policy(make, events):
    """`RetryPolicy(max_retries=1)` allows two attempts, and 0 allows one, silently."""
    service = FailingDependency(ConnectionError())
    for bound, attempts in ((1, 2), (0, 3)):
        with pytest.raises(ConnectionError):
            await make(retry=RetryPolicy(max_retries=bound)).call(service)
        assert len(service.calls) == attempts
    assert len(only(events, GaveUp)) == 1


async def test_an_answer_after_a_failure(make, events):
    """A 404 after a timeout is the caller's answer; nobody gave up."""
    with pytest.raises(KeyError):
        await make(
            retry=RetryPolicy(rules=(Rule("missing", 0, errors=(KeyError,)), *RetryPolicy().rules))
        ).call(FailingDependency(TimeoutError(), KeyError("x")))
    assert only(events, GaveUp) == []


async def test_an_exception_group(make):
    """A group of errors that would each be retried is retried."""
    group = ExceptionGroup("both", [TimeoutError(), ConnectionError()])
    assert await make().call(FailingDependency(group, "value")) == "value"


async def test_a_group_with_a_cancellation(make):
    """A group that holds a cancellation is no error to judge: it goes on at once."""
    service = FailingDependency(BaseExceptionGroup("both", [TimeoutError(), asyncio.CancelledError()]))
    with pytest.raises(BaseExceptionGroup):
        await make().call(service)
    assert len(service.calls) == 1


async def test_what_the_error_was_raised_from_stays(make):
    """Retries change neither cause nor context of the last error."""
    cause, context = OSError("cause"), ValueError("context")

    async def fail():
        try:
            raise context
        except ValueError:
            raise ConnectionError from cause

    try:
        raise KeyError("unrelated")
    except KeyError:
        with pytest.raises(ConnectionError) as raised:
            await make().call(fail)
    assert (raised.value.__cause__, raised.value.__context__) == (cause, context)


async def test_one_note_only(make):
    """An exception object that is raised again and again collects no notes."""
    error = ConnectionError()
    dependency = make(breaker=None)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await dependency.call(FailingDependency(error))
    assert len(error.__notes__) == 1


async def test_nothing_is_kept_alive(make):
    """The exceptions of a call, and what their frames hold, are gone with the call, without the garbage collector."""

    class Held:
        pass

    kept = []

    async def fail():
        held = Held()
        kept.append(weakref.ref(held))
        raise ConnectionError

    dependency = make(breaker=None, listeners=[])
    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(ConnectionError):
                await dependency.call(fail)
        await asyncio.sleep(0)
        assert len(kept) == 20
        alive = sum(each() is not None for each in kept[:-4])
    finally:
        gc.enable()
    assert alive == 0


# --------------------------------------------------------------------------------------------------- timeout, deadline


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


# ---------------------------------------------------------------------------------------------------------- 429, gate


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


# ------------------------------------------------------------------------------------------------------------- budget


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


# --------------------------------------------------- composition, after MicroProfile Fault Tolerance's table of cases


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


# --------------------------------------------------------------------------------------------- cancellation, shutdown


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
