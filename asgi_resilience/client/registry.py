"""Every dependency of this process: for health checks, status pages and the shutdown."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from asgi_resilience.client.events import BreakerState
from asgi_resilience.context import report_failure

if TYPE_CHECKING:
    from asgi_resilience.client.dependency import Dependency

__all__ = ("DependencyStatus", "aclose_all", "dependencies", "register")

_logger: Final = logging.getLogger("asgi_resilience.client")
_registered: Final["WeakValueDictionary[int, Dependency]"] = WeakValueDictionary()
_made = 0


@dataclass(frozen=True, slots=True)
class DependencyStatus:
    """How a dependency is doing.

    Attributes:
        name: Its name.
        state: Of its circuit breaker; `"forced_closed"` without one.
        retry_after: Seconds until an open circuit lets a call through; 0.0 unless it is open.
        failures_in_a_row: Up to now.
        failure_ratio: Among the last calls; None while there were too few.
        last_error: The class of the last failure; None while nothing is wrong.
        waiting: Calls that wait for a retry, or at the gate.
    """

    name: str
    state: BreakerState
    retry_after: float
    failures_in_a_row: int
    failure_ratio: float | None
    last_error: str | None
    waiting: int

    @property
    def healthy(self) -> bool:
        """Whether calls go through without restriction."""
        return self.state in ("closed", "forced_closed", "metrics_only")


def register(dependency: "Dependency") -> None:
    """Add a dependency; it stays as long as somebody holds it. A second one of the same name is worth a warning."""
    global _made  # noqa: PLW0603 - numbers them in the order in which they were made
    if any(each.name == dependency.name for each in dependencies()):
        _logger.warning(
            "%s: made twice; two circuit breakers watch one dependency. Make it once, and vary it by using().",
            dependency.name,
        )
    _made += 1
    _registered[_made] = dependency


def dependencies() -> tuple["Dependency", ...]:
    """Every dependency of this process, in the order in which they were made."""
    return tuple(each for _, each in sorted(_registered.items()))


async def aclose_all() -> None:
    """Shut down every dependency, also if one of them can't: see `Dependency.aclose`."""
    for each in dependencies():
        try:
            await each.aclose()
        except Exception as error:  # noqa: BLE001 - a shutdown goes on
            report_failure(each.aclose, error)
