"""What a client of this service is told when a dependency of its fails: entries for the catalogue of errors.

So the inbound half knows nothing of circuit breakers, and says 503 with `Retry-After` all the same.
"""

from asgi_resilience.client.breaker import CircuitOpen
from asgi_resilience.client.deadline import AttemptTimedOut, DeadlineExceeded
from asgi_resilience.client.deferred import CallDeferred
from asgi_resilience.client.gate import RateLimited
from asgi_resilience.error_catalogue import map_exception
from asgi_resilience.errors import RequestTimedOut, ServiceUnavailable

__all__ = ("register_errors",)


def register_errors() -> None:
    """Enter the client's errors into the shared catalogue."""
    map_exception(CircuitOpen, _unavailable)
    map_exception(RateLimited, _unavailable)
    map_exception(CallDeferred, _unavailable)
    map_exception(AttemptTimedOut, _timed_out)
    map_exception(DeadlineExceeded, _timed_out)


def _unavailable(error: CircuitOpen | RateLimited | CallDeferred) -> ServiceUnavailable:
    return ServiceUnavailable(retry_after=error.retry_after, context={"dependency": error.dependency})


def _timed_out(error: AttemptTimedOut | DeadlineExceeded) -> RequestTimedOut:
    return RequestTimedOut(context={"dependency": error.dependency})
