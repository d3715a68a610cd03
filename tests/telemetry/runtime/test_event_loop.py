"""Loop lag and tasks, on virtual time."""

import asyncio
import gc
import weakref

import anyio
import pytest

from asgi_resilience.telemetry.runtime.event_loop import LoopLag, tasks
from asgi_resilience.testing import VirtualTimeLoop

pytestmark = pytest.mark.anyio
only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


class Clock:
    """The loop's virtual time, and what callbacks have taken."""

    blocked = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.blocked


def milliseconds(lag):
    """What a probe says, by the end of the metric's name."""
    return {metric.name.rpartition(".")[2]: value for metric, value, _ in lag()}


@only_asyncio
async def test_a_block_that_covers_a_timer():
    """A callback that holds the loop up while a timer is due makes it late by the rest of its time."""
    clock = Clock()
    lag = LoopLag(clock=clock)
    assert milliseconds(lag) == {}
    await asyncio.sleep(10.1)
    assert milliseconds(lag) == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    asyncio.get_running_loop().call_later(0.3, lambda: setattr(clock, "blocked", 0.25))
    await asyncio.sleep(10)
    found = milliseconds(lag)
    assert found == pytest.approx({"p50": 0.0, "p99": 250.0, "max": 250.0})
    await asyncio.sleep(10)
    assert milliseconds(lag) == pytest.approx({"p50": 0.0, "p99": 0.0, "max": 0.0})
    lag.close()


@only_asyncio
async def test_percentiles():
    """Of a hundred latenesses, p50 is the one in the middle, p99 and max are the worst ones."""
    clock = Clock()
    lag = LoopLag(interval=1.0, clock=clock)
    assert milliseconds(lag) == {}
    loop = asyncio.get_running_loop()
    for number in range(100):

        def block(number=number):
            clock.blocked += number / 1000

        loop.call_later(number + 0.5, block)
    await asyncio.sleep(100.5)
    assert milliseconds(lag) == pytest.approx({"p50": 50.0, "p99": 99.0, "max": 99.0})
    lag.close()


@only_asyncio
async def test_a_timer_that_is_early():
    """A timer that rings a little early, as those of uvloop may, is not late."""
    clock = Clock()
    lag = LoopLag(clock=clock)
    assert milliseconds(lag) == {}
    clock.blocked = -0.001
    await asyncio.sleep(0.6)
    assert milliseconds(lag) == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    lag.close()


@only_asyncio
async def test_nobody_asks():
    """What is not asked for is not kept for longer than ten minutes; it does not add up."""
    lag = LoopLag(clock=Clock())
    assert milliseconds(lag) == {}
    await asyncio.sleep(86_400)
    assert len(lag._late) == 1200
    lag.close()


@only_asyncio
async def test_it_is_cheap():
    """Two timers a second, and nothing else: no task, and no more than one timer at a time."""
    lag = LoopLag(clock=Clock())
    before = len(asyncio.all_tasks())
    assert milliseconds(lag) == {}
    await asyncio.sleep(60.1)
    assert len(lag._late) == 120
    assert len(asyncio.all_tasks()) == before
    assert sum(not each.cancelled() for each in asyncio.get_running_loop()._scheduled) == 1
    lag.close()


@only_asyncio
async def test_closed():
    """After `close` there is no timer left; asked again, it begins anew."""
    lag = LoopLag(clock=Clock())
    lag.close()
    assert milliseconds(lag) == {}
    await asyncio.sleep(1.1)
    lag.close()
    assert milliseconds(lag) == {}
    await asyncio.sleep(1.1)
    assert list(milliseconds(lag)) == ["p50", "p99", "max"]
    lag.close()


def test_another_loop():
    """Asked on another event loop it watches that one."""
    lag = LoopLag(clock=Clock())

    async def main():
        first = milliseconds(lag)
        await asyncio.sleep(1.1)
        return first, milliseconds(lag)

    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            first, second = runner.run(main())
        assert first == {}
        assert second == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_a_loop_that_has_ended_is_not_kept():
    """A loop whose lag was watched can be collected once it is closed and another one is watched."""
    lag, loops = LoopLag(clock=Clock()), []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert milliseconds(lag) == {}
        await asyncio.sleep(1.1)

    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    gc.collect()
    assert loops[0]() is None


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_trio():
    """Trio has no timers to be late for: nothing is said."""
    assert milliseconds(LoopLag()) == {}


async def test_tasks():
    """Tasks that are not done are counted, on asyncio and on trio."""
    ((metric, before, _),) = tasks()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(anyio.sleep, 1)
        ((_, during, _),) = tasks()
    ((_, after, _),) = tasks()
    assert metric.name == "runtime.tasks"
    assert during - before == 5
    assert after == before
