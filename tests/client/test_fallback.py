"""Fallbacks: what answers instead, when, and who is told."""

import asyncio

import pytest

from asgi_resilience.client import (
    AttemptTimedOut,
    Call,
    Fallback,
    FallbackUsed,
    Previous,
    RetryPolicy,
)
from asgi_resilience.client.degraded import mark_degraded
from asgi_resilience.context import request_scope
from asgi_resilience.testing import FailingDependency, Slow

pytestmark = pytest.mark.anyio


class MissingError(Exception):
    """404."""

    status_code = 404


async def test_another_function_answers(make, events):
    """When the cache is down, the database is asked, with the same arguments, after all retries."""
    cache, database = FailingDependency(ConnectionError()), FailingDependency("row")
    redis = make("redis", fallback=Call(database))
    assert await redis.call(cache, "key", option=1) == "row"
    assert len(cache.calls) == 4
    assert database.calls == [(("key",), {"option": 1})]
    (used,) = [each for each in events if isinstance(each, FallbackUsed)]
    assert (used.dependency, used.fallback, type(used.error)) == ("redis", "Call", ConnectionError)


async def test_a_rejected_call_falls_back(make):
    """An open circuit is a reason to fall back like any other: at once."""
    redis = make("redis", fallback=Call(FailingDependency("row")))
    redis.breaker.force_open()
    assert await redis.call(FailingDependency("cached")) == "row"


async def test_without_need_nothing_falls_back(make, events):
    """A success is nobody's business but the caller's."""
    database = FailingDependency("row")
    assert await make("redis", fallback=Call(database)).call(FailingDependency("cached")) == "cached"
    assert (database.calls, events) == ([], [])


@pytest.mark.parametrize("error", [TypeError("x"), MissingError()])
async def test_what_no_other_function_answers(make, error):
    """A bug, and an answer such as 404, are the caller's."""
    database = FailingDependency("row")
    with pytest.raises(type(error)):
        await make("redis", fallback=Call(database)).call(FailingDependency(error))
    assert database.calls == []


async def test_the_choice_is_the_callers(make):
    """`when` decides otherwise."""
    fallback = Call(FailingDependency("row"), when=lambda _dependency, error: isinstance(error, MissingError))
    dependency = make(fallback=fallback, retry=None)
    assert await dependency.call(FailingDependency(MissingError())) == "row"
    with pytest.raises(ConnectionError):
        await dependency.call(FailingDependency(ConnectionError()))


