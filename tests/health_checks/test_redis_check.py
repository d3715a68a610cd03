"""`PING` against a real Redis that is stopped and started."""

import asyncio
import logging

import pytest

from asgi_resilience import context
from asgi_resilience.health_checks import redis_check
from asgi_resilience.health_checks.outage import Outage

redis = pytest.importorskip("redis", reason="redis is not installed")

import redis.asyncio as aioredis  # noqa: E402
from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402

pytestmark = pytest.mark.anyio


def client(server, **options):
    """A client without retries of its own."""
    options = {"password": "hunter2secret", **options}
    return aioredis.Redis(port=server.port, retry=Retry(NoBackoff(), 0), **options)


async def test_stopped_and_started_again(redis_server, report):
    """Healthy while Redis runs, degraded as a whole without a cache that is not critical, healthy again afterwards."""
    async with client(redis_server) as cache:
        check = redis_check(cache, critical=False)
        assert await report(check) == ("healthy", {"redis": "healthy"})
        await asyncio.to_thread(redis_server.stop)
        assert await report(check) == ("degraded", {"redis": "unhealthy"})
        await asyncio.to_thread(redis_server.start)
        assert await report(check) == ("healthy", {"redis": "healthy"})


async def test_its_memory_is_measured(redis_server, report, numbers):
    """With a sink, the share of `maxmemory` that is in use is measured; without a limit, that of the machine's memory."""
    async with client(redis_server) as cache:
        await cache.set("key", "x" * 10_000_000)
        await report(redis_check(cache))
        limited = numbers.clear()
        await cache.config_set("maxmemory", 0)
        await report(redis_check(cache, name="cache"))
    assert 20 < limited.pop("redis.memory_usage dependency:redis") < 50
    assert limited == {}
    unlimited = numbers.clear()
    assert 0 < unlimited.pop("redis.memory_usage dependency:cache") < 20
    assert unlimited == {}


async def test_a_user_who_may_not_ask_for_the_memory(redis_server, report, numbers, monkeypatch):
    """A Redis that refuses `INFO` is healthy all the same, and not measured; that is reported."""
    monkeypatch.setattr(context, "failures", {})
    async with client(redis_server) as cache:
        await cache.acl_setuser(
            "probe", enabled=True, passwords=["+probe"], commands=["+ping", "+hello", "+client"]
        )
    async with client(redis_server, username="probe", password="probe") as cache:
        assert await report(redis_check(cache)) == ("healthy", {"redis": "healthy"})
    assert numbers.all == []
    assert list(context.failures.values()) == [1]


async def test_what_is_logged_has_no_password(redis_server, report, caplog):
    """A Redis that refuses is told of without the password, right or wrong, and without the driver's frames."""
    wrong = aioredis.from_url(
        f"redis://:hunter2secrets@127.0.0.1:{redis_server.port}", retry=Retry(NoBackoff(), 0)
    )
    async with wrong:
        check = redis_check(wrong)
        with caplog.at_level(logging.WARNING, "asgi_resilience.health"):
            assert (await report(check))[0] == "unhealthy"
        with pytest.raises(Outage) as raised:
            await check.check()
    assert "AuthenticationError" in caplog.text
    assert "hunter2secret" not in caplog.text
    assert raised.value.__cause__ is raised.value.__context__ is None


async def test_a_redis_that_does_not_answer_ping():
    """A ping without a pong is an outage."""

    class Mute:
        async def __aenter__(self):
            """So that it passes for a client of the async kind."""

        async def ping(self):
            return False

    with pytest.raises(Outage, match="PING was not answered"):
        await redis_check(Mute()).check()


@pytest.mark.parametrize("wrong", [None, redis.Redis()])
def test_what_is_no_async_client(wrong):
    """A client that blocks, or none at all, is an error when the check is made."""
    with pytest.raises(TypeError, match=r"expected a redis\.asyncio\.Redis"):
        redis_check(wrong)
