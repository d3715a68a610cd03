"""How application metrics and health checks are used, for the type checkers: mypy and pyright read it, nobody runs it."""

import asyncio
from collections.abc import Iterator
from typing import Any, assert_type

from asgi_resilience import HealthCheck, Settings
from asgi_resilience.client import Dependency
from asgi_resilience.health_checks import (
    dependency_check,
    flag_check,
    http_check,
    postgres_check,
    redis_check,
    s3_check,
)
from asgi_resilience.metric_names import RUNTIME_TASKS
from asgi_resilience.telemetry.application import models_inference_duration, predictions_cache_hit_rate
from asgi_resilience.telemetry.instruments import Counter, Gauge, Histogram
from asgi_resilience.telemetry.runtime.probes import Reading, add_probe

orders = Counter("orders.placed", tags=("country", "kind"))
orders.add(country="NZ", kind=None)
orders.add(2)
Gauge("orders.open").set(7)
Histogram("orders.price").record(12.5)
predictions_cache_hit_rate.hit()


# What is decorated keeps its signature.
@models_inference_duration.timed(model="xgboost")
def infer(features: list[float], *, top: int = 1) -> float:
    """Not async."""
    return sum(features) / top


@models_inference_duration.timed(model="xgboost")
async def predict(features: list[float]) -> str:
    """Async."""
    async with models_inference_duration.timed():
        return str(infer(features, top=3))


assert_type(infer([1.0]), float)


async def main() -> None:
    """What the decorated functions give."""
    assert_type(await predict([1.0]), str)
    with models_inference_duration.timed(model="xgboost"):
        pass


def tasks() -> Iterator[Reading]:
    """A probe may be a generator."""
    yield Reading(RUNTIME_TASKS, 3)


add_probe(tasks)()
add_probe(lambda: [Reading(RUNTIME_TASKS, 3, ())])


def checks(pool: Any, cache: Any, s3: Any, http: Any) -> Settings:
    """Every check is a `HealthCheck`, and the settings take them."""
    database = postgres_check(pool)
    assert_type(database, HealthCheck)
    return Settings(
        health_checks=(
            database,
            redis_check(cache, critical=False, timeout=None),
            s3_check(s3, "models"),
            http_check(http, "http://models/health/ready", name="models"),
            flag_check("model", asyncio.Event()),
            flag_check("other", lambda: True),
            dependency_check("search"),
            dependency_check(Dependency("geo")),
        )
    )
