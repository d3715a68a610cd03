"""One timer of the event loop for any number of attempts that all have the same timeout.

Such attempts expire in the order in which they start, so it is enough to wait for the oldest. When that one has ended
long before, the timer wakes for nothing once, and is set for the oldest that still runs. Setting and cancelling a timer
per attempt costs several times as much.
"""

from asyncio import AbstractEventLoop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_resilience.client.own_cancel import OwnCancel

__all__ = ("AttemptTimer",)


class AttemptTimer:
    """Fires attempts when their time is over.

    Attributes:
        loop: The event loop of all these attempts.
        running: When each of them expires, on the loop's clock, the oldest first.
        armed: The loop's timer is set.
    """

    __slots__ = ("armed", "loop", "running")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.running: dict[OwnCancel, float] = {}
        self.armed = False

    def arm(self, when: float) -> None:
        """Set the loop's timer."""
        self.armed = True
        self.loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self.armed = False
        now = self.loop.time()
        due: list[OwnCancel] = []
        for attempt, expires in self.running.items():
            if expires > now:
                self.arm(expires)
                break
            due.append(attempt)
        for attempt in due:
            del self.running[attempt]
            attempt.fire()
