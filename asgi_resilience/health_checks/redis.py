"""Redis: `PING`, and how much of its memory is in use."""

from typing import Any

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.health_checks.measurement import Measurement
from asgi_resilience.health_checks.outage import Outage, asked_safely, refuse_blocking
from asgi_resilience.metric_names import REDIS_MEMORY_USAGE
from asgi_resilience.metric_sink import MetricSink, Tags

__all__ = ("redis_check",)


def redis_check(
    client: Any, *, name: str = "redis", critical: bool = True, timeout: float | None = 0.5
) -> HealthCheck:
    """Healthy when Redis answers `PING`.

    A cache is rarely critical: with `critical=False` the service is degraded without it. While a sink is set,
    `redis.memory_usage` is measured every 15 s: the share of `maxmemory`, or of the machine's memory where that is not set.

    Args:
        client: A `redis.asyncio.Redis`, or what has its `ping` and `info`.
        name: As for `HealthCheck`.
        critical: As for `HealthCheck`.
        timeout: Seconds; None: as the layer says.

    Raises:
        TypeError: `client` is nothing of the kind, or one that blocks.
        ValueError: As for `HealthCheck`.
    """
    refuse_blocking(client, "ping", "a redis.asyncio.Redis")

    async def measure(sink: MetricSink, tags: Tags) -> None:
        memory = await client.info("memory")
        most = memory["maxmemory"] or memory["total_system_memory"]
        sink.gauge(REDIS_MEMORY_USAGE.name, 100 * memory["used_memory"] / most, tags)

    measurement = Measurement(name, measure)

    async def ask() -> None:
        if not await client.ping():
            raise Outage("PING was not answered by PONG")
        await measurement.take()

    return HealthCheck(name, asked_safely(ask), critical=critical, timeout=timeout)
