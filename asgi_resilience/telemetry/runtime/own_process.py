"""What this process takes: CPU, memory and files."""

import os
import time
from collections.abc import Callable, Iterator

from asgi_resilience.metric_names import RUNTIME_CPU_USAGE, RUNTIME_MEMORY_RSS, RUNTIME_OPEN_FILES
from asgi_resilience.telemetry.runtime.probes import Reading
from asgi_resilience.telemetry.runtime.system import System

__all__ = ("OwnProcess",)


class OwnProcess:
    """Asks the system; CPU time is known to Python itself.

    Args:
        system: None: there is only the CPU time.
        clock: Seconds, monotonic.
        cpu_clock: Seconds of CPU that the process has taken.
    """

    def __init__(
        self,
        system: System | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._system = system
        self._clock, self._cpu_clock = clock, cpu_clock
        self._before = os.getpid(), clock(), cpu_clock()

    def __call__(self) -> Iterator[Reading]:
        """CPU usage since the last time, and the others as they are."""
        (process, at, taken), self._before = self._before, (os.getpid(), self._clock(), self._cpu_clock())
        if self._before[0] == process and self._before[1] > at:  # a forked child has a CPU time of its own
            yield Reading(RUNTIME_CPU_USAGE, 100 * (self._before[2] - taken) / (self._before[1] - at))
        if self._system is not None:
            yield Reading(RUNTIME_MEMORY_RSS, self._system.rss())
            yield Reading(RUNTIME_OPEN_FILES, self._system.open_files())
