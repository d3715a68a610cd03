"""The time limit of an attempt: its own end is told from every other."""

import asyncio

import pytest

from asgi_resilience.client.deadline import AttemptTimedOut, DeadlineExceeded
from asgi_resilience.client.sleepers import Sleepers
from asgi_resilience.client.time_limit import TimeLimits

pytestmark = pytest.mark.anyio


async def attempt(limits, seconds, deadline=None):
    """An attempt that takes so long; when it ended."""
    loop = asyncio.get_running_loop()
    with limits.start(loop, loop.time(), deadline):
        await asyncio.sleep(seconds)
    return loop.time()


async def test_it_ends_at_the_timeout():
    """An attempt that takes longer ends at the timeout, by an error that names both."""
    with pytest.raises(AttemptTimedOut, match="db: no answer within 2 s") as ended:
        await attempt(TimeLimits("db", 2.0), 5.0)
    assert asyncio.get_running_loop().time() == 2.0
    assert (ended.value.dependency, ended.value.seconds, ended.value.args) == ("db", 2.0, ("db", 2.0))
    assert isinstance(ended.value, TimeoutError)


async def test_it_ends_at_the_deadline():
    """An attempt that has less time than its timeout ends at the deadline, by another error."""
    with pytest.raises(DeadlineExceeded, match="db: the request's deadline has passed"):
        await attempt(TimeLimits("db", 2.0), 5.0, deadline=1.5)
    assert asyncio.get_running_loop().time() == 1.5


async def test_a_deadline_after_the_timeout():
    """The earlier of the two decides; at the same moment it is the timeout."""
    with pytest.raises(AttemptTimedOut):
        await attempt(TimeLimits("db", 2.0), 5.0, deadline=2.0)


async def test_without_limits():
    """Without a timeout, only the deadline ends an attempt; without either, nothing does."""
    assert await attempt(TimeLimits("db", None), 1e6) == 1e6
    with pytest.raises(DeadlineExceeded):
        await attempt(TimeLimits("db", None), 5.0, deadline=1e6 + 1.0)


async def test_it_ends_in_time():
    """An attempt that ends in time leaves nothing behind that could cancel later."""
    limits = TimeLimits("db", 2.0)
    assert await attempt(limits, 1.0) == 1.0
    assert await attempt(limits, 1.5, deadline=2.6) == 2.5
    await asyncio.sleep(10.0)
    assert asyncio.current_task().cancelling() == 0


async def test_many_at_once():
    """Attempts that share a timer end each at its own time."""
    limits = TimeLimits("db", 2.0)

    async def begun(after):
        await asyncio.sleep(after)
        try:
            return await attempt(limits, 0.5 if after % 2 else 9.0)
        except AttemptTimedOut:
            return -asyncio.get_running_loop().time()

    ends = await asyncio.gather(*(begun(float(after)) for after in range(6)))
    assert ends == [-2.0, 1.5, -4.0, 3.5, -6.0, 5.5]


async def test_overlapping_attempts():
    """An attempt that began while another one ran has its whole time, too."""
    limits = TimeLimits("db", 2.0)
    first = asyncio.create_task(attempt(limits, 9.0))
    await asyncio.sleep(1.0)
    second = asyncio.create_task(attempt(limits, 9.0))
    for task, end in ((first, 2.0), (second, 3.0)):
        with pytest.raises(AttemptTimedOut):
            await task
        assert asyncio.get_running_loop().time() == end


async def test_one_within_another():
    """A limit inside of another is told apart from it."""
    loop = asyncio.get_running_loop()
    outer, inner = TimeLimits("outer", 2.0), TimeLimits("inner", 1.0)

    async def both():
        with outer.start(loop, loop.time(), None):
            with pytest.raises(AttemptTimedOut, match="inner"):
                await attempt(inner, 9.0)
            await asyncio.sleep(9.0)

    with pytest.raises(AttemptTimedOut, match="outer"):
        await both()
    assert loop.time() == 2.0


async def test_somebody_elses_cancellation():
    """A cancellation from outside goes on as such, also when the time is over at the same moment."""
    loop = asyncio.get_running_loop()
    for cancel_at in (1.0, 2.0):
        task = asyncio.create_task(attempt(TimeLimits("db", 2.0), 9.0))
        await asyncio.sleep(0)
        loop.call_later(cancel_at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_timeout_of_asyncio_around_it():
    """`asyncio.timeout` around an attempt raises its own error."""
    with pytest.raises(TimeoutError) as ended:
        async with asyncio.timeout(1.0):
            await attempt(TimeLimits("db", 2.0), 9.0)
    assert type(ended.value) is TimeoutError


async def test_an_error_at_the_last_moment():
    """What ends by an error of its own when it is cancelled ends by that error, and the task goes on uncancelled."""
    loop = asyncio.get_running_loop()

    async def stubborn(result):
        with TimeLimits("db", 2.0).start(loop, loop.time(), None):
            try:
                await asyncio.sleep(9.0)
            except asyncio.CancelledError:
                if result is None:
                    raise ValueError from None
            return result

    with pytest.raises(ValueError):
        await stubborn(None)
    assert await stubborn("late") == "late"
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(1.0)


def test_two_event_loops():
    """A dependency can be used on one event loop after another; each has timers of its own."""
    limits = TimeLimits("db", 0.001)
    ends = []
    for _ in range(2):
        with pytest.raises(AttemptTimedOut):
            asyncio.run(attempt(limits, 60.0))
        ends.append(True)
    assert len(ends) == 2


async def test_sleepers_are_woken():
    """A shutdown ends every sleep, and there are no new ones."""
    sleepers = Sleepers()
    tasks = [asyncio.create_task(sleepers.sleep(seconds)) for seconds in (1.0, 5.0, 9.0)]
    await asyncio.sleep(3.0)
    assert len(sleepers) == 2
    sleepers.wake()
    assert await asyncio.gather(*tasks) == [True, False, False]
    assert not await sleepers.sleep(1.0)
    assert asyncio.get_running_loop().time() == 3.0


async def test_a_cancelled_sleeper():
    """Who is cancelled is cancelled, also when a shutdown wakes it at the same moment."""
    sleepers = Sleepers()
    for woken in (False, True):
        task = asyncio.create_task(sleepers.sleep(5.0))
        await asyncio.sleep(1.0)
        task.cancel()
        if woken:
            sleepers.wake()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(sleepers) == 0
