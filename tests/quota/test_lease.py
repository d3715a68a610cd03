"""Tokens in batches: few questions, a bounded overshoot, nothing kept for longer than its time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.quota.lease import Leases
from tests.quota.shared_store import Clock, SharedStore

pytestmark = pytest.mark.anyio
RULES = (RateLimit(1000, 10.0),)


@pytest.fixture
def anyio_backend():
    """Asyncio: redis-py knows no other loop."""
    return "asyncio", {}


@pytest.fixture
def clock():
    """Time of everybody."""
    return Clock()


@pytest.fixture
def store(clock):
    """What the leases are taken from."""
    return SharedStore(clock)


async def busy(leases, clock, requests, every=0.001):
    """So many requests in a row, that long apart; how many were admitted."""
    admitted = 0
    for _ in range(requests):
        admitted += (await leases.take("a", RULES)).allowed
        clock.now += every
    return admitted


async def test_a_quiet_client_takes_what_it_needs(store, clock):
    """Who asks once in a while costs a question each time, and nothing is taken in advance."""
    leases = Leases(store.reserve, clock=clock)
    assert await busy(leases, clock, 5, every=3.0) == 5
    assert store.asked == [1] * 5
    assert leases.outstanding("a") == 0


async def test_a_busy_client_is_asked_for_in_batches(store, clock):
    """A client that uses 90 tokens a second is asked for a few times, at most a fiftieth of the burst at a time."""
    leases = Leases(store.reserve, clock=clock)
    assert await busy(leases, clock, 180, every=1 / 90) == 180
    assert len(store.asked) <= 15
    assert max(store.asked) == 20
    assert store.granted - 180 == leases.outstanding("a")


async def test_tokens_expire_with_their_lease(store, clock):
    """What was not spent in time is not spent at all."""
    leases = Leases(store.reserve, clock=clock, seconds=0.5)
    await busy(leases, clock, 30)
    assert leases.outstanding("a") > 0
    clock.now += 0.5
    assert leases.outstanding("a") == 0
    questions = len(store.asked)
    await leases.take("a", RULES)
    assert len(store.asked) == questions + 1


async def test_a_refusal_is_remembered_until_its_time(store, clock):
    """While there is nothing to be had, nobody is asked; when a token is earned back it is found at once."""
    leases = Leases(store.reserve, clock=clock)
    await store.reserve("a", RULES, 1000, 1000)
    refused = await leases.take("a", RULES)
    assert refused.retry_after == 0.01
    assert refused.remaining == 0
    questions = len(store.asked)
    clock.now += 0.004
    again = await leases.take("a", RULES)
    assert again.retry_after == pytest.approx(0.006)
    assert len(store.asked) == questions
    clock.now += 0.0061
    assert (await leases.take("a", RULES)).allowed


async def test_a_refusal_of_many_is_none_of_one(store, clock):
    """A request that costs little is asked for, although one that costs more was refused just now."""
    leases = Leases(store.reserve, clock=clock)
    await store.reserve("a", RULES, 995, 995)
    assert not (await leases.take("a", RULES, 10)).allowed
    assert not (await leases.take("a", RULES, 11)).allowed
    assert len(store.asked) == 2
    assert (await leases.take("a", RULES, 1)).allowed


async def test_clients_are_told_what_is_left(store, clock):
    """What stands here unspent is told as left, as is what the store has."""
    leases = Leases(store.reserve, clock=clock)
    left = [(await leases.take("a", RULES)).remaining for _ in range(40)]
    assert left == [*range(999, 959, -1)]


async def test_those_who_come_at_once_share_a_question(store, clock):
    """A crowd of one client is one question, which asks for as much as all of them need."""
    leases = Leases(store.reserve, clock=clock)
    decisions = await asyncio.gather(*(leases.take("a", RULES) for _ in range(100)))
    assert all(each.allowed for each in decisions)
    assert store.asked == [100]
    assert leases.outstanding("a") == 0


async def test_a_failure_is_that_of_all_who_wait(store, clock):
    """When the question fails, everybody who waits for its answer hears of it at once, and the next one asks again."""
    questions = []

    async def fails(*question):
        questions.append(question)
        raise ConnectionError

    leases = Leases(fails, clock=clock)
    done = await asyncio.gather(*(leases.take("a", RULES) for _ in range(10)), return_exceptions=True)
    assert [type(each) for each in done] == [ConnectionError] * 10
    assert len(questions) == 1
    with pytest.raises(ConnectionError):
        await leases.take("a", RULES)
    assert len(questions) == 2


async def test_who_leaves_disturbs_nobody(store, clock):
    """When the one that asks is cancelled, one of those who wait asks in its place."""
    gate = asyncio.Event()

    async def slow(*question):
        await gate.wait()
        return await store.reserve(*question)

    leases = Leases(slow, clock=clock)
    first, second, third = (asyncio.ensure_future(leases.take("a", RULES)) for _ in range(3))
    for _ in range(3):
        await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).allowed
    assert (await third).allowed
    assert first.cancelled()


async def test_clients_are_forgotten_when_there_are_too_many(store, clock):
    """Whoever has asked the store longest ago is forgotten, also in the middle of a question."""
    leases = Leases(store.reserve, clock=clock, max_keys=2)
    await asyncio.gather(*(leases.take(key, RULES) for key in "abc"))
    assert len(leases) == 2
    await leases.take("b", RULES)
    await leases.take("d", RULES)
    assert leases.outstanding("c") == 0
    assert len(leases) == 2


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 30), st.integers(0, 400)), min_size=1, max_size=60
    )
)
def test_the_overshoot_is_what_was_outstanding(steps):
    """From any moment on, all processes admit at most the burst, what is earned since, and the leases of that moment."""
    clock = Clock()
    store = SharedStore(clock)
    processes = [Leases(store.reserve, clock=clock) for _ in range(4)]

    async def run():
        seen = []  # (when, admitted until then, outstanding then)
        admitted = 0
        for process, requests, pause in steps:
            held = [each.outstanding("a") for each in processes]
            assert max(held) <= 20  # a fiftieth of the burst
            seen.append((clock.now, admitted, sum(held)))
            for _ in range(requests):
                admitted += (await processes[process].take("a", RULES)).allowed
            clock.now += pause / 1000
        for when, before, outstanding in seen:
            assert admitted - before <= 1000 + (clock.now - when) * 100 + outstanding + 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("option", "value"),
    [("seconds", 0), ("seconds", 3601), ("share", 0), ("share", 1.1), ("max_keys", 0)],
)
def test_options_are_checked(option, value):
    """A value out of its range is refused with its name."""
    with pytest.raises(ValueError, match=f"={value}: expected"):
        Leases(None, **{option: value})
