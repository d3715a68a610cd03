"""Calls that are made later: queued, drained slowly, never lost in silence."""

import asyncio
import json
import logging
import os
import subprocess
import sys

import pytest

from asgi_resilience.client import (
    Cached,
    CallDeferred,
    Deferred,
    DeferredQueue,
    RetryPolicy,
    current_idempotency_key,
    deferred_queue,
    idempotency_key,
)
from asgi_resilience.context import current_request, failures, request_scope
from asgi_resilience.testing import FailingDependency

pytestmark = pytest.mark.anyio

DOWN = ConnectionError("down")


def now():
    """The event loop's clock."""
    return asyncio.get_running_loop().time()


class ThrottledError(Exception):
    """429."""

    status_code = 429

    def __init__(self, retry_after):
        self.retry_after = retry_after


class Results:
    """What the queue has told."""

    def __init__(self):
        self.made = []
        self.handed_back = []
        self.news = asyncio.Event()

    def on_result(self, call, result, error):
        self.made.append((call.key, result, error, now()))
        self.news.set()

    def on_handed_back(self, calls):
        self.handed_back += calls


@pytest.fixture
def results():
    """What the queue has told."""
    return Results()


@pytest.fixture
def queue(results):
    """A queue that tells."""
    return DeferredQueue(on_result=results.on_result, on_handed_back=results.on_handed_back)


async def deferred(dependency, func, *args):
    """A call that is queued."""
    with pytest.raises(CallDeferred) as queued:
        await dependency.call(func, *args)
    return queued.value


async def test_a_call_is_made_later(make, queue, results):
    """A call that fails is queued, and made after the delay; its caller is told under which key."""
    sports = make("sports", retry=None, fallback=Deferred(queue))
    ask = FailingDependency(DOWN, "odds")
    queued = await deferred(sports, ask, 7)
    assert (queued.dependency, queued.retry_after, len(queue)) == ("sports", 5.0, 1)
    assert queued.__cause__ is DOWN
    assert queued.key in str(queued)
    await results.news.wait()
    assert results.made == [(queued.key, "odds", None, 5.0)]
    assert ask.calls == [((7,), {})] * 2
    assert len(queue) == 0


async def test_the_dependency_says_when(make, queue, results):
    """A rate limit is waited for as long as it lasts, also beyond what the caller could have waited."""
    sports = make(
        "sports", retry=RetryPolicy(max_retry_after=10.0), rnd=lambda: 0.0, fallback=Deferred(queue)
    )
    queued = await deferred(sports, FailingDependency(ThrottledError(900.0), "odds"))
    assert queued.retry_after == 900.0
    await results.news.wait()
    assert results.made[0][3] == 900.0


async def test_an_open_circuit_is_waited_for(make, queue, results):
    """A call that was rejected is made when the circuit lets probes through."""
    sports = make("sports", retry=None, fallback=Deferred(queue))
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await sports.using(fallback=None).call(FailingDependency(DOWN))
    assert (await deferred(sports, FailingDependency("odds"))).retry_after == 30.0
    await results.news.wait()
    assert results.made[0][1:] == ("odds", None, 30.0)


async def test_it_is_drained_slowly(make, queue, results):
    """Calls are made one by one, an interval apart: what has just come back is not run over."""
    sports = make("sports", retry=None, breaker=None, fallback=Deferred(queue))
    for number in range(4):
        await deferred(sports, FailingDependency(DOWN, number))
    while len(results.made) < 4:
        results.news.clear()
        await results.news.wait()
    assert [(made[1], made[3]) for made in results.made] == [(0, 5.0), (1, 6.0), (2, 7.0), (3, 8.0)]
    await asyncio.sleep(10.0)
    await deferred(sports, FailingDependency(DOWN, "again"))
    results.news.clear()
    await results.news.wait()
    assert results.made[-1][1] == "again"


async def test_it_is_tried_until_it_expires(make, results):
    """A call that keeps failing is tried again, and given up with its last error when it expires."""
    queue = DeferredQueue(expires_after=14.0, on_result=results.on_result)
    ask = FailingDependency(DOWN)
    await deferred(make("sports", retry=None, breaker=None, fallback=Deferred(queue)), ask)
    await results.news.wait()
    assert results.made[0][2:] == (DOWN, 10.0)
    assert len(ask.calls) == 3


