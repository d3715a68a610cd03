"""Ready-made metrics of a prediction service; `telemetry.instruments` has what they are made of, for your own.

    predictions_generated.add(sport="soccer", model="v2.3")

    @database_query_duration.timed(operation="match")
    async def match(match_id): ...

All tags are optional but `outcome` and `error`, which timers set themselves.
"""

from typing import Final

from asgi_resilience import metric_names as names
from asgi_resilience.telemetry.instruments import Counter, Gauge, HitRate, Timer

__all__ = (
    "database_connections_active",
    "database_query_duration",
    "features_computation_duration",
    "models_inference_duration",
    "predictions_cache_hit_rate",
    "predictions_generated",
)

predictions_generated: Final = Counter(
    names.PREDICTIONS_GENERATED.name, tags=names.PREDICTIONS_GENERATED.tags
)
predictions_cache_hit_rate: Final = HitRate(names.PREDICTIONS_CACHE_HIT_RATE.name)
models_inference_duration: Final = Timer(names.MODELS_INFERENCE_DURATION.name, tags=("model",))
features_computation_duration: Final = Timer(names.FEATURES_COMPUTATION_DURATION.name, tags=("feature",))
database_query_duration: Final = Timer(names.DATABASE_QUERY_DURATION.name, tags=("database", "operation"))
database_connections_active: Final = Gauge(
    names.DATABASE_CONNECTIONS_ACTIVE.name, tags=names.DATABASE_CONNECTIONS_ACTIVE.tags
)
