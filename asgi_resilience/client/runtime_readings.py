"""What is measured of every dependency at an interval: circuit breaker, retry budget, and who waits."""

from collections.abc import Iterator

from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.event_metrics import STATES
from asgi_resilience.client.registry import dependencies
from asgi_resilience.metric_names import OUTBOUND_BREAKER_STATE, OUTBOUND_RETRY_BUDGET, OUTBOUND_WAITING
from asgi_resilience.telemetry.runtime.probes import Reading

__all__ = ("dependency_readings",)


def dependency_readings() -> Iterator[Reading]:
    """The numbers of each dependency of this process; what it does without has none."""
    for each in dependencies():
        tags = (f"dependency:{each.name}",)
        yield Reading(OUTBOUND_WAITING, each.gate.waiting + len(each.sleepers), tags)
        if each.breaker is not None:
            yield Reading(OUTBOUND_BREAKER_STATE, STATES[each.breaker.label], tags)
        if each.budget is not None:
            yield Reading(OUTBOUND_RETRY_BUDGET, each.budget.balance(loop_time()), tags)
