"""The gate: one caller is told to wait, and all callers do."""

import asyncio

import pytest

from asgi_resilience.client.gate import Gate, RateLimited
from asgi_resilience.client.sleepers import Sleepers

pytestmark = pytest.mark.anyio


def gate(**options):
    """A gate without chance."""
    return Gate("sports", Sleepers(), **{"rnd": lambda: 0.0, **options})


async def pass_through(gate, deadline=None):
    """Wait for the gate, and say when it was this caller's turn."""
    loop = asyncio.get_running_loop()
    assert await gate.wait(loop.time(), deadline, loop.time) == loop.time()
    return loop.time()


async def test_an_open_gate_lets_through_at_once():
    """Nobody waits at a gate that was never closed, or is open again."""
    closed = gate()
    assert await pass_through(closed) == 0.0
    closed.close(5.0, 0.0)
    await asyncio.sleep(5.0)
    assert await pass_through(closed) == 5.0


async def test_everybody_waits():
    """All who come while it is closed leave when the time is over, and not before."""
    closed = gate()
    assert closed.close(7.0, 0.0)
    assert await asyncio.gather(*(pass_through(closed) for _ in range(20))) == [7.0] * 20


async def test_they_leave_spread_out():
    """Those who waited leave within a quarter of the pause after its end, each at a time of its own."""
    chances = iter([0.0, 0.5, 1.0])
    closed = gate(rnd=lambda: next(chances))
    closed.close(8.0, 0.0)
    assert await asyncio.gather(*(pass_through(closed) for _ in range(3))) == [8.0, 9.0, 10.0]


async def test_the_longest_pause_counts():
    """A second, shorter pause does not open the gate early; a longer one keeps those who wait already."""
    closed = gate()
    closed.close(10.0, 0.0)
    waiting = asyncio.create_task(pass_through(closed))
    await asyncio.sleep(5.0)
    assert not closed.close(2.0, 5.0)
    assert closed.close(20.0, 5.0)
    assert await waiting == 25.0


async def test_a_caller_that_can_not_wait_is_refused_at_once():
    """A caller whose deadline comes first is refused without waiting, and told how long it would have been."""
    closed = gate()
    closed.close(10.0, 0.0)
    with pytest.raises(RateLimited, match="sports: asked to be left alone for another 10 s") as refused:
        await pass_through(closed, deadline=9.0)
    assert (refused.value.dependency, refused.value.retry_after) == ("sports", 10.0)
    assert asyncio.get_running_loop().time() == 0.0


async def test_the_spread_leaves_time():
    """The spread after the pause takes at most half of what a caller has left then."""
    closed = gate(rnd=lambda: 1.0)
    closed.close(8.0, 0.0)
    assert await pass_through(closed, deadline=9.0) == 8.5


async def test_the_queue_is_bounded():
    """Who finds the queue full is refused at once."""
    closed = gate(max_waiting=2)
    closed.close(3.0, 0.0)
    waiting = [asyncio.create_task(pass_through(closed)) for _ in range(2)]
    await asyncio.sleep(0)
    assert closed.waiting == 2
    with pytest.raises(RateLimited):
        await pass_through(closed)
    assert await asyncio.gather(*waiting) == [3.0, 3.0]
    assert closed.waiting == 0


async def test_cancelled_callers_leave_the_queue():
    """Who is cancelled while it waits makes room."""
    closed = gate()
    closed.close(3.0, 0.0)
    waiting = asyncio.create_task(pass_through(closed))
    await asyncio.sleep(1.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.waiting == 0


async def test_a_shutdown_ends_the_wait():
    """At shutdown, those who wait are refused, and so is who comes later."""
    sleepers = Sleepers()
    closed = Gate("sports", sleepers, rnd=lambda: 0.0)
    closed.close(10.0, 0.0)
    waiting = asyncio.create_task(pass_through(closed))
    await asyncio.sleep(4.0)
    sleepers.wake()
    with pytest.raises(RateLimited) as refused:
        await waiting
    assert refused.value.retry_after == 6.0
    with pytest.raises(RateLimited):
        await pass_through(closed)


async def test_an_hour_is_the_longest():
    """However long a server asks for, it is asked again after an hour."""
    closed = gate()
    closed.close(1e9, 0.0)
    assert await pass_through(closed) == 3600.0


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_pause_is_no_pause(seconds):
    """A pause of nothing does not close the gate."""
    closed = gate()
    assert not closed.close(seconds, 0.0)
    assert await pass_through(closed) == 0.0
