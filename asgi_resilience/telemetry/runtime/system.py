"""What a system is asked for: on Linux through `/proc`, elsewhere through psutil, where that is installed."""

import sys
from typing import Final, Protocol

from asgi_resilience.telemetry.runtime.procfs import ProcFS

__all__ = ("System", "find_system")

_PLATFORM: Final[str] = sys.platform


class System(Protocol):
    """May block, so ask it in a thread. What it can't say is an OSError or a ValueError."""

    def rss(self) -> int:
        """Bytes of memory of this process that are in the machine's."""
        ...

    def open_files(self) -> int:
        """How many files, sockets and pipes this process has open."""
        ...

    def cpu_times(self) -> tuple[float, float]:
        """Busy and all seconds of the cores that may be used, since some time in the past."""
        ...

    def memory_usage(self) -> float:
        """How much of the memory that may be used is in use, 0 to 1."""
        ...

    def network_bytes(self) -> tuple[int, int]:
        """Bytes received and sent since some time in the past, without the loopback interface."""
        ...


def find_system() -> System | None:
    """The way to ask this system; None: there is none without psutil."""
    if _PLATFORM == "linux":
        return ProcFS()
    try:
        from asgi_resilience.telemetry.runtime.portable import Portable  # noqa: PLC0415 - the extra `runtime`
    except ImportError:
        return None
    return Portable()
