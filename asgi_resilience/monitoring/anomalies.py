"""Monitors for what no threshold knows: numbers that are not as they were at this hour of other weeks."""

from asgi_resilience import metric_names as metrics
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.query import of_service
from asgi_resilience.monitoring.rule import Rule
from asgi_resilience.monitoring.severity import Severity

__all__ = ("anomalies",)


def anomalies(config: MonitoringConfig) -> tuple[Rule, ...]:
    """The rows of the table."""
    q = of_service(config)
    total = q.plain_count(metrics.API_REQUESTS_TOTAL)
    errors = q.count(metrics.API_REQUESTS_ERRORS)

    def unusual(what: str, impact: str, query: str, direction: str) -> Rule:
        """A week is the season, so three weeks must have passed before it judges; the interval is a fifth of 15 minutes or less."""
        return Rule(
            key=f"anomaly-{what.replace(' ', '-')}",
            title=f"Unusual {what}",
            impact=impact,
            severity=Severity.MEDIUM,
            query=(
                f"avg(last_4h):anomalies({query}, 'agile', 3, direction='{direction}', alert_window='last_15m', "
                "interval=60, count_default_zero='true', seasonality='weekly')"
            ),
            comparison=">=",
            critical=1,
            recovery=0,
            trigger_window="last_15m",
            runbook="anomaly",
        )

    return (
        unusual(
            "request rate",
            "Much more or much less traffic than at this hour of other weeks.",
            q.rate(metrics.API_REQUESTS_TOTAL),
            "both",
        ),
        unusual(
            "latency",
            "Slower than at this hour of other weeks.",
            q.percentile(95, metrics.API_REQUESTS_DURATION),
            "above",
        ),
        unusual(
            "error rate",
            "More errors than at this hour of other weeks.",
            f"{errors} / {total} * 100",
            "above",
        ),
    )
