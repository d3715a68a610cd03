"""A call and its retries."""

import asyncio
import gc
import weakref

import pytest

from asgi_resilience.client import (
    GaveUp,
    RetryPolicy,
    RetryScheduled,
    Rule,
)
from asgi_resilience.testing import FailingDependency
from tests.client.calls import DeadlockError, ThrottledError, now, only

pytestmark = pytest.mark.anyio


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
