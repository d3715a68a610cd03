"""One call for all who ask for the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from asgi_resilience.client.deadline import DeadlineExceeded, current_deadline

__all__ = ("SingleFlight",)


class _Flight:
    """A call that is under way. Whoever waits for it finds its end here."""

    __slots__ = ("error", "landed", "result", "succeeded")

    def __init__(self) -> None:
        self.landed = asyncio.Event()
        self.succeeded = False
        self.result: Any = None
        self.error: Exception | None = None


class SingleFlight:
    """Makes the first of equal calls, and gives its end to the others that come meanwhile.

    A call that is cancelled, or ends at the deadline of the request that made it, says nothing to the others: one of them
    makes it again.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    async def do(self, name: str, key: Hashable, make: Callable[[], Awaitable[Any]]) -> Any:
        """The result of `make()`, or of somebody else's for the same `key`.

        Raises:
            Exception: What that raised.
            DeadlineExceeded: This request's time was over before somebody else's call was; `name` is the dependency's.
        """
        while (flight := self._flights.get(key)) is not None:
            try:
                async with asyncio.timeout_at(current_deadline()):
                    await flight.landed.wait()
            except TimeoutError:
                raise DeadlineExceeded(name) from None
            if flight.succeeded:
                return flight.result
            if flight.error is not None:
                raise flight.error
        flight = self._flights[key] = _Flight()
        try:
            flight.result = await make()
            flight.succeeded = True
        except DeadlineExceeded:
            raise
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        return flight.result
