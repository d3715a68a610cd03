"""The store inside the process: bounded, swept in passing, and fair about whom it forgets."""

import threading
import tracemalloc
from itertools import pairwise
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.quota.gcra import RateLimit, decide
from asgi_resilience.quota.memory import MemoryQuota

MINUTE = RateLimit.parse_many("10/minute")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def size(store):
    """Bytes of the containers and of what they hold."""
    return (
        getsizeof(store._states)
        + getsizeof(store._filed)
        + sum(getsizeof(key) + getsizeof(state) for key, state in store._states.items())
        + sum(map(getsizeof, store._filed))
    )


def test_each_key_has_its_own_quota():
    """What one client spends is not charged to another."""
    store = MemoryQuota(clock=Clock())
    spent = [store.take("a", MINUTE).allowed for _ in range(11)]
    assert spent == [True] * 10 + [False]
    assert store.take("b", MINUTE).allowed


def test_a_quota_comes_back_with_time():
    """A refused client is admitted again after `retry_after` seconds."""
    clock = Clock()
    store = MemoryQuota(clock=clock)
    for _ in range(10):
        store.take("a", MINUTE)
    refused = store.take("a", MINUTE)
    assert refused.retry_after == 6.0
    clock.now += 6.0
    assert store.take("a", MINUTE).allowed
    assert not store.take("a", MINUTE).allowed


def test_a_cost_is_handed_on():
    """`cost` charges that many requests."""
    store = MemoryQuota(clock=Clock())
    assert store.take("a", MINUTE, 8).remaining == 2
    assert not store.take("a", MINUTE, 3).allowed
    assert store.take("a", MINUTE, 2).allowed


def test_keys_that_have_everything_back_are_swept_in_passing():
    """Clients whose quota is full again disappear as others ask, a few per call and without any timer (77)."""
    clock = Clock()
    store = MemoryQuota(clock=clock)
    for number in range(100):
        store.take(f"old {number}", MINUTE)
    clock.now += 7.0
    lengths = []
    for _ in range(60):
        store.take("new", MINUTE)
        lengths.append(len(store))
    assert all(before - after <= 2 for before, after in pairwise(lengths))
    assert len(store) == 1
    assert store.evicted == 0


def test_a_sweep_keeps_what_has_moved():
    """A client that has asked again since it was filed keeps its state when its first expiry is reached."""
    clock = Clock()
    store = MemoryQuota(clock=clock)
    for _ in range(10):
        store.take("busy", MINUTE)
    clock.now += 6.5
    assert store.take("other", MINUTE).allowed
    assert len(store) == 2
    assert store.take("busy", MINUTE).allowed
    assert not store.take("busy", MINUTE).allowed


def test_the_bound_on_keys_is_hard():
    """However many keys come, never more than `max_keys` are remembered (76)."""
    store = MemoryQuota(5, clock=Clock())
    for number in range(100):
        store.take(f"{number}", MINUTE)
        assert len(store) <= 5
    assert store.evicted == 95


def test_a_flood_does_not_free_those_who_are_limited():
    """New keys push out new keys: whoever is being refused stays refused, as it is the furthest from full."""
    clock = Clock()
    store = MemoryQuota(100, clock=clock)
    limited = [f"limited {number}" for number in range(50)]
    for key in limited:
        for _ in range(11):
            store.take(key, MINUTE)
    for number in range(10_000):
        clock.now += 1e-6
        store.take(f"flood {number}", MINUTE)
    assert [key for key in limited if store.take(key, MINUTE).allowed] == []


def test_a_newcomer_is_not_remembered_when_every_key_is_held():
    """With nothing but limited clients in a full store, the newcomer is the one that is forgotten."""
    store = MemoryQuota(10, clock=Clock())
    for number in range(10):
        for _ in range(11):
            store.take(f"{number}", MINUTE)
    assert store.take("newcomer", MINUTE).remaining == 9
    assert store.take("newcomer", MINUTE).remaining == 9
    assert store.evicted == 2
    assert not any(store.take(f"{number}", MINUTE).allowed for number in range(10))
    assert len(store) == 10


