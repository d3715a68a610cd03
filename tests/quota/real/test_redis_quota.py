"""The shared store on a real Redis: the same decisions as in the process, and a process that goes on without it."""

import asyncio
import contextlib
import itertools
import logging
import runpy
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_resilience import context
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.quota.memory import MemoryQuota
from asgi_resilience.telemetry.process_sink import set_process_sink
from tests.quota.shared_store import Clock
from tests.telemetry.kept_numbers import KeptNumbers

redis = pytest.importorskip("redis", reason="redis is not installed")

import redis.asyncio as aioredis  # noqa: E402
from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402

from asgi_resilience.client.window import BreakerPolicy  # noqa: E402
from asgi_resilience.quota import redis as redis_module  # noqa: E402
from asgi_resilience.quota.redis import RedisQuota  # noqa: E402

pytestmark = pytest.mark.anyio

MINUTE = RateLimit.parse_many("10/minute")
PATIENT = 5.0  # a budget for tests that are not about it
numbers_of_tests = itertools.count()


@contextlib.asynccontextmanager
async def quota(server, **options):
    """A store on the server, with keys that no other test has."""
    options = {"budget": PATIENT, "prefix": f"test:{next(numbers_of_tests)}", **options}
    store = RedisQuota(f"redis://127.0.0.1:{server.port}", **options)
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.asynccontextmanager
async def raw(server):
    """A client of the same server."""
    async with aioredis.Redis(port=server.port, retry=Retry(NoBackoff(), 0), decode_responses=True) as client:
        yield client


# ----------------------------------------------------------------------------------------------------- decisions

RULE = st.builds(
    RateLimit,
    st.integers(1, 10),
    st.sampled_from([10.0, 60.0, 86400.0]),
    st.none() | st.integers(1, 10),
    st.uuids().map(str),
)


@settings(max_examples=40, deadline=None)
@given(
    rules=st.lists(RULE, min_size=1, max_size=3).map(tuple),
    steps=st.lists(
        st.tuples(st.integers(0, 20_000_000), st.integers(1, 3), st.sampled_from("ab")), max_size=40
    ),
    began=st.integers(0, 2_000_000_000),
)
def test_decisions_are_those_of_the_store_in_the_process(server, rules, steps, began):
    """On any sequence of requests, both stores admit the same ones and say the same of them, to the nanosecond."""
    # A rule's interval is a second or more here, so that no key can expire in real time in the middle.
    clock = Clock(began)
    most = min(rule.tolerance // rule.interval for rule in rules)

    async def run():
        local = MemoryQuota(clock=clock)
        async with quota(server, clock=clock) as shared:
            for microseconds, cost, key in steps:
                clock.now += microseconds / 1_000_000
                ours = local.take(key, rules, min(cost, most))
                theirs = await shared.take_async(key, rules, min(cost, most))
                assert (theirs.wait, theirs.now, theirs.state) == (ours.wait, ours.now, ours.state)
            assert not shared.lost

    asyncio.run(run())


async def test_a_clock_that_went_back(server):
    """A state far ahead counts as a burst just used up: the client waits for an interval, and not for the clock."""
    clock = Clock(5000.0)
    local = MemoryQuota(clock=clock)
    async with quota(server, clock=clock) as shared:
        for back in (0, 0, 4000.0, 0):
            clock.now -= back
            ours, theirs = local.take("a", MINUTE, 6), await shared.take_async("a", MINUTE, 6)
            assert (theirs.wait, theirs.state) == (ours.wait, ours.state)
        assert theirs.retry_after == 36.0


async def test_the_time_is_the_servers(server):
    """Without a clock of one's own, it is that of Redis, by which a token is earned back."""
    rules = (RateLimit(10, 0.5),)
    async with quota(server) as shared, raw(server) as client:
        seconds, microseconds = await client.time()
        decisions = [await shared.take_async("a", rules) for _ in range(11)]
        assert 0 <= decisions[0].now / 1e9 - (seconds + microseconds / 1e6) < PATIENT
        while all(each.allowed for each in decisions):
            decisions.append(await shared.take_async("a", rules))
        await asyncio.sleep(decisions[-1].retry_after)
        assert (await shared.take_async("a", rules)).allowed


async def test_rules_that_change_keep_what_they_can(server):
    """After a deployment with other rules, a state of fewer or more rules is read as far as it goes."""
    more = RateLimit.parse_many("10/minute, 20/hour")
    async with quota(server, clock=Clock()) as shared:
        await shared.take_async("a", MINUTE, 4)
        both = await shared.take_async("a", more)
        assert [both.remaining_of(0), both.remaining_of(1)] == [5, 19]
        assert (await shared.take_async("a", MINUTE)).remaining == 4


async def test_a_window_of_a_year(server):
    """Above 2⁵³ nanoseconds a decision is exact to a few of them."""
    rules = (RateLimit(2, 366 * 86400.0),)
    async with quota(server, clock=Clock(1.8e9)) as shared:
        first, second, third = [await shared.take_async("a", rules) for _ in range(3)]
        assert (first.remaining, second.remaining) == (1, 0)
        assert third.retry_after == pytest.approx(183 * 86400.0)


async def test_a_cost_that_can_never_be_admitted(server):
    """A cost above the burst is the mistake that it is in the process, and no failure of the store."""
    async with quota(server) as shared:
        with pytest.raises(ValueError, match="cost=11: expected 1 to 10"):
            await shared.take_async("a", MINUTE, 11)
        assert not shared.lost


# --------------------------------------------------------------------------------------------------- in the server


async def test_one_key_with_a_hash_tag_that_expires(server):
    """All rules of a client are one key, the client is its hash tag, and it is gone when everything is back."""
    rules = RateLimit.parse_many("10/minute, 20/hour")
    async with quota(server, prefix="shop") as shared, raw(server) as client:
        await shared.take_async("10.0.0.1", rules)
        assert await client.keys("shop*") == ["shop:{10.0.0.1}"]
        assert 170_000 < await client.pttl("shop:{10.0.0.1}") <= 180_000  # one of 20 in an hour
        await shared.take_async("a", (RateLimit(100, 1.0),))
        await asyncio.sleep(0.02)
        assert await client.exists("shop:{a}") == 0


async def test_a_refusal_writes_nothing(server):
    """Whoever is refused costs the server a look, and what is sent to its replicas is nothing."""
    async with quota(server, prefix="refused") as shared, raw(server) as client:
        await shared.take_async("a", MINUTE, 10)
        before = await client.get("refused:{a}")
        assert not (await shared.take_async("a", MINUTE)).allowed
        assert await client.get("refused:{a}") == before


async def test_a_script_that_is_not_known(server):
    """After a restart, or in an emergency of an operator's, the script is sent again: no decision fails."""
    async with quota(server) as shared, raw(server) as client:
        assert (await shared.take_async("a", MINUTE)).remaining == 9
        await client.script_flush()
        assert (await shared.take_async("a", MINUTE)).remaining == 8
        assert not shared.lost


async def test_a_decision_is_one_question(server):
    """All the rules of a request are one command."""
    rules = RateLimit.parse_many("10/second, 10/minute, 20/hour")
    async with quota(server) as shared, raw(server) as client:
        await shared.take_async("a", rules)
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        for _ in range(5):
            await shared.take_async("a", rules)
        assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] == before + 5


