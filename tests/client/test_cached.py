"""The cache: fresh, stale and gone; one refresh for all; nothing old after a 404."""

import asyncio

import pytest

from asgi_resilience.client import Cached, Call, DeadlineExceeded, MemoryStore
from asgi_resilience.context import failures, request_scope
from asgi_resilience.testing import FailingDependency, Slow

pytestmark = pytest.mark.anyio


class MissingError(Exception):
    """404."""

    status_code = 404


def now():
    """The event loop's clock."""
    return asyncio.get_running_loop().time()


async def test_a_fresh_value_needs_no_call(make, record):
    """For `ttl` seconds the value is given out without a call, and nothing is degraded."""
    dependency, ask = make(fallback=Cached(ttl=60.0)), FailingDependency("one", "two")
    with request_scope(record):
        assert [await dependency.call(ask, 1) for _ in range(3)] == ["one"] * 3
        await asyncio.sleep(59.9)
        assert await dependency.call(ask, 1) == "one"
        await asyncio.sleep(0.1)
        assert await dependency.call(ask, 1) == "two"
    assert len(ask.calls) == 2
    assert record.degraded == ()


async def test_arguments_are_the_key(make):
    """Other arguments are another value."""
    dependency, ask = make(fallback=Cached(ttl=60.0)), FailingDependency("one", "two")
    assert [await dependency.call(ask, key) for key in (1, 2, 1)] == ["one", "two", "one"]


async def test_a_key_of_ones_own(make):
    """`key` says which calls are the same."""
    dependency = make(fallback=Cached(ttl=60.0, key=lambda match, **_: match))
    ask = FailingDependency("one", "two")
    assert [await dependency.call(ask, 7, trace=trace) for trace in "ab"] == ["one", "one"]


async def test_a_stale_value_stands_in(make, record, events):
    """For `stale_for` seconds after that it stands in for an error, and the request says so."""
    dependency = make(retry=None, fallback=Cached(ttl=10.0, stale_for=20.0, rest=0.0))
    ask = FailingDependency("old", ConnectionError())
    await dependency.call(ask)
    await asyncio.sleep(29.9)
    with request_scope(record):
        assert await dependency.call(ask) == "old"
    assert record.degraded == ("db",)
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionError):
        await dependency.call(ask)


async def test_only_standing_in(make):
    """`ttl=0.0` makes every call, and keeps the value for errors only."""
    dependency = make(retry=None, fallback=Cached(ttl=0.0))
    ask = FailingDependency("one", "two", ConnectionError())
    assert [await dependency.call(ask) for _ in range(3)] == ["one", "two", "two"]


async def test_a_failed_refresh_is_not_repeated_at_once(make, events):
    """For `rest` seconds after a failed refresh, the stale value is given out without another attempt."""
    dependency = make(retry=None, fallback=Cached(ttl=10.0, rest=5.0))
    ask = FailingDependency("old", ConnectionError(), "new")
    await dependency.call(ask)
    await asyncio.sleep(10.0)
    assert [await dependency.call(ask) for _ in range(9)] == ["old"] * 9
    assert len(ask.calls) == 2
    assert events[-1].error is None
    await asyncio.sleep(5.0)
    assert await dependency.call(ask) == "new"


async def test_an_answer_removes_the_value(make):
    """A 404 is the truth: it is the caller's, and the old value is gone."""
    dependency = make(retry=None, fallback=Cached(ttl=0.0))
    ask = FailingDependency("old", MissingError(), ConnectionError())
    assert await dependency.call(ask) == "old"
    with pytest.raises(MissingError):
        await dependency.call(ask)
    with pytest.raises(ConnectionError):
        await dependency.call(ask)


async def test_a_bug_is_not_hidden(make):
    """A mistake in the program is the caller's, whatever the cache holds."""
    dependency = make(fallback=Cached(ttl=0.0))
    ask = FailingDependency("old", TypeError())
    await dependency.call(ask)
    with pytest.raises(TypeError):
        await dependency.call(ask)


