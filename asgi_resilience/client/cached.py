"""A cache that answers while it is fresh, and in place of an error for some time after that (RFC 5861, stale-if-error).

Whoever finds a value that is no longer fresh refreshes it; everybody else who asks for the same meanwhile waits for that
one call. An answer such as 404 is not hidden by an old value: it removes it.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from asgi_resilience.client.cache_store import Entry, MemoryStore, Store
from asgi_resilience.client.classification import Outcome
from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.degraded import mark_degraded
from asgi_resilience.client.fallback import Fallback, Key, Proceed, call_key
from asgi_resilience.client.single_flight import SingleFlight
from asgi_resilience.context import report_failure

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call

__all__ = ("Cached",)

T = TypeVar("T")


class Cached(Fallback):
    """Answers from a cache.

    Args:
        store: Where values are kept; default: a `MemoryStore` of its own.
        ttl: Seconds that a value is fresh, and no call is made. 0.0: every call is made, and the cache only stands in.
        stale_for: Seconds after that in which a value may stand in for an error. Default 3600.0.
        key: A function of the call's arguments that gives the key; default: the function and its arguments themselves. A
            store outside of this process needs one that gives strings.
        rest: Seconds after a failed refresh in which the stale value is given out without another attempt. Default 1.0.
        clock: Seconds, for the age of values; default: the event loop's. A store that processes share needs `time.time`.

    Raises:
        ValueError: A number of seconds is negative.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        ttl: float,
        stale_for: float = 3600.0,
        key: Key | None = None,
        rest: float = 1.0,
        clock: Callable[[], float] = loop_time,
    ) -> None:
        for name, value in (("ttl", ttl), ("stale_for", stale_for), ("rest", rest)):
            if not value >= 0:
                raise ValueError(f"{name}={value!r}: expected 0.0 seconds or more")
        self._store: Store = MemoryStore() if store is None else store
        self._ttl = ttl
        self._usable = ttl + stale_for
        self._key = key
        self._rest = rest
        self._clock = clock
        self._flights = SingleFlight()
        self._resting: dict[Hashable, float] = {}

    async def run(self, call: "Call[Any]", proceed: Proceed) -> Any:
        """Answer from the cache, or make the call and keep its value."""
        key = call_key(call, self._key)
        entry = await self._guarded(self._store.get(key))
        age = float("inf") if entry is None else self._clock() - entry.stored_at
        if entry is not None and age < self._ttl:
            return entry.value
        stale = entry if age < self._usable else None
        if stale is not None and self._rests(key):
            mark_degraded(call, self, None)
            return stale.value
        try:
            return await self._flights.do(
                call.dependency.name, key, lambda: self._refresh(key, call, proceed)
            )
        except Exception as error:
            rule = call.dependency.classify(error).rule
            if rule.outcome is Outcome.ANSWERED:
                await self._guarded(self._store.delete(key))
                raise
            if stale is None or rule.bug:
                raise
            self._resting[key] = self._clock() + self._rest
            mark_degraded(call, self, error)
            return stale.value

    async def _refresh(self, key: Hashable, call: "Call[Any]", proceed: Proceed) -> Any:
        value = await proceed()
        if not call.degraded:  # what stands in for a value is not one to keep
            self._resting.pop(key, None)
            await self._guarded(self._store.set(key, Entry(value, self._clock())))
        return value

    def _rests(self, key: Hashable) -> bool:
        until = self._resting.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._resting[key]
        return False

    async def _guarded(self, operation: Awaitable[T]) -> T | None:
        try:
            return await operation
        except Exception as error:  # noqa: BLE001 - without its cache, the call is made
            report_failure(self._store, error)
            return None
