"""The time between SIGTERM and the end: real signals, on a real loop."""

import asyncio
import logging
import os
import signal
import threading

import pytest

from asgi_resilience.drain_phase import DrainPhase

LONG = 1000.0


class Server:
    """What a server has: a handler of SIGTERM; and what happens, in order."""

    def __init__(self):
        self.events = []
        self.ended = asyncio.Event()
        self.draining = asyncio.Event()

    def handle_exit(self, number, _frame):
        self.events.append(signal.Signals(number).name)
        self.ended.set()

    def drain(self):
        self.events.append("drain")
        self.draining.set()


@pytest.fixture(autouse=True)
def handler():
    """The handler of the process comes back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def held(scenario, seconds):
    """Run a scenario with a server whose signal is held back; what happened."""

    async def run():
        server = Server()
        signal.signal(signal.SIGTERM, server.handle_exit)
        phase = DrainPhase(seconds, server.drain)
        phase.install()
        try:
            await asyncio.wait_for(scenario(server), 10)
        finally:
            phase.remove()
        assert signal.getsignal(signal.SIGTERM) == server.handle_exit
        return server.events

    return asyncio.run(run())


def test_the_server_hears_of_it_when_the_time_is_over():
    """First `begin`, then as many seconds, then the handler of the server."""
    times = {}

    async def scenario(server):
        loop = asyncio.get_running_loop()
        os.kill(os.getpid(), signal.SIGTERM)
        await server.draining.wait()
        times["draining"] = loop.time()
        assert server.events == ["drain"]
        await server.ended.wait()
        times["ended"] = loop.time()

    assert held(scenario, 0.05) == ["drain", "SIGTERM"]
    assert times["ended"] - times["draining"] >= 0.04


def test_a_second_one_is_handed_on_at_once():
    """Who asks twice means it."""

    async def scenario(server):
        os.kill(os.getpid(), signal.SIGTERM)
        await server.draining.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await server.ended.wait()

    assert held(scenario, LONG) == ["drain", "SIGTERM"]


def test_what_is_removed_rings_no_more():
    """A server that ends for another reason while the signal is held back is not told later, and gets its handler back."""

    async def scenario(server):
        os.kill(os.getpid(), signal.SIGTERM)
        await server.draining.wait()

    assert held(scenario, LONG) == ["drain"]


def test_a_signal_is_not_lost_between_two_owners():
    """Where the signal is given back before the loop could look at it, the server has it at once."""

    async def run():
        server = Server()
        signal.signal(signal.SIGTERM, server.handle_exit)
        phase = DrainPhase(LONG, server.drain)
        phase.install()
        signal.raise_signal(signal.SIGTERM)
        phase.remove()
        await asyncio.wait_for(server.ended.wait(), 10)
        return server.events

    assert asyncio.run(run()) == ["SIGTERM"]


def test_when_the_loop_has_gone_nothing_is_held_back():
    """There is nobody left who could wait."""
    events = []
    signal.signal(signal.SIGTERM, lambda number, _: events.append(number))
    phase = DrainPhase(LONG, lambda: events.append("drain"))

    async def install():
        phase.install()

    asyncio.run(install())
    signal.raise_signal(signal.SIGTERM)
    assert events == [signal.SIGTERM]
    phase.remove()


def test_it_says_so(caplog):
    """The log tells why nothing seems to happen."""

    async def scenario(server):
        os.kill(os.getpid(), signal.SIGTERM)
        await server.draining.wait()

    with caplog.at_level(logging.INFO):
        held(scenario, LONG)
    assert caplog.messages == ["SIGTERM: not ready any more, and served on for 1000 s"]


def test_only_one_stands_before_the_server():
    """The times of two do not add up, and a handler that somebody has installed on top is left alone."""

    async def run():
        server = Server()
        signal.signal(signal.SIGTERM, server.handle_exit)
        first, second = DrainPhase(LONG, server.drain), DrainPhase(LONG, server.drain)
        first.install()
        installed = signal.getsignal(signal.SIGTERM)
        second.install()
        assert signal.getsignal(signal.SIGTERM) == installed
        second.remove()
        assert signal.getsignal(signal.SIGTERM) == installed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        first.remove()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN

    asyncio.run(run())


def test_where_the_signal_is_not_to_be_had_nothing_is_installed():
    """With 0 seconds, in other threads, without asyncio, and where nobody handles the signal."""
    phase, none = DrainPhase(LONG, print), DrainPhase(0, print)

    async def install(each):
        each.install()

    before = print
    signal.signal(signal.SIGTERM, before)
    asyncio.run(install(none))
    phase.install()
    thread = threading.Thread(target=lambda: asyncio.run(install(phase)))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    for nobody in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGTERM, nobody)
        asyncio.run(install(phase))
        assert signal.getsignal(signal.SIGTERM) == nobody


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_the_time_has_an_end(seconds):
    """Neither below 0 nor for ever."""
    with pytest.raises(ValueError, match=r"drain_seconds=.*: expected seconds, 0 or more"):
        DrainPhase(seconds, print)
