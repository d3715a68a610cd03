"""An HTTP endpoint, such as the readiness of another service."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from asgi_resilience.health_check import HealthCheck, HealthStatus
from asgi_resilience.health_checks.outage import Outage, asked_safely, refuse_blocking

__all__ = ("http_check",)

_MOST: Final = 65_536  # bytes of a report; no more is read
_SUCCESS: Final = range(200, 300)
_MEANINGS: Final[Mapping[object, HealthStatus]] = {
    "degraded": "degraded",
    "warn": "degraded",
    "unhealthy": "unhealthy",
    "fail": "unhealthy",
}
"""How a report's `status` may say that not all is well: in the words of this package, and of `application/health+json`."""


def http_check(
    client: Any, url: str, *, name: str, critical: bool = True, timeout: float | None = 0.7
) -> HealthCheck:
    """Healthy when a GET of `url` is answered by 2xx.

    A JSON report with a `status` of `degraded` or `warn` is degraded; `unhealthy` and `fail` mean themselves whatever the
    status code. Redirects are not followed, unless the client does that by itself.

    Args:
        client: An `AsyncClient` of httpx2 or httpx. Not one that retries: a check is to see what is.
        url: Such as `http://models:8000/health/ready`.
        name: As for `HealthCheck`.
        critical: As for `HealthCheck`.
        timeout: Seconds; None: as the layer says.

    Raises:
        TypeError: `client` is nothing of the kind, or one that blocks.
        ValueError: As for `HealthCheck`.
    """
    refuse_blocking(client, "stream", "an AsyncClient of httpx2 or httpx")

    async def ask() -> HealthStatus:
        async with client.stream("GET", url) as response:
            if response.status_code not in _SUCCESS:
                raise Outage(f"answered {response.status_code}")
            if "json" not in response.headers.get("content-type", ""):
                return "healthy"
            return _meaning(await _beginning(response))

    return HealthCheck(name, asked_safely(ask), critical=critical, timeout=timeout)


async def _beginning(response: Any) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MOST:
            break
    return body


def _meaning(body: bytes) -> HealthStatus:
    try:
        report: object = json.loads(body)
    except ValueError:
        return "healthy"
    status = cast("dict[str, object]", report).get("status") if isinstance(report, dict) else None
    return _MEANINGS.get(status, "healthy") if isinstance(status, str) else "healthy"
