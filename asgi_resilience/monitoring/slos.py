"""The service level objectives as Datadog keeps them: the same ones that the process keeps itself."""

from typing import Any, Final

from asgi_resilience import metric_names as metrics
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.identity import tags
from asgi_resilience.monitoring.query import of_service
from asgi_resilience.monitoring.reference import reference
from asgi_resilience.slo import SLO

__all__ = ("DOWN", "days", "slo_key", "slo_name", "slos")

DOWN: Final = "api-gateway-down"
"""The monitor whose alerts are the downtime of the service."""

_DAY: Final = 86_400
_WINDOWS: Final = (7, 30, 90)


def slo_name(slo: SLO) -> str:
    """The name of an objective as it stands in keys: `request-success`."""
    return slo.name.lower().replace("_", "-").replace(" ", "-")


def slo_key(slo: SLO, config: MonitoringConfig) -> str:
    """What an objective is called in references and tags.

    Datadog can't change the type of an objective, so one that is measured in slices of time is another.
    """
    sliced = slo.measure == "latency" and config.percentiles == "histogram"
    return f"{slo_name(slo)}-slices" if sliced else slo_name(slo)


def days(slo: SLO) -> str:
    """The window of an objective, as Datadog calls it.

    Raises:
        ValueError: Datadog has no such window.
    """
    length = slo.window_minutes * 60 / _DAY
    if length not in _WINDOWS:
        raise ValueError(f"window of {slo.name}: Datadog has {_WINDOWS} days, not {length:g}")
    return f"{length:g}d"


def slos(config: MonitoringConfig) -> dict[str, dict[str, Any]]:
    """The bodies that Datadog's API takes, by their key."""
    return {slo_key(each, config): _slo(each, config) for each in config.slos}


def _slo(slo: SLO, config: MonitoringConfig) -> dict[str, Any]:
    target = round(slo.target * 100, 6)
    half = round(100 - (100 - target) / 2, 6)  # where half of the budget is spent, and releases slow down
    return {
        "name": f"[{config.service} {config.environment}] {slo.name.replace('_', ' ')}",
        "description": f"What to do when it is spent: {config.runbook('error-budget-policy')}",
        "tags": tags(config, slo_key(slo, config)),
        "thresholds": [{"timeframe": days(slo), "target": target, "warning": half}],
        "timeframe": days(slo),
        "target_threshold": target,
        "warning_threshold": half,
        **_measure(slo, config),
    }


def _measure(slo: SLO, config: MonitoringConfig) -> dict[str, Any]:
    queries = of_service(config)
    limit = slo.threshold_ms
    if limit is not None:
        duration = metrics.API_REQUESTS_DURATION
        if config.percentiles == "distribution":
            fast = queries.at_most(duration, limit, *slo.tags)
            slow = queries.above(duration, limit, *slo.tags)
            return _counted("fast", "slow", {"fast": fast, "slow": slow})
        # A histogram does not know how many were slow: the share of time takes the place of that of requests.
        return _timed(queries.percentile(95, duration, *slo.tags), limit)
    if slo.measure == "downtime":
        return {"type": "monitor", "monitor_ids": [reference("monitor", DOWN)]}
    total = queries.plain_count(metrics.API_REQUESTS_TOTAL, *slo.tags)
    errors = queries.plain_count(metrics.API_REQUESTS_ERRORS, *slo.tags)
    return _counted("total - errors", "errors", {"total": total, "errors": errors})


def _counted(good: str, bad: str, queries: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "metric",
        "sli_specification": {
            "count": {
                "good_events_formula": {"formula": good},
                "bad_events_formula": {"formula": bad},
                "queries": _named(queries),
            }
        },
    }


def _timed(query: str, limit: float) -> dict[str, Any]:
    return {
        "type": "time_slice",
        "sli_specification": {
            "time_slice": {
                "comparator": "<=",
                "threshold": limit,
                "query_interval_seconds": 300,
                "query": {"formulas": [{"formula": "p95"}], "queries": _named({"p95": query})},
            }
        },
    }


def _named(queries: dict[str, str]) -> list[dict[str, str]]:
    return [{"data_source": "metrics", "name": name, "query": query} for name, query in queries.items()]
