"""Ready-made health checks: each asks a dependency the least that proves that it works.

    Settings(health_checks=(postgres_check(pool), redis_check(cache, critical=False)))

They take what the application calls with (its pool, its client), so that they see what it would see, and import no driver.
"""

from asgi_resilience.health_checks.dependency import dependency_check
from asgi_resilience.health_checks.flag import flag_check
from asgi_resilience.health_checks.http import http_check
from asgi_resilience.health_checks.outage import Outage
from asgi_resilience.health_checks.postgres import postgres_check
from asgi_resilience.health_checks.redis import redis_check
from asgi_resilience.health_checks.s3 import s3_check

__all__ = (
    "Outage",
    "dependency_check",
    "flag_check",
    "http_check",
    "postgres_check",
    "redis_check",
    "s3_check",
)
