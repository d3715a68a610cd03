"""What runs at an interval: on asyncio and trio, one loop after the other, and never in anybody's way."""

import asyncio
import gc
import importlib
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from multiprocessing import util

import anyio
import pytest

from asgi_resilience import context
from asgi_resilience.telemetry import Periodic
from asgi_resilience.testing import VirtualTimeLoop, virtual_time

pytestmark = pytest.mark.anyio
module = importlib.import_module("asgi_resilience.telemetry.periodic")


@pytest.fixture
def ran():
    return []


async def test_a_function_runs_at_its_interval(ran):
    """The first time after one interval, and then after each; several have their own."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append("often"))
    periodic.every(2.5, lambda: ran.append("seldom"))
    periodic.start()
    periodic.start()
    assert ran == []
    await anyio.sleep(5.1)
    assert ran == ["often", "often", "seldom", "often", "often", "often", "seldom"]


async def test_a_function_may_come_later(ran):
    """One that is added while the loop drives runs after its own interval, however long those of the others are."""
    periodic = Periodic()
    periodic.every(100.0, lambda: ran.append("seldom"))
    periodic.start()
    periodic.every(1.0, lambda: ran.append("often"))
    await anyio.sleep(1.5)
    assert ran == ["often"]


async def test_a_function_can_be_stopped(ran):
    """It runs no more; stopping twice is no mistake; and with nothing to do, no timer is left."""
    periodic = Periodic()
    stop = periodic.every(1.0, lambda: ran.append(1))
    periodic.start()
    await anyio.sleep(1.5)
    stop()
    stop()
    await anyio.sleep(5)
    assert ran == [1]
    periodic.every(1.0, lambda: ran.append(2))
    await anyio.sleep(5)
    assert ran == [1]
    periodic.start()
    await anyio.sleep(1.5)
    assert ran == [1, 2]


async def test_a_function_that_raises_stops_nothing(ran):
    """It is counted, runs again, and the others run."""
    periodic = Periodic()

    def broken():
        ran.append("broken")
        raise RuntimeError

    periodic.every(1.0, broken)
    periodic.every(1.0, lambda: ran.append("sound"))
    before = context.failures.get(broken.__qualname__, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        periodic.start()
        await anyio.sleep(2.5)
    assert ran == ["broken", "sound"] * 2
    assert context.failures[broken.__qualname__] == before + 2


async def test_a_function_knows_nothing_of_who_started_it(ran):
    """It runs outside of the request that happened to start the timer."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(context.current_request()))
    record = context.RequestContext({"type": "http", "path": "/", "method": "GET"})
    with context.request_scope(record):
        periodic.start()
    await anyio.sleep(1.5)
    assert ran == [None]


def test_without_a_loop_nothing_happens(ran):
    """A start outside of any event loop is no mistake: a later one will be inside."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(1))
    periodic.start()
    assert ran == []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_drive(periodic, 1.5))
    assert ran == [1]


async def _drive(periodic, seconds):
    periodic.start()
    await anyio.sleep(seconds)


@pytest.mark.parametrize("first", ["asyncio", "trio"])
def test_the_next_loop_takes_over(first, ran):
    """When the loop that drives has ended, another one does: the same function, its own interval, and never two."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(1))
    for backend in (first, "trio", "asyncio", "asyncio"):
        name, options = virtual_time(backend)
        anyio.run(_drive, periodic, 2.5, backend=name, backend_options=options)
        assert len(ran) == 2
        ran.clear()


def in_thread(function, *arguments):
    """Call it in another thread, and wait for it without letting any event loop go on."""
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join(10)


async def test_a_second_loop_does_not_drive_as_well(ran):
    """While one loop drives, a start on another does nothing."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(1))
    periodic.start()

    def other():
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(_drive(periodic, 10.0))

    in_thread(other)
    assert ran == []
    await anyio.sleep(2.5)
    assert ran == [1, 1]


async def test_a_function_added_in_another_thread_is_seen_at_the_next_ring(ran):
    """`every` may be called from any thread; the loop that drives hears of it when its timer rings."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append("first"))
    periodic.start()
    in_thread(periodic.every, 0.5, lambda: ran.append("second"))
    await anyio.sleep(2.1)
    assert ran == ["first", "second", "first", "second"]


