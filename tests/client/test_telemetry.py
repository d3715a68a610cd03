"""Outbound calls and events for listeners, and as numbers. None of it changes an outcome."""

import asyncio

import pytest

from asgi_resilience.client import (
    Call,
    Deferred,
    DeferredQueue,
    StateChanged,
    add_listener,
    remove_listener,
    set_metric_sink,
)
from asgi_resilience.context import failures, request_scope
from asgi_resilience.metric_sink import NULL
from asgi_resilience.testing import FailingDependency, Slow

pytestmark = pytest.mark.anyio


pytestmark = pytest.mark.anyio


class Sink:
    """Keeps every number."""

    def __init__(self):
        self.numbers = []

    def increment(self, name, /, value=1, tags=()):
        self.numbers.append((name, value, tags))

    def gauge(self, name, /, value, tags=()):
        self.numbers.append((name, value, tags))

    def histogram(self, name, /, value, tags=()):
        self.numbers.append((name, value, tags))

    def named(self, name):
        """The values and tags of one name."""
        return [(value, *tags) for each, value, tags in self.numbers if each == name]


class BrokenSink:
    """Raises at every number."""

    def increment(self, name, /, value=1, tags=()):
        raise RuntimeError(name)

    gauge = histogram = increment


async def ended(awaitable):
    """Let a call end, however it does."""
    try:
        return await awaitable
    except Exception as error:
        return type(error)


class ThrottledError(Exception):
    """429."""

    status_code = 429
    retry_after = 900.0


class MissingError(Exception):
    """404."""

    status_code = 404


async def test_the_numbers_of_calls(make, record):
    """Each call is counted once and measured once, under its outcome."""
    sink = Sink()
    dependency = make(metrics=sink, timeout=1.0, retry=None)
    await dependency.call(FailingDependency("value"))
    await ended(dependency.call(FailingDependency(OSError())))
    await ended(dependency.call(FailingDependency(Slow(9.0))))
    await ended(dependency.call(FailingDependency(MissingError())))
    record.deadline = 0.0
    with request_scope(record):
        await ended(dependency.call(FailingDependency("value")))
    dependency.breaker.force_open()
    await ended(dependency.call(FailingDependency("value")))
    dependency.breaker.reset()
    await ended(
        dependency.using(fallback=Call(FailingDependency("other"))).call(FailingDependency(OSError()))
    )
    cancelled = asyncio.create_task(dependency.call(FailingDependency(Slow(0.5))))
    await asyncio.sleep(0.1)
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    await ended(dependency.call(FailingDependency(ThrottledError())))
    await ended(dependency.using(fallback=Deferred(DeferredQueue())).call(FailingDependency(OSError())))
    outcomes = (
        "ok",
        "error",
        "timeout",
        "answered",
        "deadline",
        "circuit_open",
        "degraded",
        "cancelled",
        "rate_limited",
        "deferred",
    )
    expected = [(1, "dependency:db", f"outcome:{outcome}") for outcome in outcomes]
    assert sink.named("outbound.calls") == expected
    assert [each[1:] for each in sink.named("outbound.duration")] == [each[1:] for each in expected]
    assert all(value >= 0 for value, *_ in sink.named("outbound.duration"))


async def test_the_numbers_of_events(make, record):
    """Retries, states, rejections and fallbacks are counted, under no other tags than dependency and outcome."""
    sink = Sink()
    dependency = make(metrics=sink)
    for _ in range(3):
        await ended(dependency.call(FailingDependency(ConnectionError())))
    await asyncio.sleep(30.0)
    for _ in range(3):
        await dependency.call(FailingDependency("value"))
    dependency.gate.close(9.0, asyncio.get_running_loop().time())
    record.deadline = asyncio.get_running_loop().time() + 1.0
    with request_scope(record):
        await ended(dependency.call(FailingDependency("value")))
    await dependency.using(fallback=Call(FailingDependency("other"))).call(FailingDependency(OSError()))
    assert sink.named("outbound.retries") == [(1, "dependency:db")] * 3
    assert sink.named("outbound.breaker.state") == [
        (2, "dependency:db"),
        (1, "dependency:db"),
        (0, "dependency:db"),
    ]
    assert sink.named("outbound.rejected") == [
        (1, "dependency:db", "outcome:circuit_open"),
        (1, "dependency:db", "outcome:rate_limited"),
    ]
    assert sink.named("outbound.fallbacks") == [(1, "dependency:db", "outcome:Call")]
    tags = {tag.partition(":")[0] for _, _, tags in sink.numbers for tag in tags}
    assert tags == {"dependency", "outcome"}


async def test_equal_tags_are_one_tuple(make):
    """Equal tags are one and the same object, so that a sink can key on it."""
    sink = Sink()
    dependency = make(metrics=sink)
    for _ in range(2):
        await dependency.call(FailingDependency("value"))
    assert len({id(tags) for _, _, tags in sink.numbers}) == 1


async def test_one_sink_for_all(make):
    """`set_metric_sink` reaches every dependency that has no sink of its own, also those made before."""
    shared, own = Sink(), Sink()
    early, late = make("early"), make("late", metrics=own)
    set_metric_sink(shared)
    try:
        await early.call(FailingDependency("value"))
        await late.call(FailingDependency("value"))
    finally:
        set_metric_sink(NULL)
    await early.call(FailingDependency("value"))
    assert shared.named("outbound.calls") == [(1, "dependency:early", "outcome:ok")]
    assert own.named("outbound.calls") == [(1, "dependency:late", "outcome:ok")]


async def test_a_sink_that_raises(make):
    """A sink's exception changes no outcome; it is counted."""
    before = failures.get("BrokenSink", 0)
    dependency = make(metrics=BrokenSink())
    assert await dependency.call(FailingDependency(ConnectionError(), "value")) == "value"
    assert failures["BrokenSink"] - before == 2


async def test_a_listener_that_raises(make, events):
    """A listener's exception changes no outcome, and keeps nothing from the other listeners."""

    def broken(event):
        raise RuntimeError

    before = failures.get(broken.__qualname__, 0)
    dependency = make(listeners=[broken, events.append])
    assert await dependency.call(FailingDependency(ConnectionError(), "value")) == "value"
    assert len(events) == 2
    assert failures[broken.__qualname__] - before == 2


async def test_a_listener_for_all(make):
    """`add_listener` hears of every dependency, until it is removed."""
    heard = []
    add_listener(heard.append)
    dependency = make()
    dependency.breaker.force_open()
    remove_listener(heard.append)
    dependency.breaker.reset()
    assert heard == [StateChanged("db", "closed", "forced_open", "forced")]
    with pytest.raises(ValueError):
        remove_listener(heard.append)
