"""Outbound calls and events as numbers, under six names with two tags: dependency and outcome.

Tags never hold an address, a method or an exception's text: each new value is a new series that somebody pays for.
"""

from typing import Final, Literal, TypeAlias

from asgi_resilience.client.breaker import CircuitOpen
from asgi_resilience.client.classification import Outcome, Verdict
from asgi_resilience.client.deadline import DeadlineExceeded
from asgi_resilience.client.deferred import CallDeferred
from asgi_resilience.client.events import (
    BreakerState,
    Event,
    FallbackUsed,
    Rejected,
    RetryScheduled,
    StateChanged,
)
from asgi_resilience.client.gate import RateLimited
from asgi_resilience.metric_names import (
    OUTBOUND_BREAKER_STATE,
    OUTBOUND_CALLS,
    OUTBOUND_DURATION,
    OUTBOUND_FALLBACKS,
    OUTBOUND_REJECTED,
    OUTBOUND_RETRIES,
)
from asgi_resilience.metric_sink import MetricSink, Tags

__all__ = ("STATES", "CallOutcome", "EventMetrics", "outcome_of")

CallOutcome: TypeAlias = Literal[
    "ok",
    "degraded",
    "deferred",
    "answered",
    "error",
    "timeout",
    "deadline",
    "circuit_open",
    "rate_limited",
    "cancelled",
]
STATES: Final[dict[BreakerState, int]] = {
    "closed": 0,
    "forced_closed": 0,
    "metrics_only": 0,
    "half_open": 1,
    "open": 2,
    "forced_open": 2,
}
"""What stands for the states of a circuit breaker."""


class EventMetrics:
    """Feeds a sink for one dependency.

    Args:
        name: Of the dependency.
        sink: Where the numbers go.
    """

    __slots__ = ("_sink", "_tag", "_tagged", "_tags")

    def __init__(self, name: str, sink: MetricSink) -> None:
        self._sink = sink
        self._tag = f"dependency:{name}"
        self._tags: Tags = (self._tag,)
        self._tagged: dict[str, Tags] = {}

    def call(self, outcome: CallOutcome, seconds: float) -> None:
        """A call has ended."""
        tags = self._with(outcome)
        self._sink.increment(OUTBOUND_CALLS.name, 1, tags)
        self._sink.histogram(OUTBOUND_DURATION.name, seconds * 1000, tags)

    def event(self, event: Event) -> None:
        """Something has happened to a call."""
        match event:
            case RetryScheduled():
                self._sink.increment(OUTBOUND_RETRIES.name, 1, self._tags)
            case StateChanged():
                self._sink.gauge(OUTBOUND_BREAKER_STATE.name, STATES[event.new], self._tags)
            case Rejected():
                self._sink.increment(OUTBOUND_REJECTED.name, 1, self._with(event.reason))
            case FallbackUsed():
                self._sink.increment(OUTBOUND_FALLBACKS.name, 1, self._with(event.fallback))
            case _:
                pass

    def _with(self, outcome: str) -> Tags:
        tags = self._tagged.get(outcome)
        if tags is None:
            tags = self._tagged[outcome] = (self._tag, f"outcome:{outcome}")
        return tags


def outcome_of(verdict: Verdict, error: Exception) -> CallOutcome:
    """The tag for a call that ended in an error."""
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    if isinstance(error, CallDeferred):
        return "deferred"
    if isinstance(error, RateLimited) or verdict.rule.shared_wait:
        return "rate_limited"
    if isinstance(error, CircuitOpen):
        return "circuit_open"
    if isinstance(error, TimeoutError) or verdict.rule.name == "network timeout":
        return "timeout"
    return "answered" if verdict.rule.outcome is Outcome.ANSWERED else "error"