async def test_a_final_error_ends_it(make, queue, results):
    """An answer, or a bug, ends a deferred call: it would be the same every time."""
    error = TypeError()
    await deferred(make("sports", retry=None, fallback=Deferred(queue)), FailingDependency(DOWN, error))
    await results.news.wait()
    assert results.made[0][1:3] == (None, error)


async def test_what_is_not_queued(make, queue):
    """A bug is the caller's at once, and a full queue refuses: the caller gets the error."""
    sports = make("sports", retry=None, fallback=Deferred(queue))
    with pytest.raises(TypeError):
        await sports.call(FailingDependency(TypeError()))
    small = make("small", retry=None, fallback=Deferred(DeferredQueue(max_size=1)))
    await deferred(small, FailingDependency(DOWN))
    with pytest.raises(ConnectionError):
        await small.call(FailingDependency(DOWN))
    await small.aclose()


async def test_the_key_stays_the_same(make, queue, results):
    """All attempts of a call, also the deferred ones, run under one idempotency key."""
    keys = []

    async def ask():
        keys.append(current_idempotency_key())
        if len(keys) < 4:
            raise DOWN

    sports = make("sports", retry=RetryPolicy(max_retries=1), fallback=Deferred(queue))
    queued = await deferred(sports, ask)
    await results.news.wait()
    assert keys == [queued.key] * 4
    assert current_idempotency_key() is None


@pytest.mark.parametrize("how", ["block", "option"])
async def test_a_key_of_ones_own(make, queue, how):
    """The key can be that of the surrounding block, or follow from the arguments."""
    fallback = Deferred(queue, key=(lambda order: f"order-{order}") if how == "option" else None)
    sports = make("sports", retry=None, fallback=fallback)
    with idempotency_key("order-7") as key:
        assert (await deferred(sports, FailingDependency(DOWN, "ok"), 7)).key == key == "order-7"
    await sports.aclose()


async def test_it_belongs_to_no_request(make, queue, results, record):
    """A deferred call knows nothing of the request that queued it: neither its deadline nor its record."""
    seen = []

    async def ask():
        seen.append(current_request())
        if len(seen) == 1:
            raise DOWN
        return "odds"

    record.deadline = 2.0
    with request_scope(record):
        await deferred(make("sports", retry=None, fallback=Deferred(queue)), ask)
    await results.news.wait()
    assert seen == [record, None]
    assert record.degraded == ("sports",)


async def test_a_cached_value_meanwhile(make, queue, results):
    """A fallback that stands after the queue answers the caller, while the call waits."""
    sports = make("sports", retry=None, fallback=(Deferred(queue), Cached(ttl=0.0)))
    ask = FailingDependency("old", DOWN, "new")
    assert [await sports.call(ask) for _ in range(2)] == ["old", "old"]
    await results.news.wait()
    assert results.made[0][1] == "new"


async def test_the_rest_is_handed_back(make, queue, results):
    """At shutdown, what was not made is handed back, with all that is needed to make it elsewhere."""
    sports = make("sports", retry=None, fallback=Deferred(queue))
    ask = FailingDependency(DOWN)
    first = await deferred(sports, ask, 1)
    second = await deferred(sports, ask, 2)
    await sports.aclose()
    assert [(each.key, each.func, each.args, each.error) for each in results.handed_back] == [
        (first.key, ask, (1,), DOWN),
        (second.key, ask, (2,), DOWN),
    ]
    with pytest.raises(ConnectionError):
        await sports.call(ask)
    await sports.aclose()
    assert len(results.handed_back) == 2


async def test_a_call_in_flight_is_handed_back(make, queue, results):
    """A deferred call that is being made at shutdown is cancelled, and handed back like the others."""
    started = asyncio.Event()

    async def ask():
        if started.is_set() or now() > 0:
            started.set()
            await asyncio.sleep(60.0)
        raise DOWN

    sports = make("sports", retry=None, timeout=None, fallback=Deferred(queue))
    queued = await deferred(sports, ask)
    await started.wait()
    await sports.aclose()
    assert [each.key for each in results.handed_back] == [queued.key]


