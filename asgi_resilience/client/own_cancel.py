"""Cancelling the current task for a reason of one's own, and knowing that cancellation from anyone else's.

A timeout, or a shutdown that wakes a sleeper, ends a wait by cancelling the task that waits. `Task.cancelling()` and
`Task.uncancel()` tell whether that was all: if anybody else wants the task cancelled as well, the cancellation goes on.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Task

__all__ = ("OwnCancel",)


class OwnCancel:
    """One cancellation of one task. `fire` asks for it, `settle` takes it back.

    Attributes:
        fired: It was asked for.
    """

    __slots__ = ("_already", "_task", "fired")

    def __init__(self, task: "Task[Any]") -> None:
        self._task = task
        self._already = task.cancelling()
        self.fired = False

    def fire(self) -> None:
        """Cancel the task. Call it from outside of the task, once."""
        self.fired = True
        self._task.cancel()

    def settle(self) -> bool:
        """Take the cancellation back; whether no one else has asked for one. Call it once after `fire`."""
        return self._task.uncancel() <= self._already
