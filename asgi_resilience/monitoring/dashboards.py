"""Four dashboards: how the system is, one service from all sides, the database, and what the business sees."""

from collections.abc import Sequence
from typing import Any

from asgi_resilience import metric_names as metrics
from asgi_resilience.metric_names import Metric
from asgi_resilience.monitoring import agent_metrics, business_metrics, widgets
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.identity import MANAGED_BY, marker
from asgi_resilience.monitoring.query import Queries, of_template
from asgi_resilience.monitoring.reference import reference
from asgi_resilience.monitoring.slos import days, slo_key

__all__ = ("dashboards",)

_ERROR_RATE = "errors / total * 100"


def dashboards(config: MonitoringConfig) -> dict[str, dict[str, Any]]:
    """The bodies that Datadog's API takes, by their key."""
    q = of_template(config)
    return {
        "system-health": _dashboard(config, "system-health", "System health", _system_health(config, q)),
        "service": _dashboard(config, "service", "Service", _service(q)),
        "database": _dashboard(config, "database", "Database", _database(config, q)),
        "business": _dashboard(config, "business", "Business", _business(q)),
    }


def _dashboard(
    config: MonitoringConfig, key: str, title: str, shown: Sequence[widgets.Widget]
) -> dict[str, Any]:
    chosen = {"service": ("service", config.service), "env": ("env", config.environment)}
    return {
        "title": f"{title}: {config.service} {config.environment}",
        "description": f"Runbooks: {config.runbook('index')}\n{marker(config, key)}",
        "layout_type": "ordered",
        "reflow_type": "auto",
        "tags": [f"team:{config.team}"],
        "template_variables": [
            {"name": name, "prefix": prefix, "defaults": [value]} for name, (prefix, value) in chosen.items()
        ],
        "widgets": list(shown),
    }


def _requests(q: Queries, by: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        "total": q.plain_count(metrics.API_REQUESTS_TOTAL, by=by),
        "errors": q.count(metrics.API_REQUESTS_ERRORS, by=by),
    }


def _percentiles(title: str, q: Queries, metric: Metric, line: float | None = None) -> widgets.Widget:
    """The 99th percentile of a histogram is there when the Agent's DD_HISTOGRAM_PERCENTILES names it."""
    queries = {
        "p50": q.percentile(50, metric),
        "p95": q.percentile(95, metric),
        "p99": q.percentile(99, metric),
    }
    return widgets.series(title, {name: name for name in queries}, queries, line=line)


def _line(title: str, query: str, line: float | None = None) -> widgets.Widget:
    return widgets.series(title, {"value": "a"}, {"a": query}, line=line)


def _system_health(config: MonitoringConfig, q: Queries) -> list[widgets.Widget]:
    rate = {"a": q.rate(metrics.API_REQUESTS_TOTAL)}
    tags = (MANAGED_BY, f"service:{config.service}", f"env:{config.environment}")
    ours = " AND ".join(f'"{tag}"' for tag in tags)
    return [
        widgets.group(
            "Now",
            [
                widgets.status("Up", {"a": q.gauge("max", agent_metrics.HTTP_CAN_CONNECT)}),
                widgets.number("Requests per second", "a", rate),
                widgets.number(
                    "Error rate", _ERROR_RATE, _requests(q), aggregator="sum", unit="%", worse=">", limit=1
                ),
                widgets.number(
                    "p95",
                    "a",
                    {"a": q.percentile(95, metrics.API_REQUESTS_DURATION)},
                    unit="ms",
                    worse=">",
                    limit=500,
                ),
                widgets.number(
                    "Cache hit rate",
                    "a",
                    {"a": q.gauge("avg", metrics.PREDICTIONS_CACHE_HIT_RATE)},
                    worse="<",
                    limit=0.7,
                ),
            ],
        ),
        widgets.monitors("Monitors", f"tag:({ours})"),
        widgets.group(
            "Objectives",
            [
                widgets.objective(
                    slo.name.replace("_", " "), reference("slo", slo_key(slo, config)), days(slo)
                )
                for slo in config.slos
            ]
            + [
                _line(
                    "Budget left, as the processes know it",
                    q.gauge("min", metrics.SLO_BUDGET_REMAINING, by=("slo",)),
                    0,
                )
            ],
        ),
        widgets.group(
            "Traffic",
            [
                widgets.series("Requests per second", {"requests": "a"}, rate, display="bars"),
                widgets.series("Error rate, %", {"errors": _ERROR_RATE}, _requests(q), line=5),
                _percentiles("Latency, ms", q, metrics.API_REQUESTS_DURATION, 1000),
                _line("Cache hit rate", q.gauge("avg", metrics.PREDICTIONS_CACHE_HIT_RATE), 0.7),
                _line(
                    "Circuit breakers: 0 closed, 1 half open, 2 open",
                    q.gauge("max", metrics.OUTBOUND_BREAKER_STATE, by=("dependency",)),
                ),
            ],
        ),
    ]


