"""Everything that is made in Datadog for one service, in an order in which it can be made."""

from dataclasses import dataclass
from typing import Any, Literal

from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.dashboards import dashboards
from asgi_resilience.monitoring.downtimes import downtimes
from asgi_resilience.monitoring.log_indexes import log_indexes
from asgi_resilience.monitoring.log_pipeline import log_pipelines
from asgi_resilience.monitoring.monitors import monitors
from asgi_resilience.monitoring.reference import references
from asgi_resilience.monitoring.slos import slos

__all__ = ("DatadogObject", "Kind", "objects")

Kind = Literal["monitor", "slo", "dashboard", "log-index", "log-pipeline", "downtime"]


@dataclass(frozen=True, slots=True)
class DatadogObject:
    """One object, as Datadog's API takes it.

    Attributes:
        kind: Of the object.
        key: Its name within the kind: it stays the same when the title changes.
        body: For the API; it may hold references to objects before it.
    """

    kind: Kind
    key: str
    body: dict[str, Any]


def objects(config: MonitoringConfig) -> tuple[DatadogObject, ...]:
    """All of them; each refers only to objects before it."""
    alerts = [DatadogObject("monitor", key, body) for key, body in monitors(config).items()]
    tables: tuple[tuple[Kind, dict[str, dict[str, Any]]], ...] = (
        ("dashboard", dashboards(config)),
        ("log-index", log_indexes(config)),
        ("log-pipeline", log_pipelines(config)),
        ("downtime", downtimes(config)),
    )
    return (
        *(each for each in alerts if not references(each.body)),
        *(DatadogObject("slo", key, body) for key, body in slos(config).items()),
        *(each for each in alerts if references(each.body)),
        *(DatadogObject(kind, key, body) for kind, table in tables for key, body in table.items()),
    )
