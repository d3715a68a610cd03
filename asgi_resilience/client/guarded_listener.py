"""A listener of aiobreaker's that can't change an outcome: aiobreaker itself lets a listener's exception through."""

from typing import Any

from asgi_resilience.context import report_failure

__all__ = ("GuardedListener",)


class GuardedListener:
    """Hands everything on to `listener`, and reports what it raises."""

    __slots__ = ("listener",)

    def __init__(self, listener: Any) -> None:
        self.listener = listener

    def before_call(self, breaker: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        """A call is about to be made."""
        self._tell(self.listener.before_call, breaker, func, *args, **kwargs)

    def failure(self, breaker: Any, exception: Exception) -> None:
        """A call has failed."""
        self._tell(self.listener.failure, breaker, exception)

    def success(self, breaker: Any) -> None:
        """A call has succeeded."""
        self._tell(self.listener.success, breaker)

    def state_change(self, breaker: Any, old: Any, new: Any) -> None:
        """The breaker has changed its state."""
        self._tell(self.listener.state_change, breaker, old, new)

    def _tell(self, method: Any, *args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a listener may never change an outcome
            report_failure(self.listener, error)
