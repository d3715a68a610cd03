"""The queue of calls that are made later: bounded, drained slowly, and handed back when the process ends."""

import asyncio
import atexit
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.fallback import unavailable
from asgi_resilience.client.idempotency import idempotency_key
from asgi_resilience.context import report_failure
from asgi_resilience.process_life import starts_anew

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call
    from asgi_resilience.client.dependency import Dependency

__all__ = ("DeferredCall", "DeferredQueue")

_logger: Final = logging.getLogger("asgi_resilience.client")


@dataclass(frozen=True, slots=True)
class DeferredCall:
    """A call that waits.

    Attributes:
        key: Its idempotency key.
        dependency: What it goes through.
        func: What is called.
        args: With these.
        kwargs: And these.
        due: When it may be tried, on the event loop's clock.
        expires: When it is given up, likewise.
        error: What it failed with last.
    """

    key: str
    dependency: "Dependency"
    func: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    due: float
    expires: float
    error: Exception


def _log_result(call: DeferredCall, _result: Any, error: Exception | None) -> None:
    if error is not None:
        kind = type(error).__qualname__
        _logger.error("%s: deferred call %s failed for good: %s", call.dependency.name, call.key, kind)


def _log_handed_back(calls: Sequence[DeferredCall]) -> None:
    for call in calls:
        _logger.error("%s: deferred call %s was not made before the shutdown", call.dependency.name, call.key)


_queues: Final[WeakSet["DeferredQueue"]] = WeakSet()


class DeferredQueue:
    """Holds calls, and makes them one by one.

    Args:
        max_size: Calls that it takes; more are refused, and fail. Default 1000.
        interval: Seconds between two of its calls. Default 1.0.
        delay: Seconds until the first attempt, where the dependency did not say. Default 5.0.
        expires_after: Seconds after which a call is given up. Default 3600.0.
        on_result: Gets each call with its result, or with the error for which it was given up. Default: errors are logged.
        on_handed_back: Gets what is left at shutdown, or at the latest at the end of the process. Default: it is logged.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        max_size: int = 1000,
        interval: float = 1.0,
        delay: float = 5.0,
        expires_after: float = 3600.0,
        on_result: Callable[[DeferredCall, Any, Exception | None], None] = _log_result,
        on_handed_back: Callable[[Sequence[DeferredCall]], None] = _log_handed_back,
    ) -> None:
        if max_size < 1:
            raise ValueError(f"max_size={max_size!r}: expected 1 or more")
        for name, value in (("interval", interval), ("delay", delay), ("expires_after", expires_after)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r}: expected more than 0 seconds")
        self._max_size = max_size
        self._interval = interval
        self._delay = delay
        self._expires_after = expires_after
        self._on_result = on_result
        self._on_handed_back = on_handed_back
        self._calls: deque[DeferredCall] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._closed = False
        starts_anew(self)
        _queues.add(self)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: "Call[Any]", key: str, error: Exception) -> DeferredCall | None:
        """Queue a call that has failed with `error`; None when there is no room for it."""
        if self._closed or len(self._calls) >= self._max_size:
            return None
        now = loop_time()
        due, expires = now + self._wait(call.dependency, error), now + self._expires_after
        queued = DeferredCall(key, call.dependency, call.func, call.args, call.kwargs, due, expires, error)
        self._calls.append(queued)
        if self._draining is None:
            # Nothing of the request that queues the first call: not its deadline, nor its record.
            self._draining = asyncio.get_running_loop().create_task(self._drain(), context=Context())
        return queued

    async def aclose(self) -> None:
        """Stop, and hand back what was not made; also a call that is being made right now."""
        self._closed = True
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.cancel()
            await asyncio.wait((draining,))
        self.hand_back()

    def hand_back(self) -> None:
        """Hand back what was not made, where there is no loop any more that `aclose` could run on."""
        if self._calls:
            calls = tuple(self._calls)
            self._calls.clear()
            self._on_handed_back(calls)

    def after_fork(self) -> None:
        """The parent has the calls, and makes them."""
        self._calls.clear()
        self._draining = None

    def _wait(self, dependency: "Dependency", error: Exception) -> float:
        breaker = dependency.breaker
        asked = dependency.classify(error).facts.retry_after or 0.0
        return max(asked, 0.0 if breaker is None else breaker.retry_after()) or self._delay

    async def _drain(self) -> None:
        while self._calls:
            call = min(self._calls, key=lambda each: each.due)
            await asyncio.sleep(max(0.0, call.due - loop_time()))
            await self._make(call)
            await asyncio.sleep(self._interval)
        self._draining = None

    async def _make(self, call: DeferredCall) -> None:
        dependency, result, failed = call.dependency.using(fallback=None), None, None
        try:
            with idempotency_key(call.key):
                result = await dependency.call(call.func, *call.args, **call.kwargs)
        except Exception as error:  # noqa: BLE001 - it means another attempt, or goes to on_result
            failed = error
            due = loop_time() + self._wait(dependency, error)
            if due < call.expires and unavailable(dependency, error):
                self._calls[self._calls.index(call)] = replace(call, due=due, error=error)
                return
        self._calls.remove(call)
        try:
            self._on_result(call, result, failed)
        except Exception as error:  # noqa: BLE001 - the queue goes on
            report_failure(self._on_result, error)


def _hand_all_back() -> None:
    for queue in tuple(_queues):
        try:
            queue.hand_back()
        except Exception as error:  # noqa: BLE001 - the others have something to hand back, too
            report_failure(queue.hand_back, error)


atexit.register(_hand_all_back)