def test_a_loop_that_was_paused_gets_its_work_back_at_a_start(ran):
    """Of two loops that run by turns, whichever calls `start` drives, and old timers ring in vain."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(1))
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as one,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as two,
    ):
        one.run(_drive(periodic, 1.5))
        two.run(_drive(periodic, 1.5))
        assert len(ran) == 2
        one.run(anyio.sleep(5.0))
        assert len(ran) == 2
        one.run(_drive(periodic, 1.5))
    assert len(ran) == 3


def test_a_closed_loop_is_not_held():
    """Who drives is known weakly: a loop that has ended can be freed."""
    periodic = Periodic()
    periodic.every(1.0, print)
    runner = asyncio.Runner()
    loop = weakref.ref(runner.get_loop())
    runner.run(_drive(periodic, 0))
    runner.close()
    del runner
    gc.collect()
    assert loop() is None


def test_the_end_is_told_once_each(ran):
    """`end` calls what is for the end, and goes on where one of them raises."""
    periodic = Periodic()

    def broken():
        raise RuntimeError

    periodic.every(1.0, lambda: ran.append("never"), at_end=broken)
    periodic.every(1.0, lambda: ran.append("never"), at_end=lambda: ran.append("end"))
    periodic.every(1.0, lambda: ran.append("never"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        periodic.end()
    assert ran == ["end"]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_an_interval_is_a_time(seconds):
    """Anything else is refused."""
    with pytest.raises(ValueError, match="expected seconds above 0"):
        Periodic().every(seconds, print)


PROGRAM = """
    import asyncio, multiprocessing, os, sys
    from asgi_resilience.telemetry import Periodic

    periodic = Periodic()
    periodic.every(3600.0, print, at_end=lambda: print("end", flush=True))

    async def main():
        periodic.start()
        periodic.start()

    def child():
        asyncio.run(main())
        print("child", flush=True)

    {end}
"""


def run(end):
    """What a program prints that ends in this way."""
    code = textwrap.dedent(PROGRAM).format(end=textwrap.dedent(end))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ},
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_program_ends_at_once_and_calls_the_end():
    """A timer of an hour holds up neither the loop nor the process; what is for the end runs."""
    assert run("asyncio.run(main())") == ["end"]


def test_a_program_without_a_loop_calls_the_end():
    """Also where nothing was ever started."""
    assert run("pass") == ["end"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_of_multiprocessing_calls_the_end():
    """It ends without `atexit`, and has its own register; the parent's end is its own."""
    program = """
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
"""
    assert run(program) == ["child", "end", "end"]


def test_a_child_has_no_loop_yet(ran):
    """After a fork the functions are there, and the next start drives them, whatever the parent's loop does."""
    periodic = Periodic()
    periodic.every(1.0, lambda: ran.append(1))

    async def forked():
        periodic.start()
        periodic.after_fork()
        periodic.start()
        await anyio.sleep(1.5)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(forked())
    assert ran == [1]


def test_a_child_registers_its_end_once(ran, monkeypatch):
    """However many starts there are in a child of multiprocessing, it is registered once."""
    monkeypatch.setattr(multiprocessing.process, "parent_process", object)
    monkeypatch.setattr(module, "_registered", set())
    periodic = Periodic()
    periodic.every(1.0, print, at_end=lambda: ran.append("end"))
    asyncio.run(_drive(periodic, 0))
    asyncio.run(_drive(periodic, 0))
    (finalizer,) = (each for each in util._finalizer_registry.values() if each._callback is module._end_all)
    finalizer()
    assert ran == ["end"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_of_two_starts_at_the_same_time_one_counts(ran):
    """Who comes second, while the first holds the lock, finds that another loop drives."""

    class Slow:
        def __enter__(self):
            periodic._loop = another

        def __exit__(self, *error):
            pass

    periodic, another = Periodic(), object()
    periodic.every(1.0, lambda: ran.append(1))
    periodic._lock = Slow()
    periodic.start()
    assert periodic._loop is another
    await anyio.sleep(1.5)
    assert ran == []
