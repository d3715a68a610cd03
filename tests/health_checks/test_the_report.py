"""What orchestrators and people see of a service whose real Redis is stopped and started."""

import asyncio

import pytest

from asgi_resilience import HealthMiddleware
from asgi_resilience.client import BreakerPolicy, Call, Dependency
from asgi_resilience.health_checks import dependency_check, flag_check, redis_check
from asgi_resilience.testing import asgi_request

redis = pytest.importorskip("redis.asyncio", reason="redis is not installed")

from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402

pytestmark = pytest.mark.anyio


async def app(scope, receive, send):
    """Is never reached."""
    raise AssertionError


async def from_database(key):
    """What is asked when the cache is down."""
    return f"row of {key}"


async def test_stopped_and_started_again(redis_server):
    """A Redis that is needed takes the service out while it is down; one with a fallback leaves it in, degraded."""
    store = redis.Redis(port=redis_server.port, password="hunter2secret", retry=Retry(NoBackoff(), 0))
    cache = Dependency(
        "cache", retry=None, breaker=BreakerPolicy(failures_in_a_row=1), fallback=Call(from_database)
    )
    loaded = asyncio.Event()
    checks = dependency_check(cache), flag_check("model_service", loaded)
    without = HealthMiddleware(app, checks=checks, cache_ttl=0)
    needed = HealthMiddleware(app, checks=(*checks, redis_check(store)), cache_ttl=0)

    async def ask(service, path="/health"):
        answer = await asgi_request(service, path=path)
        return answer.status, answer.json()["status"], answer.json()["dependencies"]

    async with store:
        well = {"cache": "healthy", "model_service": "healthy"}
        assert (await ask(without))[:2] == (503, "unhealthy")
        loaded.set()
        assert await cache.call(store.get, "key") is None
        assert await ask(without) == (200, "healthy", well)
        assert await ask(needed) == (200, "healthy", {**well, "redis": "healthy"})

        await asyncio.to_thread(redis_server.stop)
        assert await cache.call(store.get, "key") == "row of key"
        assert await ask(without) == (200, "degraded", {**well, "cache": "degraded"})
        assert await ask(needed) == (503, "unhealthy", {**well, "cache": "degraded", "redis": "unhealthy"})
        assert (await ask(needed, "/health/ready"))[0] == 503
        assert (await ask(needed, "/health/live"))[0] == 200

        await asyncio.to_thread(redis_server.start)
        assert await ask(needed) == (200, "degraded", {**well, "cache": "degraded", "redis": "healthy"})
        cache.breaker.close()
        cache.fallback_use = type(cache.fallback_use)()  # as after ten seconds
        assert await ask(needed) == (200, "healthy", {**well, "redis": "healthy"})
