"""Ask the dependencies how they are, without becoming a load on them.

Each check runs in a task of its own, at most one at a time, and its answer is kept for a moment. Whoever asks meanwhile
waits for the same run, and whoever stops waiting disturbs nobody: a thousand probes are one question. A run is over at
its deadline, and so is the waiting for it, even if the check is deaf to cancellation (a thread that hangs in a driver):
it then counts as failed, and is not started again on top of itself.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import anyio

__all__ = ("Check", "HealthCheck", "HealthChecks", "HealthStatus")

HealthStatus = Literal["healthy", "degraded", "unhealthy"]
Check: TypeAlias = Callable[[], Awaitable[object]]

_STATUSES: Final[dict[str, HealthStatus]] = {each: each for each in get_args(HealthStatus)}
_logger = logging.getLogger("asgi_resilience.health")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How to find out whether a dependency works.

    Attributes:
        name: Stands in the report.
        check: Called without arguments and awaited. Healthy is what returns None or something true; unhealthy is what
            returns something false, raises, or is late. The strings `"healthy"`, `"degraded"` and `"unhealthy"` mean
            themselves; any other string is a mistake, and unhealthy.
        critical: Whether the service can't work without it; one that it can work without makes it degraded at worst.
        timeout: Seconds; None: as the layer says.

    Raises:
        ValueError: The name is empty, or the timeout is not above 0.
        TypeError: The check can't be called.
    """

    name: str
    check: Check
    critical: bool = True
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name='': expected the name of a dependency, such as 'database'")
        if not callable(self.check):
            raise TypeError(
                f"check={self.check!r} of {self.name}: expected an async function without arguments"
            )
        if self.timeout is not None and not 0 < self.timeout < inf:
            raise ValueError(f"timeout={self.timeout!r} of {self.name}: expected seconds above 0, or None")


class HealthChecks:
    """The dependencies of a service.

    Args:
        checks: Checks, or async functions by name.
        timeout: Seconds for each check that names no other.
        ttl: Seconds for which an answer is kept; 0: only shared by those who ask at the same time.
        clock: Seconds, monotonic: tells how old an answer is.

    Raises:
        ValueError: Two checks have one name, or an option is out of range; it names the option and the value.
    """

    def __init__(
        self,
        checks: Iterable[HealthCheck] | Mapping[str, HealthCheck | Check],
        *,
        timeout: float,
        ttl: float,
        clock: Callable[[], float],
    ) -> None:
        if not 0 < timeout < inf:
            raise ValueError(f"check_timeout={timeout!r}: expected seconds above 0")
        if not 0 <= ttl < inf:
            raise ValueError(f"cache_ttl={ttl!r}: expected seconds, 0 or more")
        self._probes: dict[str, _Probe] = {}
        for check in _named(checks):
            if check.name in self._probes:
                raise ValueError(f"checks: two are called {check.name!r}")
            limit = timeout if check.timeout is None else check.timeout
            self._probes[check.name] = _Probe(check, limit, ttl, clock)

    async def ask(self) -> tuple[HealthStatus, dict[str, HealthStatus]]:
        """The status of the whole, and of each dependency; takes as long as the longest timeout at most."""
        runs = {name: probe.refresh() for name, probe in self._probes.items()}
        statuses: dict[str, HealthStatus] = {
            name: self._probes[name].status if run is None else await run.settled()
            for name, run in runs.items()
        }
        if any(
            statuses[name] == "unhealthy" and probe.check.critical for name, probe in self._probes.items()
        ):
            return "unhealthy", statuses
        return "healthy" if all(status == "healthy" for status in statuses.values()) else "degraded", statuses


class _Run:
    """One run of a check, on the event loop that it was started on: only who asks there can wait for it."""

    __slots__ = ("deadline", "done", "loop", "status", "task")

    def __init__(self, timeout: float) -> None:
        self.loop = _event_loop()
        self.deadline = anyio.current_time() + timeout
        self.done = anyio.Event()
        self.status: HealthStatus = (
            "unhealthy"  # until the check has answered: late or cancelled is no answer
        )
        self.task: object = None

    async def settled(self) -> HealthStatus:
        """The status, once the check has answered or is late."""
        with anyio.CancelScope(deadline=self.deadline):
            await self.done.wait()
        return self.status


class _Probe:
    """A check with its latest answer."""

    def __init__(self, check: HealthCheck, timeout: float, ttl: float, clock: Callable[[], float]) -> None:
        self.check = check
        self.status: HealthStatus = "unhealthy"
        self._timeout = timeout
        self._ttl = ttl
        self._clock = clock
        self._kept_until = -inf
        self._reported: HealthStatus = "healthy"
        self._run: _Run | None = None

    def refresh(self) -> _Run | None:
        """Start the check, unless it runs already; None while its answer is fresh."""
        if self._clock() < self._kept_until:
            return None
        run = self._run
        if run is None or run.loop is not _event_loop():
            self._run = run = _Run(self._timeout)
            run.task = _spawn(self._answer, run)
        return run

    async def _answer(self, run: _Run) -> None:
        status: HealthStatus = "unhealthy"
        problem: BaseException | None = None
        try:
            try:
                with anyio.CancelScope(deadline=run.deadline):
                    status = _meaning(await self.check.check())
                if anyio.current_time() >= run.deadline:
                    status = "unhealthy"
                    raise TimeoutError(f"no answer within {self._timeout} s")  # noqa: TRY301 - one place to fail
            except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
                raise
            except BaseException as error:  # noqa: BLE001 - nothing else in a check may end the service
                problem = error
            self.status = run.status = status
            self._kept_until = self._clock() + self._ttl
        finally:
            if self._run is run:
                self._run = None
            run.done.set()
        self._report(status, problem)

    def _report(self, status: HealthStatus, problem: BaseException | None) -> None:
        """Log changes only: probes come every few seconds."""
        if status == self._reported:
            return
        self._reported = status
        level = logging.INFO if status == "healthy" else logging.WARNING
        _logger.log(level, "Dependency %s is %s", self.check.name, status, exc_info=problem)


def _named(checks: Iterable[HealthCheck] | Mapping[str, HealthCheck | Check]) -> Iterable[HealthCheck]:
    if not isinstance(checks, Mapping):
        return checks
    return [
        replace(check, name=name) if isinstance(check, HealthCheck) else HealthCheck(name, check)
        for name, check in cast("Mapping[str, HealthCheck | Check]", checks).items()
    ]


def _meaning(answer: object) -> HealthStatus:
    if isinstance(answer, str):
        if answer not in _STATUSES:
            raise ValueError(f"the check returned {answer!r}: expected one of {', '.join(_STATUSES)}")
        return _STATUSES[answer]
    return "healthy" if answer is None or answer else "unhealthy"


def _trio() -> Any:
    trio = sys.modules.get("trio")
    return trio.lowlevel if trio is not None and trio.lowlevel.in_trio_task() else None


def _event_loop() -> object:
    trio = _trio()
    return asyncio.get_running_loop() if trio is None else trio.current_trio_token()


def _spawn(main: Callable[[_Run], Coroutine[Any, Any, None]], run: _Run) -> object:
    """Start a task that belongs to the event loop and not to whoever asks, and that ends at its deadline."""
    trio = _trio()
    if trio is None:
        return asyncio.get_running_loop().create_task(main(run))
    return trio.spawn_system_task(main, run)
