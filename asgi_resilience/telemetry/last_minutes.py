"""What the last minutes were like, as a value: for a status page, a test, a decision in the application."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from asgi_resilience.metric_names import Metric
from asgi_resilience.metric_sink import Series
from asgi_resilience.telemetry.sketch import Sketch

__all__ = ("Distribution", "Snapshot")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Observations, such as durations in milliseconds; percentiles are within 1 % of the true ones.

    Attributes:
        count: How many; the other attributes are 0.0 without any.
        mean: Their average, exact.
        p50: The median.
        p95: What 95 % don't exceed.
        p99: What 99 % don't exceed.
        most: The largest, exact.
    """

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, sketch: Sketch) -> "Distribution":
        """That of a sketch."""
        if not sketch.count:
            return cls()
        mean = sketch.total / sketch.count
        p50, p95, p99 = map(sketch.quantile, (0.5, 0.95, 0.99))
        return cls(sketch.count, mean, p50, p95, p99, sketch.most)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of one stretch of time up to now.

    A metric is given by its name, or its entry in `metric_names`; tags as keywords pick the series that have them all.

    Attributes:
        at: Seconds since the epoch.
        seconds: The length of that time; shorter than was asked for in a process that is younger.
        counters: What each counter grew by.
        gauges: The last value of each gauge, however old.
        histograms: The observations of each.
    """

    at: float
    seconds: float
    counters: Mapping[Series, float]
    gauges: Mapping[Series, float]
    histograms: Mapping[Series, Sketch]

    def count(self, metric: str | Metric, /, **tags: str) -> float:
        """What a counter grew by."""
        return sum(self.counters[series] for series in _picked(self.counters, metric, tags))

    def rate(self, metric: str | Metric, /, **tags: str) -> float:
        """What a counter grew by, per second."""
        return self.count(metric, **tags) / self.seconds if self.seconds else 0.0

    def gauge(self, metric: str | Metric, /, **tags: str) -> float | None:
        """The value of a gauge, the sum where several series have these tags; None when it was never set."""
        found = [self.gauges[series] for series in _picked(self.gauges, metric, tags)]
        return sum(found) if found else None

    def distribution(self, metric: str | Metric, /, **tags: str) -> Distribution:
        """The observations of a histogram, those of all series that have these tags taken together."""
        merged = Sketch()
        for series in _picked(self.histograms, metric, tags):
            merged.merge(self.histograms[series])
        return Distribution.of(merged)


def _picked(known: Iterable[Series], metric: str | Metric, tags: Mapping[str, str]) -> list[Series]:
    name = metric if isinstance(metric, str) else metric.name
    wanted = {f"{key}:{value}" for key, value in tags.items()}
    return [series for series in known if series[0] == name and wanted.issubset(series[1])]
