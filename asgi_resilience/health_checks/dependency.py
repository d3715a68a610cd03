"""What the circuit breaker and the fallbacks of an outbound dependency know: no question is asked at all."""

from typing import TYPE_CHECKING

from asgi_resilience.health_check import HealthCheck, HealthStatus
from asgi_resilience.health_checks.outage import Outage

if TYPE_CHECKING:
    from asgi_resilience.client import Dependency

__all__ = ("dependency_check",)


def dependency_check(dependency: "str | Dependency", *, critical: bool = True) -> HealthCheck:
    """Healthy while the circuit breaker of `dependency` is closed.

    Unhealthy while calls are rejected, degraded while a fallback answers in their place or probes may go out: see
    `Dependency.health`. With several of one name, the worst of them counts.

    Args:
        dependency: A `Dependency`, or the name of one; it is looked for at each probe, so it may be made later.
        critical: As for `HealthCheck`.

    Raises:
        ValueError: The name is empty.
    """
    if not isinstance(dependency, str):
        return HealthCheck(dependency.name, dependency.health, critical=critical)
    name = dependency

    async def ask() -> HealthStatus:
        from asgi_resilience.client.registry import dependencies  # noqa: PLC0415 - the extra `client`

        statuses = [await each.health() for each in dependencies() if each.name == name]
        if not statuses:
            raise Outage(f"no Dependency of this process is called {name!r}")
        for status in ("unhealthy", "degraded"):
            if status in statuses:
                return status
        return "healthy"

    return HealthCheck(name, ask, critical=critical)
