"""Where the numbers of this process gather, and what becomes of them. Adapters: one optional package per file."""

from asgi_resilience.telemetry.aggregate import Aggregator
from asgi_resilience.telemetry.attributes import keep_trace, set_attributes
from asgi_resilience.telemetry.batch import Batch, Exporter
from asgi_resilience.telemetry.last_minutes import Distribution, Snapshot
from asgi_resilience.telemetry.periodic import Periodic
from asgi_resilience.telemetry.pipeline import Pipeline, pipeline, prometheus_text, snapshot
from asgi_resilience.telemetry.statsd import DogStatsDExporter
from asgi_resilience.telemetry.windows import Windows

__all__ = (
    "Aggregator",
    "Batch",
    "Distribution",
    "DogStatsDExporter",
    "Exporter",
    "Periodic",
    "Pipeline",
    "Snapshot",
    "Windows",
    "keep_trace",
    "pipeline",
    "prometheus_text",
    "set_attributes",
    "snapshot",
)
