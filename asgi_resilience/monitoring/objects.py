"""Everything that is made in Datadog for one service, in an order in which it can be made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.dashboards import dashboards
from asgi_resilience.monitoring.downtimes import downtimes
from asgi_resilience.monitoring.log_indexes import log_indexes
from asgi_resilience.monitoring.log_pipeline import log_pipelines
from asgi_resilience.monitoring.monitors import monitors
from asgi_resilience.monitoring.reference import references
from asgi_resilience.monitoring.rule import Rule
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


def objects(config: MonitoringConfig, table: Iterable[Rule] | None = None) -> tuple[DatadogObject, ...]:
    """All of them; each refers only to objects before it.

    Args:
        config: For what they are.
        table: Of the monitors, in the place of `rules(config)`.

    Raises:
        ValueError: Something refers to a monitor or an objective that is not there.
    """
    everything = _in_order(config, table)
    made: set[tuple[str, str]] = set()
    for each in everything:
        for kind, key in references(each.body) - made:
            raise ValueError(f"{each.kind} {each.key} needs the {kind} {key}, which is not there")
        made.add((each.kind, each.key))
    return everything


def _in_order(config: MonitoringConfig, table: Iterable[Rule] | None) -> tuple[DatadogObject, ...]:
    alerts = [DatadogObject("monitor", key, body) for key, body in monitors(config, table).items()]
    others: tuple[tuple[Kind, dict[str, dict[str, Any]]], ...] = (
        ("dashboard", dashboards(config)),
        ("log-index", log_indexes(config)),
        ("log-pipeline", log_pipelines(config)),
        ("downtime", downtimes(config)),
    )
    return (
        *(each for each in alerts if not references(each.body)),
        *(DatadogObject("slo", key, body) for key, body in slos(config).items()),
        *(each for each in alerts if references(each.body)),
        *(DatadogObject(kind, key, body) for kind, bodies in others for key, body in bodies.items()),
    )
