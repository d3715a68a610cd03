"""Every monitor of a service: one table."""

from collections.abc import Iterable
from typing import Any, Final

from asgi_resilience import metric_names as metrics
from asgi_resilience.metric_names import Metric
from asgi_resilience.monitoring import agent_metrics
from asgi_resilience.monitoring.anomalies import anomalies
from asgi_resilience.monitoring.burn_rates import burn_rates
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.query import of_service
from asgi_resilience.monitoring.rule import Rule, monitor
from asgi_resilience.monitoring.severity import Severity
from asgi_resilience.monitoring.slos import DOWN

__all__ = ("monitors", "rules")

_FAILED: Final = "outcome IN (error,timeout,deadline,circuit_open)"


def monitors(config: MonitoringConfig, table: Iterable[Rule] | None = None) -> dict[str, dict[str, Any]]:
    """The bodies that Datadog's API takes, by their key.

    Args:
        config: For what they are.
        table: In the place of `rules(config)`.
    """
    return {rule.key: monitor(rule, config) for rule in (rules(config) if table is None else table)}


def rules(config: MonitoringConfig) -> tuple[Rule, ...]:
    """The table."""
    return (
        *_outages(config),
        *_dependencies(config),
        *_resources(config),
        *anomalies(config),
        *burn_rates(config),
    )


def _outages(config: MonitoringConfig) -> tuple[Rule, ...]:
    q = of_service(config)
    total = q.plain_count(metrics.API_REQUESTS_TOTAL)
    errors = q.count(metrics.API_REQUESTS_ERRORS)
    p95 = q.percentile(95, metrics.API_REQUESTS_DURATION)
    return (
        Rule(
            key=DOWN,
            title="API gateway down",
            impact="No instance answers /health/live: users get nothing.",
            severity=Severity.CRITICAL,
            query=f"max(last_1m):{q.gauge('max', agent_metrics.HTTP_CAN_CONNECT)}",
            comparison="<",
            critical=1,
            missing_after=2,
        ),
        Rule(
            key="database-unreachable",
            title="Database unreachable",
            impact="Nothing that needs the database is answered.",
            severity=Severity.CRITICAL,
            query=f"max(last_1m):{q.gauge('max', metrics.POSTGRESQL_CONNECTIONS)}",
            comparison="<",
            critical=1,
            missing_after=2,
            runbook="database-connection-failure",
        ),
        Rule(
            key="high-error-rate",
            title="High error rate",
            impact="More than one request in twenty fails.",
            severity=Severity.CRITICAL,
            query=f"sum(last_5m):{errors} / {total} * 100",
            critical=5,
            warning=1,
            recovery=4,
            unit=" %",
        ),
        Rule(
            key="high-latency",
            title="High latency",
            impact="One request in twenty takes more than a second.",
            severity=Severity.HIGH,
            query=q.over("last_10m", p95),
            critical=1000,
            warning=500,
            recovery=900,
            unit=" ms",
            runbook="high-latency-investigation",
        ),
    )