async def test_processes_share_and_prefixes_do_not(server):
    """Two stores with one prefix count together, in a client of one's own, too; one with another counts apart."""
    async with (
        quota(server, prefix="one") as first,
        raw(server) as client,
        quota(server, prefix="two") as other,
    ):
        second = RedisQuota(client, prefix="one", budget=PATIENT, name="second")
        await first.take_async("a", MINUTE, 6)
        assert (await second.take_async("a", MINUTE)).remaining == 3
        assert (await other.take_async("a", MINUTE)).remaining == 9


# ---------------------------------------------------------------------------------------------------------- leased


async def test_leases_over_a_real_store(server):
    """Leased, a thousand decisions are a few questions, and two processes admit no more than the limit together."""
    rules = (RateLimit(1000, 3600.0),)
    options = {"leased": True, "prefix": "leased", "lease": 60.0}
    async with (
        quota(server, **options) as first,
        quota(server, name="second", **options) as second,
        raw(server) as client,
    ):
        before = (await client.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
        decisions = [await store.take_async("a", rules) for _ in range(600) for store in (first, second)]
        asked = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    admitted = sum(each.allowed for each in decisions)
    assert 980 <= admitted <= 1000 + 1
    assert asked < 120


# ------------------------------------------------------------------------------------------------------------- lost


async def until(condition):
    """Wait for what another process does."""
    async with asyncio.timeout(10.0):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_stopped_and_started_again(mortal, caplog, monkeypatch):
    """While Redis is down each process holds clients to a share; when it is back they count together; each is told once."""
    caplog.set_level(logging.INFO, "asgi_resilience.rate_limit")
    monkeypatch.setattr(redis_module, "_QUIET", 0.05)
    kept = KeptNumbers()
    set_process_sink(kept)
    breaker = BreakerPolicy(open_for=0.05, half_open_for=0.05)
    async with quota(mortal, breaker=breaker, budget=0.5, local_share=0.5) as store:
        assert (await store.take_async("a", MINUTE)).remaining == 9
        assert await store.health() == "healthy"
        await asyncio.to_thread(mortal.stop)
        decisions = [await store.take_async("a", MINUTE) for _ in range(10)]
        assert [each.allowed for each in decisions] == [True] * 5 + [False] * 5
        assert await store.health() == "degraded"
        assert store.dependency.breaker.label == "open"
        counted = [tags for _, name, _, tags in kept.all if name == "rate_limit.unshared"]
        assert counted == [("policy:local",)] * 10
        await asyncio.to_thread(mortal.start)

        async def found():
            await store.take_async("b", MINUTE)
            return not store.lost

        await until(found)
        assert await store.health() == "healthy"
        assert (await store.take_async("c", MINUTE)).remaining == 9
    lines = [each.getMessage() for each in caplog.records if each.name == "asgi_resilience.rate_limit"]
    assert len(lines) == 2
    assert lines[0].startswith("redis-quota does not answer (ConnectionError): quotas are held to a share")
    assert lines[1].startswith("redis-quota answers again: quotas are shared; ")


@pytest.mark.parametrize(("policy", "allowed"), [("open", True), ("closed", False)])
@pytest.mark.parametrize("leased", [False, True])
async def test_without_a_store(mortal, policy, allowed, leased):
    """Everybody is admitted, or nobody, as was chosen; no decision is an error."""
    await asyncio.to_thread(mortal.stop)
    async with quota(mortal, when_lost=policy, leased=leased) as store:
        decisions = await asyncio.gather(*(store.take_async("a", MINUTE) for _ in range(50)))
        assert {each.allowed for each in decisions} == {allowed}
        assert store.lost


async def test_a_slow_store_has_a_budget(server):
    """A Redis that hangs costs a decision its budget, and none at all once the circuit is open."""
    async with quota(server, budget=0.02) as store, raw(server) as client:
        assert (await store.take_async("a", MINUTE)).allowed
        await client.client_pause(400)
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            await store.take_async("a", MINUTE)
        assert asyncio.get_running_loop().time() - began < 0.35
        assert store.lost
        await client.client_unpause()


async def test_a_store_that_refuses_is_lost_too(server):
    """An error that Redis answers with, such as a value that is none of ours, is told as an outage is."""
    async with quota(server, prefix="wrong") as store, raw(server) as client:
        await client.lpush("wrong:{a}", "1")
        assert (await store.take_async("a", MINUTE)).allowed
        assert store.lost
        await client.delete("wrong:{a}")


async def test_a_cancellation_that_nobody_asked_for(mortal, monkeypatch):
    """What a connection ends in is no cancellation of the request; one that was asked for goes on."""
    async with quota(mortal) as store:

        async def ends_in_one(key, asked):
            raise asyncio.CancelledError

        monkeypatch.setattr(store, "_run", ends_in_one)
        assert (await store.take_async("a", MINUTE)).allowed
        assert store.lost

        async def hangs(key, asked):
            await asyncio.Event().wait()

        monkeypatch.setattr(store, "_run", hangs)
        task = asyncio.create_task(store.take_async("a", MINUTE))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_sink_that_fails(mortal):
    """What goes wrong while counting changes no decision, and is reported."""

    class Broken(KeptNumbers):
        def increment(self, name, /, value=1, tags=()):
            raise OSError

    await asyncio.to_thread(mortal.stop)
    before = sum(context.failures.values())
    async with quota(mortal, metrics=Broken()) as store:
        assert (await store.take_async("a", MINUTE)).allowed
    assert sum(context.failures.values()) > before


# ---------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("budget", 0),
        ("prefix", "a{b"),
        ("connections", 0),
        ("lease", 0),
        ("lease_share", 2),
        ("when_lost", "never"),
        ("local_share", 0),
    ],
)
def test_options_are_checked(option, value):
    """A value out of its range is refused with the option, the value and the range."""
    with pytest.raises(ValueError, match=f"^{option}={value!r}: expected"):
        RedisQuota("redis://localhost", leased=True, **{option: value})


def test_a_url_that_is_none():
    """What redis-py does not take for a URL is refused when it is given."""
    with pytest.raises(ValueError, match="redis://"):
        RedisQuota("localhost:6379")


@pytest.mark.parametrize("missing", ["redis.asyncio", "aiobreaker"])
def test_without_the_extras(monkeypatch, missing):
    """The error says what to install."""
    for name in [each for each in sys.modules if each.startswith(("asgi_resilience.client", "redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'asgi-resilience\[redis,client\]'"):
        runpy.run_path(redis_module.__file__)
