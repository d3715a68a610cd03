"""Redis: one attempt of half a second and a circuit breaker; without it, whoever asks goes on to the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from asgi_resilience.client import BreakerPolicy, Call, Dependency
from asgi_resilience.health_checks import redis_check
from asgi_resilience.telemetry.application import predictions_cache_hit_rate as hit_rate
from examples.inference_service.limits import Limits

__all__ = ("Cache",)


class Cache:
    """What can be had faster than from the database. A cache that is down is a cache that is empty."""

    def __init__(self, redis: Redis, limits: Limits) -> None:
        self._redis = redis
        self._check = redis_check(redis)
        self.calls = Dependency(
            "redis",
            timeout=limits.redis,
            retry=None,  # the database is nearer than the next attempt
            breaker=BreakerPolicy(open_for=limits.breaker_open),
            fallback=Call(_skip),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, limits: Limits) -> AsyncIterator["Cache"]:
        """A client without retries of its own."""
        redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=limits.redis)
        async with redis:
            yield cls(redis, limits)

    async def get(self, key: str) -> Any:
        """The value, or None."""
        found = await self.calls.call(self._redis.get, key)
        hit_rate.miss() if found is None else hit_rate.hit()
        return None if found is None else orjson.loads(found)

    async def put(self, key: str, value: Any, *, seconds: float) -> None:
        """Keep a value for a while."""
        await self.calls.call(self._redis.set, key, orjson.dumps(value), px=int(seconds * 1000))

    async def revoked(self, token_id: str) -> bool:
        """Whether a token was called back. While Redis is down none is: tokens live for an hour at most."""
        return bool(await self.calls.call(self._redis.sismember, "revoked-tokens", token_id))

    async def count_user(self, user_id: str, hour: int) -> tuple[int, int] | None:
        """Note a user; returns how many there were in the last 24 hours, and in the last 30 days. None without Redis."""
        found: tuple[int, int] | None = await self.calls.call(self._count_user, user_id, hour)
        return found

    async def _count_user(self, user_id: str, hour: int) -> tuple[int, int]:
        day = hour // 24
        hourly = [f"users:hour:{hour - back}" for back in range(24)]
        daily = [f"users:day:{day - back}" for back in range(30)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, seconds in ((hourly[0], 25 * 3600), (daily[0], 31 * 86400)):
                pipeline.pfadd(key, user_id)
                pipeline.expire(key, seconds)
            pipeline.pfcount(*hourly)
            pipeline.pfcount(*daily)
            *_, last_day, last_month = await pipeline.execute()
        return last_day, last_month

    async def health(self) -> None:
        """Raise when Redis does not answer; past the circuit breaker."""
        await self._check.check()


async def _skip(*_arguments: object, **_options: object) -> None:
    """Nothing is found, and nothing kept."""
