"""How many clients the rate limiters of this process remember, and whether that is too many for them."""

from collections.abc import Iterator

from asgi_resilience.metric_names import RATE_LIMIT_CLIENTS, RATE_LIMIT_FORGOTTEN
from asgi_resilience.quota.memory import live_quotas
from asgi_resilience.telemetry.runtime.probes import Reading

__all__ = ("RateLimits",)


class RateLimits:
    """Adds up the quota stores inside this process; what is shared with others is not its to count."""

    def __init__(self) -> None:
        self._forgotten = 0

    def __call__(self) -> Iterator[Reading]:
        """The clients now, and those forgotten since the last time; nothing without a store."""
        quotas = live_quotas()
        if quotas:
            forgotten = sum(each.evicted for each in quotas)
            yield Reading(RATE_LIMIT_CLIENTS, sum(map(len, quotas)))
            yield Reading(RATE_LIMIT_FORGOTTEN, max(0, forgotten - self._forgotten))
            self._forgotten = forgotten
