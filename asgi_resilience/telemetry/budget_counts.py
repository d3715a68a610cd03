"""From the counters of a batch to how many requests each objective is about, and how many of them failed it."""

from collections.abc import Iterable
from typing import Final

from asgi_resilience import metric_names as names
from asgi_resilience.metric_sink import Tags
from asgi_resilience.slo.objective import SLO
from asgi_resilience.telemetry.batch import Batch

__all__ = ("Counter", "Counts")

Counts = tuple[float, float]
"""Requests, and how many of them failed."""

_ABORTED: Final = "outcome:aborted_by_client"
_NOT_SERVED: Final = frozenset(
    (_ABORTED, "outcome:server_error", "outcome:truncated", "outcome:timeout", "status_class:5xx")
)
_MOST_TAGS: Final = 4096


class Counter:
    """Counts batches for objectives.

    A request failed if it counts as an error: a status from 500 on, an unanswered exception, a response cut short. One that
    its client has aborted says nothing. For latency, a request that was not served counts as slow when it took too long,
    and not at all otherwise: failing fast makes no service faster.

    Args:
        slos: The objectives.
    """

    def __init__(self, slos: Iterable[SLO]) -> None:
        self._by_counter: list[SLO] = []
        self._by_duration: list[tuple[SLO, float]] = []
        for slo in slos:
            if slo.threshold_ms is None:
                self._by_counter.append(slo)
            else:
                self._by_duration.append((slo, slo.threshold_ms))
        self._about: dict[tuple[str, Tags], bool] = {}

    def __call__(self, batch: Batch) -> dict[str, Counts]:
        """The counts by the names of the objectives; those without a request may be absent."""
        requests: dict[str, float] = {}
        failed: dict[str, float] = {}
        for (metric, tags), number in batch.counters.items():
            if metric == names.API_REQUESTS_TOTAL.name:
                self._add(requests, tags, number)
            elif metric == names.API_REQUESTS_ERRORS.name:
                self._add(failed, tags, number)
        for (metric, tags), durations in batch.histograms.items():
            if metric == names.API_REQUESTS_DURATION.name:
                for slo, threshold in self._by_duration:
                    if self._is_about(slo, tags):
                        slow = sum(map(threshold.__lt__, durations))
                        served = len(durations) if _NOT_SERVED.isdisjoint(tags) else slow
                        requests[slo.name] = requests.get(slo.name, 0.0) + served
                        failed[slo.name] = failed.get(slo.name, 0.0) + slow
        return {name: (number, failed.get(name, 0.0)) for name, number in requests.items()}

    def _add(self, sums: dict[str, float], tags: Tags, number: float) -> None:
        if _ABORTED not in tags:
            for slo in self._by_counter:
                if self._is_about(slo, tags):
                    sums[slo.name] = sums.get(slo.name, 0.0) + number

    def _is_about(self, slo: SLO, tags: Tags) -> bool:
        if not slo.tags:
            return True
        known = self._about.get((slo.name, tags))
        if known is None:
            if len(self._about) >= _MOST_TAGS:
                self._about.clear()
            known = self._about[slo.name, tags] = set(slo.tags) <= set(tags)
        return known
