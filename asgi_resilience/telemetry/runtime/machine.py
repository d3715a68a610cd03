"""How much of the machine, or of what its container has of it, is in use."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence

from asgi_resilience.metric_names import CPU_USAGE, DISK_USAGE, MEMORY_USAGE, NETWORK_THROUGHPUT
from asgi_resilience.telemetry.runtime.probes import Reading
from asgi_resilience.telemetry.runtime.system import System

__all__ = ("Machine",)


class Machine:
    """Asks the system; the disk is known to Python itself.

    Args:
        system: None: there is only the disk.
        paths: Of the file systems to look at.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        system: System | None,
        *,
        paths: Sequence[str] = ("/",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._paths = tuple(paths)
        self._clock = clock
        self._cpu: tuple[float, float] | None = None
        self._network: tuple[float, int, int] | None = None

    def __call__(self) -> Iterator[Reading]:
        """CPU and network since the last time, and the others as they are."""
        for path in self._paths:
            disk = shutil.disk_usage(path)
            yield Reading(DISK_USAGE, 100 * disk.used / (disk.used + disk.free), (f"path:{path}",))
        if self._system is not None:
            yield from self._cpu_usage(self._system)
            yield Reading(MEMORY_USAGE, 100 * self._system.memory_usage())
            yield from self._throughput(self._system)

    def _cpu_usage(self, system: System) -> Iterator[Reading]:
        before, self._cpu = self._cpu, system.cpu_times()
        if before is not None and self._cpu[1] > before[1]:
            share = (self._cpu[0] - before[0]) / (self._cpu[1] - before[1])
            yield Reading(
                CPU_USAGE, min(100.0, max(0.0, 100 * share))
            )  # its parts are not counted at one time

    def _throughput(self, system: System) -> Iterator[Reading]:
        before, self._network = self._network, (self._clock(), *system.network_bytes())
        if before is not None and self._network[0] > before[0]:
            seconds = self._network[0] - before[0]
            for direction, old, new in zip(("received", "sent"), before[1:], self._network[1:], strict=True):
                # an interface that goes takes its numbers with it
                yield Reading(NETWORK_THROUGHPUT, max(0, new - old) / seconds, (f"direction:{direction}",))
