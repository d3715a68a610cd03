"""Outbound calls that survive their dependencies: deadline, retry, circuit breaker and fallback around any async call.

    postgres = Dependency("postgres", timeout=10.0)
    row = await postgres.call(pool.fetchrow, "SELECT 1")

Runs on asyncio.
"""

try:
    from asgi_resilience.client.breaker import CircuitOpen
    from asgi_resilience.client.budget import BudgetPolicy
    from asgi_resilience.client.cache_store import Entry, MemoryStore, Store
    from asgi_resilience.client.cached import Cached
    from asgi_resilience.client.classification import Outcome, Rule
    from asgi_resilience.client.deadline import AttemptTimedOut, DeadlineExceeded
    from asgi_resilience.client.deferred import CallDeferred, Deferred
    from asgi_resilience.client.deferred_queue import DeferredCall, DeferredQueue
    from asgi_resilience.client.dependency import Dependency
    from asgi_resilience.client.envelope import register_errors as _register_errors
    from asgi_resilience.client.events import (
        AttemptFailed,
        BudgetExhausted,
        Event,
        FallbackUsed,
        GateClosed,
        GaveUp,
        Rejected,
        RetryScheduled,
        StateChanged,
        WouldOpen,
    )
    from asgi_resilience.client.fallback import Call, Fallback, Previous
    from asgi_resilience.client.faults import inject_faults
    from asgi_resilience.client.gate import RateLimited
    from asgi_resilience.client.http import FaultyTransport, ResilientClient, ResilientTransport
    from asgi_resilience.client.idempotency import current_idempotency_key, idempotency_key
    from asgi_resilience.client.matrix import DEFAULT_RULES, MODEL_RULES, ModelInferenceError
    from asgi_resilience.client.registry import DependencyStatus, aclose_all, dependencies
    from asgi_resilience.client.retry import RetryPolicy
    from asgi_resilience.client.runtime_readings import dependency_readings as _dependency_readings
    from asgi_resilience.client.telemetry import add_listener, remove_listener, set_metric_sink
    from asgi_resilience.client.window import BreakerPolicy
    from asgi_resilience.retry_after import parse_retry_after
    from asgi_resilience.telemetry.runtime.probes import add_probe as _add_probe
except ModuleNotFoundError as _error:
    if _error.name not in ("aiobreaker", "backoff", "httpx2"):
        raise
    raise ImportError(
        f"asgi_resilience.client needs {_error.name}: pip install 'asgi-resilience[client]'"
    ) from _error

__all__ = (
    "DEFAULT_RULES",
    "MODEL_RULES",
    "AttemptFailed",
    "AttemptTimedOut",
    "BreakerPolicy",
    "BudgetExhausted",
    "BudgetPolicy",
    "Cached",
    "Call",
    "CallDeferred",
    "CircuitOpen",
    "DeadlineExceeded",
    "Deferred",
    "DeferredCall",
    "DeferredQueue",
    "Dependency",
    "DependencyStatus",
    "Entry",
    "Event",
    "Fallback",
    "FallbackUsed",
    "FaultyTransport",
    "GateClosed",
    "GaveUp",
    "MemoryStore",
    "ModelInferenceError",
    "Outcome",
    "Previous",
    "RateLimited",
    "Rejected",
    "ResilientClient",
    "ResilientTransport",
    "RetryPolicy",
    "RetryScheduled",
    "Rule",
    "StateChanged",
    "Store",
    "WouldOpen",
    "aclose_all",
    "add_listener",
    "current_idempotency_key",
    "dependencies",
    "idempotency_key",
    "inject_faults",
    "parse_retry_after",
    "remove_listener",
    "set_metric_sink",
)

_register_errors()
_add_probe(_dependency_readings)
