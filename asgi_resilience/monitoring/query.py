"""Datadog's metric queries, made of the metrics that the library knows.

A counter can't be asked for a mean, a metric not for a tag that it does not have: both are errors when the query is
built, and not an empty graph months later.
"""

from typing import Final, Literal

from asgi_resilience.metric_names import Kind, Metric
from asgi_resilience.monitoring.config import MonitoringConfig, Percentiles

__all__ = ("Queries", "of_service", "of_template")

# What the Agent and the orchestrator put on every series, besides the tags that we send.
_EVERYWHERE: Final = frozenset(("container_name", "env", "host", "kube_deployment", "service", "version"))
_HISTOGRAM_SUFFIX: Final = {50: "median", 95: "95percentile", 99: "99percentile"}


class Queries:
    """Queries within one scope.

    Args:
        scope: The filters that every query has, such as `service:shop`, `$env`.
        percentiles: How durations are sent.
    """

    __slots__ = ("_percentiles", "_scope")

    def __init__(self, scope: tuple[str, ...], percentiles: Percentiles) -> None:
        self._scope = scope
        self._percentiles: Percentiles = percentiles

    def count(self, metric: Metric, *filters: str, by: tuple[str, ...] = ()) -> str:
        """How much a counter grew in each interval; 0 where nothing was sent, so that it can be divided."""
        return f"default_zero({self._sum(metric, filters, by)}.as_count())"

    def plain_count(self, metric: Metric, *filters: str, by: tuple[str, ...] = ()) -> str:
        """The same, with nothing where nothing was sent: what counts are divided by."""
        return f"{self._sum(metric, filters, by)}.as_count()"

    def rate(self, metric: Metric, *filters: str, by: tuple[str, ...] = ()) -> str:
        """How fast a counter grows, per second."""
        return f"{self._sum(metric, filters, by)}.as_rate()"

    def gauge(
        self,
        space: Literal["avg", "max", "min", "sum"],
        metric: Metric,
        *filters: str,
        by: tuple[str, ...] = (),
    ) -> str:
        """A gauge, with the given aggregation over hosts and tags."""
        _expect(metric, "gauge", by)
        return f"{space}:{metric.name}{self._where(filters)}{_by(by)}"

    def percentile(
        self, percent: Literal[50, 95, 99], metric: Metric, *filters: str, by: tuple[str, ...] = ()
    ) -> str:
        """A percentile of durations.

        Of distributions it is the percentile of all observations. Histograms are summed up by each Agent for each
        combination of tags, so there it is the mean of their percentiles: good for a trend, and an estimate of the whole.
        """
        _expect(metric, "histogram", by)
        where = f"{self._where(filters)}{_by(by)}"
        if self._percentiles == "distribution":
            return f"p{percent}:{metric.name}{where}"
        return f"avg:{metric.name}.{_HISTOGRAM_SUFFIX[percent]}{where}"

    def over(self, window: str, percentile: str) -> str:
        """A query of `percentile` in a monitor: over a whole window, all observations of a distribution count alike."""
        time = "percentile" if self._percentiles == "distribution" else "avg"
        return f"{time}({window}):{percentile}"

    def observed(self, metric: Metric, *filters: str) -> str:
        """How many durations are observed per second."""
        _expect(metric, "histogram", ())
        where = self._where(filters)
        if self._percentiles == "distribution":
            return f"count:{metric.name}{where}.as_rate()"
        return f"sum:{metric.name}.count{where}.as_rate()"

    def at_most(self, metric: Metric, limit: float, *filters: str) -> str:
        """How many observations of a distribution were no longer than `limit`."""
        return self._matching(f"v<={limit:g}", metric, filters)

    def above(self, metric: Metric, limit: float, *filters: str) -> str:
        """How many were longer."""
        return self._matching(f"v>{limit:g}", metric, filters)

    def _matching(self, condition: str, metric: Metric, filters: tuple[str, ...]) -> str:
        _expect(metric, "histogram", ())
        return f"count(v: {condition}):{metric.name}{self._where(filters)}.as_count()"

    def _sum(self, metric: Metric, filters: tuple[str, ...], by: tuple[str, ...]) -> str:
        _expect(metric, "counter", by)
        return f"sum:{metric.name}{self._where(filters)}{_by(by)}"

    def _where(self, filters: tuple[str, ...]) -> str:
        # Commas and words can't be mixed in one filter.
        conditions = (*self._scope, *filters)
        return "{" + (" AND " if any(" " in each for each in filters) else ",").join(conditions) + "}"


def of_service(config: MonitoringConfig) -> Queries:
    """Queries about one service in one environment."""
    return Queries((f"service:{config.service}", f"env:{config.environment}"), config.percentiles)


def of_template(config: MonitoringConfig) -> Queries:
    """Queries about what is chosen at the top of a dashboard."""
    return Queries(("$service", "$env"), config.percentiles)


def _expect(metric: Metric, kind: Kind, by: tuple[str, ...]) -> None:
    if metric.kind != kind:
        raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
    if strangers := set(by) - set(metric.tags) - _EVERYWHERE:
        raise ValueError(f"{metric.name} has no tag {', '.join(sorted(strangers))}")


def _by(tags: tuple[str, ...]) -> str:
    return f" by {{{','.join(tags)}}}" if tags else ""