async def test_nothing_is_lost_in_silence(make, caplog):
    """Without functions that hear of them, lost calls are in the log, by their keys."""
    queue = DeferredQueue()
    sports = make("sports", retry=None, fallback=Deferred(queue))
    failed = await deferred(sports, FailingDependency(DOWN, TypeError()))
    made = await deferred(sports, FailingDependency(DOWN, "value"))
    await asyncio.sleep(7.0)
    left = await deferred(sports, FailingDependency(DOWN))
    caplog.clear()
    with caplog.at_level(logging.ERROR, "asgi_resilience.client"):
        await sports.aclose()
        assert [line.getMessage() for line in caplog.records] == [
            f"sports: deferred call {left.key} was not made before the shutdown"
        ]
    assert failed.key != made.key


async def test_a_lost_call_is_logged(make, caplog):
    """A deferred call that fails for good is an error in the log."""
    queued = await deferred(
        make("sports", retry=None, fallback=Deferred(DeferredQueue())), FailingDependency(DOWN, TypeError())
    )
    with caplog.at_level(logging.ERROR, "asgi_resilience.client"):
        await asyncio.sleep(7.0)
    assert f"sports: deferred call {queued.key} failed for good: TypeError" in caplog.text


async def test_a_function_that_raises(make):
    """A result that nobody wants to hear stops no queue."""
    told = []

    def on_result(call, result, error):
        told.append(result)
        raise RuntimeError

    before = failures.get(on_result.__qualname__, 0)
    sports = make("sports", retry=None, fallback=Deferred(DeferredQueue(on_result=on_result)))
    for number in (1, 2):
        await deferred(sports, FailingDependency(DOWN, number))
    await asyncio.sleep(10.0)
    assert told == [1, 2]
    assert failures[on_result.__qualname__] - before == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_size", 0), ("interval", 0.0), ("delay", -1.0), ("expires_after", float("inf"))],
)
async def test_values_out_of_range(option, value):
    """A queue names the value that it can't have."""
    with pytest.raises(ValueError, match=f"{option}="):
        DeferredQueue(**{option: value})


async def test_at_the_end_each_queue_hands_back(make, results):
    """Also when nobody can take what another one has."""

    def refuse(_calls):
        raise LookupError("nobody")

    queues = [DeferredQueue(on_handed_back=hear) for hear in (refuse, results.on_handed_back)]
    keys = [
        (await deferred(make(name, retry=None, fallback=Deferred(queue)), FailingDependency(DOWN))).key
        for name, queue in zip(("a", "b"), queues, strict=True)
    ]
    known = sum(failures.values())
    deferred_queue._hand_all_back()
    assert [each.key for each in results.handed_back] == keys[1:]
    assert sum(failures.values()) == known + 1


QUEUED_AND_FORGOTTEN = """
import asyncio, os, warnings
from asgi_resilience import Settings, configure_logging
from asgi_resilience.client import CallDeferred, Deferred, DeferredQueue, Dependency, idempotency_key

logging = configure_logging(Settings())
queue = DeferredQueue()
sports = Dependency("sports", retry=None, fallback=Deferred(queue))


async def ask():
    raise ConnectionRefusedError


async def main():
    with idempotency_key("the-key"):
        try:
            await sports.call(ask)
        except CallDeferred:
            pass


asyncio.run(main())
warnings.simplefilter("ignore")
if os.fork() == 0:
    assert len(queue) == 0
else:
    os.wait()
    assert len(queue) == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_without_a_shutdown_the_rest_is_handed_back_at_the_end_of_the_process():
    """By the process that has queued it, and not by one that was forked from it."""
    done = subprocess.run(
        [sys.executable, "-c", QUEUED_AND_FORGOTTEN],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    lost = [message for message in told if "not made before the shutdown" in message]
    assert lost == ["sports: deferred call the-key was not made before the shutdown"]
