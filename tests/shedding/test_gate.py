"""The gate: who is let in, who waits, who is turned away."""

import asyncio

import anyio
import pytest

from asgi_resilience.shedding import FixedLimit
from asgi_resilience.shedding.gate import Gate

pytestmark = pytest.mark.anyio


def gate_of(limit, *, queue=10, longest=1.0):
    return Gate(FixedLimit(limit), queue=queue, longest=longest, clock=anyio.current_time)


class Crowd:
    """Requests that come to a gate, and what became of them."""

    def __init__(self, gate, tasks):
        self.gate, self._tasks = gate, tasks
        self.admitted, self.refused = [], []

    async def come(self, name, priority="normal"):
        """One comes, and stays inside until told to leave."""

        async def request():
            there = self.gate.enter(priority) or await self.gate.wait(priority)
            (self.admitted if there else self.refused).append(name)

        self._tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()

    async def leave(self):
        self.gate.leave()
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
async def crowd_at():
    """Makes crowds."""
    async with anyio.create_task_group() as tasks:
        yield lambda gate: Crowd(gate, tasks)


async def test_so_many_are_let_in(crowd_at):
    """The limit is let in at once; who waits has a place when somebody leaves, in the order of arrival."""
    crowd = crowd_at(gate_of(2))
    for name in "abcd":
        await crowd.come(name)
    assert (crowd.admitted, crowd.gate.in_flight, crowd.gate.waiting) == (["a", "b"], 2, 2)
    await crowd.leave()
    await crowd.leave()
    assert crowd.admitted == ["a", "b", "c", "d"]
    await crowd.leave()
    await crowd.leave()
    assert (crowd.gate.in_flight, crowd.gate.waiting) == (0, 0)


async def test_nobody_waits_for_ever(crowd_at):
    """After the longest wait one is turned away."""
    crowd = crowd_at(gate_of(1))
    await crowd.come("a")
    await crowd.come("b")
    await anyio.sleep(1.01)
    assert crowd.refused == ["b"]
    assert crowd.gate.waiting == 0


async def test_a_standing_queue_has_short_waits_and_the_newest_first(crowd_at):
    """A queue that was never empty for longer than the longest wait is an overload: 50 ms, and the last come first."""
    crowd = crowd_at(gate_of(1))
    await crowd.come("a")
    for number in range(4):
        await crowd.come(f"burst {number}")
        await anyio.sleep(0.3)
    assert crowd.refused == ["burst 0"]
    await crowd.come("old")
    await crowd.come("new")
    await crowd.leave()
    assert crowd.admitted == ["a", "new"]
    await anyio.sleep(0.06)
    assert "old" in crowd.refused


async def test_a_full_queue(crowd_at):
    """Who comes to a full queue is turned away, unless somebody less important waits there, who then goes."""
    crowd = crowd_at(gate_of(1, queue=2))
    await crowd.come("a")
    await crowd.come("b", "sheddable")
    await crowd.come("c", "sheddable")
    await crowd.come("d", "sheddable")
    assert crowd.refused == ["d"]
    await crowd.come("e")
    assert crowd.refused == ["d", "c"]
    await crowd.come("f", "critical")
    assert crowd.admitted == ["a", "f"]  # what is above the limit is kept free for it
    await crowd.come("g", "critical")
    assert crowd.refused == ["d", "c", "b"]
    await crowd.come("h")
    assert crowd.refused == ["d", "c", "b", "h"]
    for _ in range(3):
        await crowd.leave()
    assert crowd.admitted == ["a", "f", "g", "e"]


async def test_without_a_queue(crowd_at):
    """A queue of 0 lets nobody wait."""
    crowd = crowd_at(gate_of(1, queue=0))
    await crowd.come("a")
    await crowd.come("b")
    assert crowd.refused == ["b"]


async def test_shares():
    """A critical request is let in above the limit, a sheddable one up to three quarters of it."""
    gate = gate_of(4)
    admitted = dict.fromkeys(("sheddable", "normal", "critical"), 0)
    for priority in admitted:
        while gate.enter(priority):
            admitted[priority] += 1
    assert admitted == {"sheddable": 3, "normal": 1, "critical": 1}


async def test_nobody_overtakes(crowd_at):
    """Room that is there goes to those who wait already; only the more important pass them."""
    gate = gate_of(1)
    crowd = crowd_at(gate)
    await crowd.come("a")
    await crowd.come("b")
    gate.in_flight = 0
    assert not gate.enter("normal")
    assert not gate.enter("sheddable")
    assert gate.enter("critical")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_one_who_is_cancelled_takes_no_place(crowd_at):
    """A place that was given to somebody whose task is cancelled in the same moment goes to the next."""
    gate = gate_of(1)
    crowd = crowd_at(gate)
    await crowd.come("a")
    task = asyncio.create_task(gate.wait("normal"))
    await anyio.wait_all_tasks_blocked()
    await crowd.come("b")
    gate.leave()  # the place is the task's
    task.cancel()  # which has not run since
    with pytest.raises(asyncio.CancelledError):
        await task
    await anyio.wait_all_tasks_blocked()
    assert crowd.admitted == ["a", "b"]
    assert gate.in_flight == 1


async def test_one_who_is_cancelled_while_waiting_is_forgotten():
    """A waiter that is cancelled leaves the queue."""
    gate = gate_of(1)
    assert gate.enter("normal")
    with anyio.move_on_after(0.1):
        await gate.wait("normal")
    assert (gate.in_flight, gate.waiting) == (1, 0)