async def test_cancellation_is_not_hidden(make):
    """A cancelled call does not fall back."""
    database = FailingDependency("row")
    call = asyncio.create_task(make(fallback=(Call(database), Previous())).call(FailingDependency(Slow(9.0))))
    await asyncio.sleep(1.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert database.calls == []


async def test_a_fallback_that_fails(make):
    """The fallback's own error is the caller's, raised while the first one was handled."""
    with pytest.raises(ValueError) as raised:
        await make(retry=None, fallback=Call(FailingDependency(ValueError()))).call(
            FailingDependency(ConnectionError())
        )
    assert isinstance(raised.value.__context__, ConnectionError)


async def test_several_in_order(make):
    """The first fallback is tried first; the second hears of what that raised."""
    first, second = FailingDependency(ConnectionError("first")), FailingDependency("second")
    assert (
        await make(retry=None, fallback=[Call(first), Call(second)]).call(FailingDependency(OSError()))
        == "second"
    )
    assert len(first.calls) == 1


async def test_the_previous_value(make):
    """A failed load gives the last value that was loaded for the same key; a missing new version, too."""
    storage = make("storage", retry=None, fallback=Previous(key=lambda name, version: name))
    load = FailingDependency("v1", MissingError(), ConnectionError(), "v2")
    assert await storage.call(load, "model", version=1) == "v1"
    assert await storage.call(load, "model", version=2) == "v1"
    assert await storage.call(load, "model", version=2) == "v1"
    assert await storage.call(load, "model", version=2) == "v2"
    with pytest.raises(MissingError):
        await storage.call(FailingDependency(MissingError()), "other", version=1)


async def test_values_are_not_mixed_up(make):
    """Without a key, only the same call has a previous value: the price of one share is not that of another."""
    prices = make("prices", retry=None, fallback=Previous())
    ask = FailingDependency(1.5, ConnectionError(), ConnectionError())
    assert await prices.call(ask, "AAPL") == 1.5
    with pytest.raises(ConnectionError):
        await prices.call(ask, "MSFT")
    assert await prices.call(ask, "AAPL") == 1.5


async def test_a_bug_has_no_previous_value(make):
    """A mistake in the program is not hidden by an old value."""
    storage = make("storage", fallback=Previous())
    load = FailingDependency("v1", TypeError())
    assert await storage.call(load) == "v1"
    with pytest.raises(TypeError):
        await storage.call(load)


async def test_previous_values_are_bounded(make):
    """Only the values used last are kept."""
    storage = make("storage", retry=None, breaker=None, fallback=Previous(max_entries=2))
    load = FailingDependency("a", "b", ConnectionError(), "c", ConnectionError())
    for key in ("a", "b", "a", "c"):
        await storage.call(load, key)
    assert await storage.call(load, "a") == "a"
    assert await storage.call(load, "c") == "c"
    with pytest.raises(ConnectionError):
        await storage.call(load, "b")


async def test_an_unhashable_argument(make):
    """Arguments that can't be told apart are a TypeError that says what to do."""
    with pytest.raises(TypeError, match=r"db\.call\(.*its arguments can't be told apart.*key="):
        await make(fallback=Previous()).call(FailingDependency(1), ["unhashable"])


async def test_what_stands_in_is_not_kept(make):
    """A value that another fallback gave is not stored as a good one."""
    storage = make("storage", retry=None, fallback=(Call(FailingDependency("other")), Previous()))
    load = FailingDependency("good", ConnectionError(), MissingError())
    assert await storage.call(load) == "good"
    assert await storage.call(load) == "other"
    assert await storage.call(load) == "good"


@pytest.mark.parametrize("entries", [0, -1])
async def test_too_few_entries(entries):
    """At least one value is kept."""
    with pytest.raises(ValueError, match="max_entries="):
        Previous(max_entries=entries)


class Constant(Fallback):
    """A fallback of one's own."""

    async def run(self, call, proceed):
        try:
            return await proceed()
        except ConnectionError as error:
            mark_degraded(call, self, error)
            return 42


async def test_a_fallback_of_ones_own(make, record):
    """`run` is all that a fallback needs; closing it does nothing."""
    dependency = make(retry=None, fallback=Constant())
    with request_scope(record):
        assert await dependency.call(FailingDependency(ConnectionError())) == 42
    assert record.degraded == ("db",)
    await dependency.aclose()


async def test_the_request_says_that_it_is_degraded(make, record):
    """The record names each degraded dependency once, and so does the header of the response."""
    one, two = (make(name, retry=None, fallback=Constant()) for name in ("one", "two"))
    with request_scope(record):
        for dependency in (one, two, one):
            await dependency.call(FailingDependency(ConnectionError()))
    assert record.degraded == ("one", "two")
    message = {"headers": [(b"a", b"b")]}
    (hook,) = record.on_start
    hook(record, message)
    assert message["headers"] == [(b"a", b"b"), (b"x-degraded", b"one, two")]


async def test_a_response_that_has_started(make, record):
    """When the response has started, only the record can still tell."""
    record.response_started = True
    with request_scope(record):
        await make(retry=None, fallback=Constant()).call(FailingDependency(ConnectionError()))
    assert record.degraded == ("db",)
    assert record.on_start == []


async def test_the_fallback_stands_outside_of_the_retries(make, record):
    """The fallback answers when retries, breaker, timeout and deadline have had their say."""
    dependency = make(timeout=1.0, retry=RetryPolicy(max_retries=1), fallback=Constant())
    slow = FailingDependency(Slow(9.0), ConnectionError())
    assert await dependency.call(slow) == 42
    assert len(slow.calls) == 2
    with pytest.raises(AttemptTimedOut):
        await dependency.call(FailingDependency(Slow(9.0)))