async def test_one_call_for_all(make):
    """Of a hundred that ask for the same at once, one makes the call and all get its value."""
    dependency, ask = make(fallback=Cached(ttl=60.0)), FailingDependency(Slow(1.0, "value"))
    assert await asyncio.gather(*(dependency.call(ask) for _ in range(100))) == ["value"] * 100
    assert len(ask.calls) == 1


async def test_one_error_for_all(make):
    """When that call fails, all get its error, or the stale value."""
    dependency, ask = (
        make(retry=None, fallback=Cached(ttl=0.0, rest=0.0)),
        FailingDependency(Slow(1.0, ConnectionError())),
    )
    ended = await asyncio.gather(*(dependency.call(ask) for _ in range(10)), return_exceptions=True)
    assert {type(each) for each in ended} == {ConnectionError}
    assert len(ask.calls) == 1


async def test_a_cancelled_refresh_is_taken_over(make):
    """When the one that makes the call is cancelled, another one of those who wait makes it."""
    dependency, ask = (
        make(fallback=Cached(ttl=60.0)),
        FailingDependency(Slow(2.0, "lost"), Slow(2.0, "value")),
    )
    first, *others = [asyncio.create_task(dependency.call(ask)) for _ in range(5)]
    await asyncio.sleep(1.0)
    first.cancel()
    assert await asyncio.gather(*others) == ["value"] * 4
    assert (len(ask.calls), now()) == (2, 3.0)
    assert first.cancelled()


async def test_one_requests_deadline_is_not_anothers(make, record):
    """When the one that makes the call runs out of time, another one makes it, with time of its own."""
    dependency, ask = make(fallback=Cached(ttl=60.0)), FailingDependency(Slow(2.0, "value"))
    record.deadline = 1.0
    with request_scope(record):
        first = asyncio.create_task(dependency.call(ask))
    await asyncio.sleep(0)
    second = asyncio.create_task(dependency.call(ask))
    with pytest.raises(DeadlineExceeded):
        await first
    assert await second == "value"
    assert now() == 3.0


async def test_waiting_for_somebody_elses_call_has_an_end(make, record):
    """Who waits for another's call waits no longer than its own request may."""
    dependency, ask = make(fallback=Cached(ttl=60.0)), FailingDependency(Slow(5.0, "value"))
    first = asyncio.create_task(dependency.call(ask))
    await asyncio.sleep(0)
    record.deadline = 1.0
    with request_scope(record), pytest.raises(DeadlineExceeded):
        await dependency.call(ask)
    assert now() == 1.0
    assert await first == "value"


async def test_what_stands_in_is_not_kept(make):
    """A value that another fallback gave is not cached as if it were true."""
    dependency = make(retry=None, fallback=(Call(FailingDependency("other")), Cached(ttl=60.0)))
    ask = FailingDependency(ConnectionError(), "true")
    assert [await dependency.call(ask) for _ in range(3)] == ["other", "true", "true"]


class BrokenStore:
    """Raises whatever it is asked."""

    async def get(self, key):
        raise ConnectionError

    async def set(self, key, entry):
        raise ConnectionError

    async def delete(self, key):
        raise ConnectionError


async def test_a_broken_store(make):
    """Without its store, the cache is one that never has anything."""
    before = failures.get("BrokenStore", 0)
    dependency = make(retry=None, fallback=Cached(BrokenStore(), ttl=60.0))
    assert await dependency.call(FailingDependency("value")) == "value"
    with pytest.raises(MissingError):
        await dependency.call(FailingDependency(MissingError()))
    assert failures["BrokenStore"] - before == 4


async def test_the_store_in_memory_is_bounded(make):
    """Only the values used last are kept."""
    dependency = make(fallback=Cached(MemoryStore(2), ttl=60.0))
    ask = FailingDependency("a", "b", "c", "again")
    assert [await dependency.call(ask, key) for key in "abacab"] == ["a", "b", "a", "c", "a", "again"]
    with pytest.raises(ValueError, match="max_entries=0"):
        MemoryStore(0)


@pytest.mark.parametrize("option", ["ttl", "stale_for", "rest"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
async def test_values_out_of_range(option, value):
    """A cache names the value that it can't have."""
    with pytest.raises(ValueError, match=f"{option}="):
        Cached(**{"ttl": 1.0, option: value})