def test_making_room_looks_at_a_bounded_number_of_entries():
    """Even when every entry of a full store has moved since it was filed, one call looks at a few of them only."""
    clock = Clock()
    store = MemoryQuota(1000, clock=clock)
    for number in range(1000):
        store.take(f"{number}", MINUTE)
    for number in range(1000):
        store.take(f"{number}", MINUTE)
    filed = dict(zip((key for _, key in store._filed), (expiry for expiry, _ in store._filed), strict=True))
    clock.now += 1.0
    store.take("newcomer", MINUTE)
    moved = [key for expiry, key in store._filed if filed.get(key, expiry) != expiry]
    assert len(store) == 1000
    assert len(moved) <= 16


def test_an_expired_key_that_makes_room_is_no_eviction():
    """A client that already has everything back loses nothing when it is forgotten, and is not counted."""
    clock = Clock()
    store = MemoryQuota(1, clock=clock)
    store.take("a", MINUTE)
    clock.now += 7.0
    store.take("b", MINUTE)
    assert len(store) == 1
    assert store.evicted == 0


def test_a_flood_of_a_million_keys_keeps_memory_flat():
    """A million clients in a row take no more room than the first ten thousand."""
    clock = Clock()
    store = MemoryQuota(10_000, clock=clock)
    for number in range(10_000):
        clock.now += 1e-5
        store.take(f"{number}", MINUTE)
    full = size(store)
    for number in range(10_000, 1_000_000):
        clock.now += 1e-5
        store.take(f"{number}", MINUTE)
    assert len(store) == 10_000
    assert size(store) < 2 * full


def test_the_flood_allocates_nothing_that_stays():
    """Once the store is full, further keys leave no more memory behind: the allocator's own count stays flat."""
    store = MemoryQuota(1000, clock=Clock())
    for number in range(2000):
        store.take(f"{number}", MINUTE)
    tracemalloc.start()
    try:
        for number in range(2000, 4000):
            store.take(f"{number}", MINUTE)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(4000, 24_000):
            store.take(f"{number}", MINUTE)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < before + 100_000


def test_several_threads_share_a_quota():
    """Threads that ask at the same time are together admitted as often as one would be."""
    store = MemoryQuota(clock=Clock())
    rules = (RateLimit(500, 3600),)
    admitted = []

    def ask():
        admitted.append(sum(store.take("a", rules).allowed for _ in range(400)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 500


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 30)), max_size=200))
def test_while_there_is_room_the_store_decides_as_the_algorithm(requests):
    """Filing and sweeping never change a decision, as long as nobody has to be forgotten."""
    clock = Clock()
    store = MemoryQuota(10, clock=clock)
    states = {}
    for key, step in requests:
        clock.now += step
        decision = store.take(key, MINUTE)
        expected = decide(MINUTE, states.get(key), int(clock.now * 1_000_000_000))
        states[key] = expected.state
        assert (decision.wait, decision.remaining) == (expected.wait, expected.remaining)


@given(
    st.integers(1, 8), st.lists(st.tuples(st.sampled_from("abcdefghij"), st.floats(-30, 30)), max_size=200)
)
def test_every_remembered_key_is_filed_once(max_keys, requests):
    """Whatever comes, and however the clock jumps, dict and heap hold the same keys, within the bound."""
    clock = Clock()
    store = MemoryQuota(max_keys, clock=clock)
    for key, step in requests:
        clock.now += step
        assert store.take(key, MINUTE).wait <= MINUTE[0].interval
        assert sorted(store._states) == sorted(key for _, key in store._filed)
        assert 1 <= len(store) <= max_keys


@pytest.mark.parametrize("max_keys", [0, -1])
def test_a_store_holds_at_least_one_key(max_keys):
    """A bound below 1 is refused; the error names it."""
    with pytest.raises(ValueError, match=f"max_keys={max_keys}: expected 1 or more"):
        MemoryQuota(max_keys)
