"""The shared timer."""

import asyncio
import gc
import weakref

import pytest

from asgi_resilience.alarms import Alarms
from asgi_resilience.testing import VirtualTimeLoop


class Entry:
    """Notes when it expired, and may do something then."""

    def __init__(self, then=None):
        self.expired_at = None
        self.then = then

    def expire(self):
        self.expired_at = asyncio.get_running_loop().time()
        if self.then is not None:
            self.then()


def run(main):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def timers(loop):
    return [handle for handle in loop._scheduled if not handle.cancelled()]


def test_an_armed_entry_expires_at_its_time():
    """An entry that nobody disarms is told exactly when its seconds are over."""

    async def main():
        loop = asyncio.get_running_loop()
        entry = Entry()
        Alarms.of(loop).arm(entry, 30.0, loop.time())
        await asyncio.sleep(100)
        return entry.expired_at, len(Alarms.of(loop))

    assert run(main) == (30.0, 0)


def test_a_disarmed_entry_never_expires():
    """An entry that has left its queue is not told."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms, entry = Alarms.of(loop), Entry()
        alarms.arm(entry, 30.0, loop.time()).pop(entry)
        assert alarms
        assert len(alarms) == 0
        await asyncio.sleep(100)
        return entry.expired_at

    assert run(main) is None


def test_an_entry_that_is_armed_anew_gets_its_whole_time():
    """An entry that leaves the queue and is armed again stands at its end."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms, entry, other = Alarms.of(loop), Entry(), Entry()
        queue = alarms.arm(entry, 30.0, loop.time())
        await asyncio.sleep(10)
        alarms.arm(other, 30.0, loop.time())
        await asyncio.sleep(10)
        queue.pop(entry)
        alarms.arm(entry, 30.0, loop.time())
        assert len(alarms) == 2
        await asyncio.sleep(100)
        return entry.expired_at, other.expired_at

    assert run(main) == (50.0, 40.0)


def test_a_thousand_requests_share_one_timer():
    """However many entries of however many durations are armed, the loop holds one timer, set to the first of them."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms.of(loop)
        entries = [Entry() for _ in range(1000)]
        for number, entry in enumerate(entries):
            alarms.arm(entry, (30.0, 5.0, 60.0)[number % 3], loop.time())
        armed = len(timers(loop))
        await asyncio.sleep(100)
        return armed, {entry.expired_at for entry in entries}, len(timers(loop))

    assert run(main) == (1, {5.0, 30.0, 60.0}, 0)


def test_a_shorter_duration_wakes_the_timer_earlier():
    """An entry that expires before all others is not held up by the timer that is already set."""

    async def main():
        loop = asyncio.get_running_loop()
        long, short = Entry(), Entry()
        Alarms.of(loop).arm(long, 30.0, loop.time())
        Alarms.of(loop).arm(short, 1.0, loop.time())
        await asyncio.sleep(100)
        return short.expired_at, long.expired_at

    assert run(main) == (1.0, 30.0)


def test_an_entry_may_arm_and_disarm_others_when_it_expires():
    """What an entry does in `expire` counts: an entry disarmed by an earlier one of the same moment is not told."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms, second, later = Alarms.of(loop), Entry(), Entry()

        def disarm_the_second():
            queue.pop(second)
            alarms.arm(later, 5.0, loop.time())

        queue = alarms.arm(Entry(disarm_the_second), 5.0, loop.time())
        alarms.arm(second, 5.0, loop.time())
        await asyncio.sleep(100)
        return second.expired_at, later.expired_at

    assert run(main) == (None, 10.0)


def test_the_timer_keeps_no_context_of_a_request():
    """The timer runs in an empty context: it outlives the request that set it, and must not keep its variables alive."""

    async def main():
        loop = asyncio.get_running_loop()
        Alarms.of(loop).arm(Entry(), 5.0, loop.time())
        [timer] = timers(loop)
        return len(timer._context)

    assert run(main) == 0


def test_alarms_go_with_their_loop():
    """Each loop has alarms of its own, which do not keep it alive."""

    async def main():
        loop = asyncio.get_running_loop()
        assert Alarms.of(loop) is Alarms.of(loop)
        Alarms.of(loop).arm(Entry(), 5.0, loop.time())
        return weakref.ref(loop), Alarms.of(loop)

    loop, alarms = run(main)
    gc.collect()
    assert loop() is None
    assert run(main)[1] is not alarms


@pytest.mark.parametrize("loop_factory", ["asyncio", "uvloop"])
def test_an_entry_is_at_most_a_millisecond_early(loop_factory):
    """On the real loops, which count in milliseconds, an entry never expires before its time but for that one."""
    factory = pytest.importorskip("uvloop").new_event_loop if loop_factory == "uvloop" else None

    async def main():
        loop = asyncio.get_running_loop()
        expired = loop.create_future()
        began = loop.time()
        Alarms.of(loop).arm(Entry(lambda: expired.set_result(loop.time() - began)), 0.02, began)
        return await expired

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) >= 0.019