def _dependencies(config: MonitoringConfig) -> tuple[Rule, ...]:
    q = of_service(config)
    model = f"dependency:{config.model}"
    failed = q.count(metrics.OUTBOUND_CALLS, model, _FAILED)
    calls = q.plain_count(metrics.OUTBOUND_CALLS, model)
    query_p95 = q.percentile(95, metrics.DATABASE_QUERY_DURATION)
    return (
        Rule(
            key="redis-memory-high",
            title="Redis memory high",
            impact="Redis soon evicts keys or refuses to write: the cache stops helping.",
            severity=Severity.HIGH,
            query=f"avg(last_5m):{q.gauge('max', metrics.REDIS_MEMORY_USAGE)}",
            critical=_level(metrics.REDIS_MEMORY_USAGE, 0.9),
            recovery=_level(metrics.REDIS_MEMORY_USAGE, 0.85),
            unit=" %",
        ),
        Rule(
            key="low-cache-hit-rate",
            title="Low cache hit rate",
            impact="Predictions are computed again: slower answers, more load on the model and the database.",
            severity=Severity.MEDIUM,
            query=f"avg(last_30m):{q.gauge('avg', metrics.PREDICTIONS_CACHE_HIT_RATE)}",
            comparison="<",
            critical=_level(metrics.PREDICTIONS_CACHE_HIT_RATE, 0.7),
            recovery=_level(metrics.PREDICTIONS_CACHE_HIT_RATE, 0.75),
            runbook="cache-invalidation-issues",
        ),
        Rule(
            key="slow-database-queries",
            title="Slow database queries",
            impact="Requests wait for the database; connections stay taken.",
            severity=Severity.MEDIUM,
            channel="database-team",
            query=q.over("last_15m", query_p95),
            critical=500,
            recovery=400,
            unit=" ms",
        ),
        Rule(
            key="database-queries-above-target",
            title="Database queries above their target",
            impact="Nobody notices yet: an index or a plan is worth a look.",
            severity=Severity.LOW,
            channel="database-team",
            query=q.over("last_1h", query_p95),
            critical=50,
            recovery=40,
            unit=" ms",
            runbook="slow-database-queries",
        ),
        Rule(
            key="model-errors",
            title="Model service fails",
            impact="Predictions come from the cache, or not at all.",
            severity=Severity.MEDIUM,
            channel="ml-team",
            query=f"sum(last_5m):{failed} / {calls} * 100",
            critical=5,
            recovery=4,
            unit=" %",
            runbook="model-inference-failure",
        ),
        Rule(
            key="slow-model-inference",
            title="Slow model inference",
            impact="Predictions take longer, and reach their timeout next.",
            severity=Severity.MEDIUM,
            channel="ml-team",
            query=q.over("last_10m", q.percentile(95, metrics.MODELS_INFERENCE_DURATION)),
            critical=200,
            recovery=180,
            unit=" ms",
        ),
        Rule(
            key="slow-feature-computation",
            title="Slow feature computation",
            impact="Predictions take longer.",
            severity=Severity.LOW,
            channel="ml-team",
            query=q.over("last_15m", q.percentile(95, metrics.FEATURES_COMPUTATION_DURATION)),
            critical=100,
            recovery=90,
            unit=" ms",
        ),
        Rule(
            key="circuit-breaker-open",
            title="Circuit breaker open",
            impact="Calls of a dependency are refused without a try; fallbacks answer where there are any.",
            severity=Severity.MEDIUM,
            query=f"avg(last_5m):{q.gauge('max', metrics.OUTBOUND_BREAKER_STATE, by=('dependency',))}",
            critical=1,
            groups=("dependency",),
            apart=True,
        ),
    )


def _resources(config: MonitoringConfig) -> tuple[Rule, ...]:
    q = of_service(config)
    connections = q.gauge("max", metrics.POSTGRESQL_CONNECTIONS)
    allowed = q.gauge("max", metrics.POSTGRESQL_CONNECTIONS_MAX)

    def used(
        key: str,
        title: str,
        metric: Metric,
        share: float,
        severity: Severity,
        impact: str,
        groups: tuple[str, ...] = ("host",),
    ) -> Rule:
        return Rule(
            key=key,
            title=title,
            impact=impact,
            severity=severity,
            query=f"avg(last_10m):{q.gauge('avg', metric, by=groups)}",
            critical=_level(metric, share),
            recovery=_level(metric, share - 0.05),
            groups=groups,
            unit=" %",
        )

    return (
        used("cpu-high", "CPU high", metrics.CPU_USAGE, 0.8, Severity.MEDIUM, "Every request gets slower."),
        used(
            "memory-high",
            "Memory high",
            metrics.MEMORY_USAGE,
            0.85,
            Severity.MEDIUM,
            "The process is killed next.",
        ),
        used(
            "disk-high",
            "Disk full soon",
            metrics.DISK_USAGE,
            0.8,
            Severity.LOW,
            "Nothing can be written when it is full.",
            ("host", "path"),
        ),
        Rule(
            key="database-connections-high",
            title="Connection pool nearly used up",
            impact="Requests wait for a connection, and fail after 2 s.",
            severity=Severity.MEDIUM,
            channel="database-team",
            query=f"avg(last_5m):{q.gauge('max', metrics.DATABASE_CONNECTIONS_ACTIVE)}",
            critical=80,
            recovery=70,
            runbook="database-connections",
        ),
        Rule(
            key="postgresql-connections-high",
            title="PostgreSQL runs out of connections",
            impact="PostgreSQL refuses new connections, of every service.",
            severity=Severity.MEDIUM,
            channel="database-team",
            query=f"avg(last_5m):{connections} / {allowed} * 100",
            critical=90,
            recovery=85,
            unit=" %",
            runbook="database-connections",
        ),
    )


def _level(metric: Metric, share: float) -> float:
    """A share as the metric tells it."""
    return round(share * 100, 6) if metric.unit == "percent" else share
