"""What is told of a dependency that does not work: enough to act on, and no secret.

The errors of drivers quote connection strings, hosts with passwords, whole queries, and hold the frames and arguments
they came through. The health layer logs what a check raises, so a check raises this in their place.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Final, TypeVar

from asgi_resilience.health_check import HealthStatus
from asgi_resilience.logs.redaction import Redactor

__all__ = ("Outage", "asked_safely", "kind_of", "refuse_blocking")

T = TypeVar("T")

_LONGEST: Final = 200


class Outage(Exception):
    """A dependency does not work: the class of the driver's error, and the first line of its text without secrets."""


def asked_safely(
    ask: Callable[[], Awaitable[HealthStatus | None]],
) -> Callable[[], Awaitable[HealthStatus | None]]:
    """`ask`, with an `Outage` in place of every other exception; it has neither cause nor context."""

    async def check() -> HealthStatus | None:
        try:
            return await ask()
        except Outage:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the dependency does not work
            told = _told(error)
        raise Outage(told)

    return check


def refuse_blocking(client: Any, needed: str, expected: str) -> None:
    """Find a client that would block the event loop, or is none at all.

    Raises:
        TypeError: The client lacks the method `needed`, or is one of those for threads.
    """
    if not hasattr(client, needed) or not hasattr(client, "__aenter__"):
        raise TypeError(f"got a {kind_of(client)}: expected {expected}")


def kind_of(client: object) -> str:
    """The class of what was given in place of a client: its value may be a connection string."""
    kind = type(client)
    return f"{kind.__module__}.{kind.__qualname__}"


def _told(error: Exception) -> str:
    kind = type(error).__qualname__
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:  # noqa: BLE001 - an exception class of a driver may have any bug
        return kind
    text = _redactor().text(text)[:_LONGEST]
    return f"{kind}: {text}" if text else kind


@cache
def _redactor() -> Redactor:
    return Redactor()
