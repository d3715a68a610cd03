"""Something inside this process that must have happened, such as a model that is loaded."""

from collections.abc import Callable
from typing import Protocol

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.health_checks.outage import Outage, asked_safely

__all__ = ("Event", "flag_check")


class Event(Protocol):
    """What `asyncio.Event`, `threading.Event` and `anyio.Event` have in common."""

    def is_set(self) -> bool:
        """Whether it has happened."""
        ...


def flag_check(name: str, flag: Event | Callable[[], object], *, critical: bool = True) -> HealthCheck:
    """Healthy when `flag` is set, or, for a function, when it returns something true.

        flag_check("model", lambda: app.state.model is not None)

    Args:
        name: As for `HealthCheck`.
        flag: An event, or a plain function; it is asked at every probe, on the event loop.
        critical: As for `HealthCheck`.

    Raises:
        TypeError: `flag` is neither.
        ValueError: As for `HealthCheck`.
    """
    is_set: Callable[[], object] | None = getattr(flag, "is_set", flag if callable(flag) else None)
    if is_set is None:
        raise TypeError(f"flag={flag!r} of {name}: expected an event or a function")

    async def ask() -> None:
        if not is_set():
            raise Outage("not set")

    return HealthCheck(name, asked_safely(ask), critical=critical)
