"""One who waits for a place, on every event loop."""

import asyncio

import anyio
import pytest

from asgi_resilience.alarms import Alarms
from asgi_resilience.shedding.waiter import Waiter

pytestmark = pytest.mark.anyio


async def waited(waiter, seconds, meanwhile=lambda: None):
    """How long one waits."""
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter.wait, seconds)
        await anyio.sleep(0.1)
        meanwhile()
    return anyio.current_time() - began


@pytest.mark.parametrize("admitted", [True, False])
async def test_a_call_ends_the_wait(admitted):
    """Who is called waits no longer, and knows whether there is a place."""
    waiter = Waiter()
    assert await waited(waiter, 5.0, lambda: waiter.call(admitted=admitted)) == pytest.approx(0.1)
    assert (waiter.called, waiter.admitted) == (True, admitted)


async def test_the_time_is_over():
    """Nobody has called."""
    waiter = Waiter()
    assert await waited(waiter, 2.0) == pytest.approx(2.0, abs=0.002)
    assert (waiter.called, waiter.admitted) == (False, False)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_call_when_the_time_is_over():
    """A call that comes in the same turn as the end is still good, and nothing stays armed."""
    waiter = Waiter()
    task = asyncio.create_task(waiter.wait(5.0))
    await asyncio.sleep(0)
    armed = len(Alarms.of(asyncio.get_running_loop()))
    waiter.expire()
    waiter.call(admitted=True)
    await task
    assert waiter.admitted
    assert len(Alarms.of(asyncio.get_running_loop())) == armed - 1
