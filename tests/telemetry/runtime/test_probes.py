"""Garbage, thread pools, rate limits, dependencies, and probes of others."""

import asyncio
import gc
import threading

import anyio
import anyio.to_thread
import pytest

from asgi_resilience.client import Dependency, RetryPolicy
from asgi_resilience.client.runtime_readings import dependency_readings
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.quota.memory import MemoryQuota, live_quotas
from asgi_resilience.telemetry.runtime import rate_limits
from asgi_resilience.telemetry.runtime.garbage import GarbagePauses
from asgi_resilience.telemetry.runtime.probes import add_probe, added_probes
from asgi_resilience.telemetry.runtime.rate_limits import RateLimits
from asgi_resilience.telemetry.runtime.thread_pools import thread_pools

only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


def numbers(readings):
    """What a probe says, by name and tags."""
    return {" ".join((metric.name, *tags)): value for metric, value, tags in readings}


def test_garbage():
    """Each collection since the last time is counted by generation, with the time that all and the longest took."""
    now = [0.0]
    pauses = GarbagePauses(clock=lambda: now[0])

    def slow(phase, info):
        now[0] += 0.25 * info["generation"] if phase == "start" else 0.0

    gc.disable()
    try:
        assert list(pauses()) == []
        gc.callbacks.append(slow)
        for generation in (0, 1, 2, 2):
            gc.collect(generation)
        found = numbers(pauses())
        assert found == {
            "runtime.gc.collections generation:0": 1,
            "runtime.gc.collections generation:1": 1,
            "runtime.gc.collections generation:2": 2,
            "runtime.gc.pause.total": 1250.0,
            "runtime.gc.pause.max": 500.0,
        }
        assert set(numbers(pauses()).values()) == {0}
        pauses.close()
        pauses.close()
        gc.collect()
        assert list(pauses()) == []
        assert set(numbers(pauses()).values()) == {0}
        pauses.close()
    finally:
        gc.callbacks.remove(slow)
        gc.enable()
    assert not [each for each in gc.callbacks if getattr(each, "__self__", None) is pauses]


def test_garbage_in_the_middle_of_a_collection():
    """A collection that began before it was watched is not counted: how long it took is not known."""
    pauses = GarbagePauses()
    gc.disable()
    try:
        list(pauses())
        pauses._collecting("stop", {"generation": 2})
        assert set(numbers(pauses()).values()) == {0}
    finally:
        pauses.close()
        gc.enable()


@pytest.mark.anyio
@pytest.mark.real_time
async def test_the_limiter_of_anyio():
    """Threads that work and calls that wait for one are counted, on asyncio and on trio."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 2
    go = threading.Event()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(anyio.to_thread.run_sync, go.wait)
        while limiter.statistics().tasks_waiting < 3:  # noqa: ASYNC110 - the limiter tells nobody
            await anyio.sleep(0.001)
        found = numbers(thread_pools())
        go.set()
    assert found["runtime.threads"] >= 1
    assert found["runtime.thread_pool.size pool:anyio"] == 2
    assert found["runtime.thread_pool.busy pool:anyio"] == 2
    assert found["runtime.thread_pool.waiting pool:anyio"] == 3
    limiter.total_tokens = 40


@pytest.mark.anyio
@pytest.mark.real_time
@only_asyncio
async def test_the_executor_of_the_loop():
    """The loop's default executor is measured once it was used: this Python still has the parts that are read."""
    assert "runtime.thread_pool.size pool:executor" not in numbers(thread_pools())
    loop, go, begun = asyncio.get_running_loop(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait()

    working = loop.run_in_executor(None, work)
    await asyncio.to_thread(begun.wait)
    while (found := numbers(thread_pools()))["runtime.thread_pool.busy pool:executor"] != 1:  # noqa: ASYNC110 - no news
        await asyncio.sleep(0.001)
    assert found["runtime.thread_pool.size pool:executor"] >= 4
    assert found["runtime.thread_pool.waiting pool:executor"] == 0
    go.set()
    await working


def test_rate_limits(monkeypatch):
    """The clients of all stores are added up, and those that were forgotten too early since the last time."""
    stores = [MemoryQuota(2, clock=lambda: 0.0), MemoryQuota(clock=lambda: 0.0)]
    assert set(stores) <= set(live_quotas())
    monkeypatch.setattr(rate_limits, "live_quotas", lambda: tuple(stores))
    measured, rules = RateLimits(), RateLimit.parse_many("10/minute")
    assert numbers(measured()) == {"rate_limit.clients": 0, "rate_limit.forgotten": 0}
    for key in "abc":
        for store in stores:
            store.take(key, rules)
    assert numbers(measured()) == {"rate_limit.clients": 5, "rate_limit.forgotten": 1}
    assert numbers(measured()) == {"rate_limit.clients": 5, "rate_limit.forgotten": 0}
    stores.pop(0)
    assert numbers(measured()) == {"rate_limit.clients": 3, "rate_limit.forgotten": 0}
    stores.clear()
    assert numbers(measured()) == {}


@pytest.mark.anyio
@only_asyncio
async def test_dependencies():
    """Breaker state, retry budget and who waits are told of each dependency that has them."""
    full = Dependency("full", rnd=lambda: 0.5)
    bare = Dependency("bare", breaker=None, retry=None)

    async def fail():
        raise ConnectionError

    def found(name):
        mine = {
            key: value for key, value in numbers(dependency_readings()).items() if key.endswith(f":{name}")
        }
        return {key.partition(" ")[0].removeprefix("outbound."): value for key, value in mine.items()}

    assert found("full") == {"waiting": 0, "breaker.state": 0, "retry_budget": 100.0}
    assert found("bare") == {"waiting": 0}
    calling = asyncio.create_task(full.using(retry=RetryPolicy(base=10.0, max_retries=1)).call(fail))
    await asyncio.sleep(1)
    assert found("full") == {"waiting": 1, "breaker.state": 0, "retry_budget": pytest.approx(99.2)}
    full.breaker.open()
    assert found("full")["breaker.state"] == 2
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    del bare


def test_probes_of_others():
    """A probe that is added is asked until it is removed; the client has added its own."""
    remove = add_probe(list)
    assert added_probes()[-1] is list
    remove()
    remove()
    assert list not in added_probes()
    assert dependency_readings in added_probes()
