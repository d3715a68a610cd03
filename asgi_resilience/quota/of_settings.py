"""The shared quota store that the settings ask for, and the health check that tells of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.settings import Settings

if TYPE_CHECKING:
    from asgi_resilience.quota.redis import RedisQuota

__all__ = ("quota_store", "with_check")


def quota_store(settings: Settings) -> "RedisQuota | None":
    """The counts that the processes of one service share; None: each counts for itself, or nothing is limited.

    Raises:
        ImportError: The extras `redis` and `client` are not installed.
    """
    url = settings.rate_limit_store
    if url is None or (settings.rate_limit is None and not settings.rate_limit_paths):
        return None
    from asgi_resilience.quota.redis import RedisQuota  # noqa: PLC0415 - the extras `redis` and `client`

    return RedisQuota(
        url, leased=settings.rate_limit_leased, prefix=f"asgi_resilience:quota:{settings.service}"
    )


def with_check(checks: Any, store: "RedisQuota | None") -> Any:
    """The health checks of a service, and that of its quota store, without which it works all the same."""
    if store is None:
        return checks
    check = HealthCheck("rate_limit_store", store.health, critical=False)
    if isinstance(checks, Mapping):
        return {**cast("Mapping[str, Any]", checks), check.name: check}
    return (*checks, check)
