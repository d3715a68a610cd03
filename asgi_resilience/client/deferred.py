"""Calls that are made later: what a dependency can't do now is queued, and done when it can.

The queue is bounded, keeps the idempotency key of each call, and is drained one call at a time, so that a dependency that
has just come back is not run over. What is left at shutdown is handed back: nothing is lost in silence.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.deferred_queue import DeferredQueue
from asgi_resilience.client.degraded import mark_degraded
from asgi_resilience.client.fallback import Fallback, Proceed, unavailable
from asgi_resilience.client.idempotency import current_idempotency_key, idempotency_key

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call

__all__ = ("CallDeferred", "Deferred")


class CallDeferred(Exception):
    """The call was queued, and will be made later. Raised from the error for which it was.

    Attributes:
        dependency: The name.
        key: The idempotency key under which it will be made, and by which its result can be told apart.
        retry_after: Seconds until it will be tried at the earliest.
    """

    def __init__(self, dependency: str, key: str, retry_after: float) -> None:
        self.args = (dependency, key, retry_after)
        self.dependency = dependency
        self.key = key
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.dependency}: queued as {self.key}, tried again in {self.retry_after:.3g} s"


class Deferred(Fallback):
    """Queues a call that could not be made, and raises `CallDeferred`.

    A fallback that stands after it can answer meanwhile:

        Dependency("sports", fallback=(Deferred(queue), Cached(ttl=60.0)))

    Args:
        queue: Where to; several dependencies may share one.
        key: A function of the call's arguments that gives its idempotency key; default: that of the surrounding
            `idempotency_key()` block, or a new one. The call's first attempts carry the same.
    """

    def __init__(self, queue: DeferredQueue, *, key: Callable[..., str] | None = None) -> None:
        self._queue = queue
        self._key = key

    async def run(self, call: "Call[Any]", proceed: Proceed) -> Any:
        """Make the call, or queue it.

        Raises:
            CallDeferred: It was queued.
            Exception: What it raised, when that is final, or making it twice could do harm, or the queue is full.
        """
        chosen = current_idempotency_key() if self._key is None else self._key(*call.args, **call.kwargs)
        with idempotency_key(chosen) as key:
            try:
                return await proceed()
            except Exception as error:
                if not unavailable(call.dependency, error) or not call.may_be_repeated(error):
                    raise
                queued = self._queue.add(call, key, error)
                if queued is None:
                    raise
                mark_degraded(call, self, error)
                raise CallDeferred(call.dependency.name, key, queued.due - loop_time()) from error

    async def aclose(self) -> None:
        """Stop the queue, and hand back what is in it."""
        await self._queue.aclose()