def _service(q: Queries) -> list[widgets.Widget]:
    calls = {
        "answered": q.count(
            metrics.OUTBOUND_CALLS, "outcome IN (ok,degraded,deferred,answered)", by=("dependency",)
        ),
        "all_calls": q.plain_count(metrics.OUTBOUND_CALLS, by=("dependency",)),
    }
    return [
        widgets.group(
            "Requests",
            [
                _line("Requests per second by route", q.rate(metrics.API_REQUESTS_TOTAL, by=("route",))),
                widgets.series("Error rate by route, %", {"errors": _ERROR_RATE}, _requests(q, ("route",))),
                widgets.top("Errors by code", q.plain_count(metrics.API_REQUESTS_ERRORS, by=("error_code",))),
                _percentiles("Latency, ms", q, metrics.API_REQUESTS_DURATION, 1000),
                _line("p95 by route, ms", q.percentile(95, metrics.API_REQUESTS_DURATION, by=("route",))),
                _line("Requests in flight", q.gauge("sum", metrics.API_REQUESTS_IN_FLIGHT)),
            ],
        ),
        widgets.group(
            "Dependencies",
            [
                widgets.series(
                    "Calls that were answered, %", {"success": "answered / all_calls * 100"}, calls
                ),
                _line("p95 of calls, ms", q.percentile(95, metrics.OUTBOUND_DURATION, by=("dependency",))),
                _line("Retries per second", q.rate(metrics.OUTBOUND_RETRIES, by=("dependency",))),
                _line(
                    "Refused calls per second",
                    q.rate(metrics.OUTBOUND_REJECTED, by=("dependency", "outcome")),
                ),
                _line("Fallbacks per second", q.rate(metrics.OUTBOUND_FALLBACKS, by=("dependency",))),
            ],
        ),
        widgets.group(
            "Resources",
            [
                _line("CPU, %", q.gauge("avg", metrics.CPU_USAGE, by=("host",)), 80),
                _line("Memory, %", q.gauge("avg", metrics.MEMORY_USAGE, by=("host",)), 85),
                _line("Disk, %", q.gauge("max", metrics.DISK_USAGE, by=("host", "path")), 80),
                _line(
                    "Network, bytes per second", q.gauge("sum", metrics.NETWORK_THROUGHPUT, by=("direction",))
                ),
                _line("Memory of the processes", q.gauge("max", metrics.RUNTIME_MEMORY_RSS, by=("host",))),
                _line("Event loop, ms late at p99", q.gauge("max", metrics.RUNTIME_LOOP_LAG_P99)),
                _line(
                    "Calls that wait for a thread",
                    q.gauge("max", metrics.RUNTIME_THREAD_POOL_WAITING, by=("pool",)),
                ),
                _line("Requests shed per second", q.rate(metrics.LOAD_SHED_SHED, by=("reason",))),
            ],
        ),
        widgets.group(
            "Predictions",
            [
                _percentiles("Inference, ms", q, metrics.MODELS_INFERENCE_DURATION, 200),
                _percentiles("Features, ms", q, metrics.FEATURES_COMPUTATION_DURATION, 100),
            ],
        ),
        widgets.logs("Errors", "$service $env status:error"),
    ]


def _database(config: MonitoringConfig, q: Queries) -> list[widgets.Widget]:
    duration = metrics.DATABASE_QUERY_DURATION
    slow = "$service $env @span.kind:client @db.system:postgresql @duration:>1s"
    return [
        widgets.group(
            "Queries",
            [
                _line("Queries per second", q.observed(duration)),
                _percentiles("Latency, ms", q, duration, 500),
                widgets.spans("Queries of more than a second", slow),
                _line(
                    "Calls by outcome, per second",
                    q.rate(metrics.OUTBOUND_CALLS, f"dependency:{config.database}", by=("outcome",)),
                ),
            ],
        ),
        widgets.group(
            "Connections",
            [
                _line(
                    "Connections in use",
                    q.gauge("max", metrics.DATABASE_CONNECTIONS_ACTIVE, by=("host",)),
                    80,
                ),
                _line("Connections of the server", q.gauge("max", metrics.POSTGRESQL_CONNECTIONS)),
            ],
        ),
        widgets.group(
            "Disk",
            [
                _line("Time of a read, ms", q.gauge("avg", agent_metrics.DISK_READ_TIME, by=("host",))),
                _line("Time of a write, ms", q.gauge("avg", agent_metrics.DISK_WRITE_TIME, by=("host",))),
                _line("Disk used, %", q.gauge("max", metrics.DISK_USAGE, by=("host", "path")), 80),
            ],
        ),
        widgets.group("Redis", [_line("Memory, %", q.gauge("max", metrics.REDIS_MEMORY_USAGE), 90)]),
    ]


def _business(q: Queries) -> list[widgets.Widget]:
    hourly = {"a": f"{q.plain_count(metrics.PREDICTIONS_GENERATED)}.rollup(sum, 3600)"}
    by_sport = business_metrics.PREDICTIONS_BY_SPORT
    users = {
        "daily": q.gauge("max", business_metrics.USERS_ACTIVE_DAILY),
        "monthly": q.gauge("max", business_metrics.USERS_ACTIVE_MONTHLY),
    }
    return [
        widgets.group(
            "Predictions",
            [
                widgets.series("Predictions per hour", {"predictions": "a"}, hourly, display="bars"),
                _line("Of high expected value", q.plain_count(business_metrics.PREDICTIONS_HIGH_EV_COUNT)),
                widgets.top("Sports", q.plain_count(by_sport, by=("sport",))),
                widgets.top("Leagues", q.plain_count(by_sport, by=("league",))),
            ],
        ),
        widgets.group(
            "Users",
            [
                widgets.series("Active users", {"per day": "daily", "per month": "monthly"}, users),
                widgets.number(
                    "Users of a month who come on a day, %", "daily / monthly * 100", users, aggregator="last"
                ),
                widgets.top("Endpoints", q.plain_count(metrics.API_REQUESTS_BY_ENDPOINT, by=("route",))),
            ],
        ),
    ]
