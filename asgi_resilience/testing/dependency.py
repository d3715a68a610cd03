"""A dependency that fails as scripted: what an outbound call meets in production, one outcome per call."""

from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

__all__ = ("FailingDependency", "Slow")


@dataclass(frozen=True, slots=True)
class Slow:
    """An outcome that comes after `seconds` (on the event loop's clock); `float("inf")`: never."""

    seconds: float
    outcome: Any = None


class FailingDependency:
    """An async callable whose calls end as scripted; the last outcome repeats.

        database = FailingDependency(ConnectionError("refused"), Slow(30.0), {"id": 1})

    Args:
        outcomes: One per call: an exception (instance or class) is raised, a `Slow` waits and then ends as its own
            outcome says, anything else is returned.

    Attributes:
        calls: The positional and keyword arguments of each call, in order; also of those that were cancelled.

    Raises:
        ValueError: No outcome is given.
    """

    def __init__(self, *outcomes: Any) -> None:
        if not outcomes:
            raise ValueError("outcomes=(): expected at least one")
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._script = iter(outcomes)
        self._last: Any = outcomes[-1]

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """End as the next outcome says."""
        self.calls.append((args, kwargs))
        outcome = next(self._script, self._last)
        await anyio.lowlevel.checkpoint()
        while isinstance(outcome, Slow):
            await anyio.sleep(outcome.seconds)
            outcome = outcome.outcome
        if _is_exception(outcome):
            raise outcome
        return outcome


def _is_exception(outcome: object) -> bool:
    return isinstance(outcome, BaseException) or (
        isinstance(outcome, type) and issubclass(outcome, BaseException)
    )
