"""The waits of a dependency that a shutdown ends: sleeps between attempts, and queues at a closed gate."""

from asyncio import CancelledError, current_task, sleep

from asgi_resilience.client.own_cancel import OwnCancel

__all__ = ("Sleepers",)


class Sleepers:
    """Everybody who waits for something that a shutdown will not let happen any more.

    Attributes:
        closed: Nobody is to fall asleep again.
    """

    __slots__ = ("_asleep", "closed")

    def __init__(self) -> None:
        self._asleep: set[OwnCancel] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._asleep)

    def enter(self) -> OwnCancel:
        """The current task is about to sleep; `leave` when it no longer does."""
        task = current_task()
        assert task is not None  # every coroutine that asyncio runs is run by a task
        sleeper = OwnCancel(task)
        self._asleep.add(sleeper)
        return sleeper

    def leave(self, sleeper: OwnCancel | None) -> None:
        """The sleep is over, however it ended; None: it never began."""
        if sleeper is not None:
            self._asleep.discard(sleeper)

    async def sleep(self, seconds: float) -> bool:
        """Sleep; False when a shutdown ended it."""
        if self.closed:
            return False
        sleeper = self.enter()
        try:
            await sleep(seconds)
        except CancelledError:
            if sleeper.fired and sleeper.settle():
                return False
            raise
        finally:
            self.leave(sleeper)
        return True

    def wake(self) -> None:
        """End every sleep, now and for ever."""
        self.closed = True
        asleep, self._asleep = self._asleep, set()
        for sleeper in asleep:
            sleeper.fire()
