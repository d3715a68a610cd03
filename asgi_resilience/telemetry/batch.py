"""What was measured between two flushes, and who gets to see it.

The request path only adds to sums; everything else (DogStatsD, the in-process windows, error budgets) reads a `Batch`
once per flush, away from any request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from asgi_resilience.metric_sink import Series

__all__ = ("Batch", "Exporter", "Series")


@dataclass(frozen=True, slots=True)
class Batch:
    """The numbers of one interval; they belong to whoever exports them and must not be changed.

    Attributes:
        at: Seconds since the epoch, when the interval ended.
        seconds: Its length, by a monotonic clock.
        counters: What each counter grew by.
        gauges: The last value of each gauge that was set.
        histograms: The observations of each, in the order in which they came; durations in milliseconds.
    """

    at: float
    seconds: float
    counters: Mapping[Series, float]
    gauges: Mapping[Series, float]
    histograms: Mapping[Series, Sequence[float]]


class Exporter(Protocol):
    """Takes each batch somewhere."""

    def export(self, batch: Batch, /) -> None:
        """Take one batch. One call at a time, as a rule on the event loop between requests, so it must not block.

        What it raises is counted and reported once, and keeps no other exporter from its batch. One that has something
        to write at the end has a method `finish()`, too: the pipeline calls it in a thread when the application has shut
        down, which may not be the end of the process.
        """
        ...
