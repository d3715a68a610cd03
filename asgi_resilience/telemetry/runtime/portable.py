"""Systems without `/proc`: through psutil. No other file imports it."""

from typing import Any

import psutil

__all__ = ("Portable",)


class Portable:
    """Asks psutil; see `System`."""

    def __init__(self) -> None:
        self._process: Any = psutil.Process()  # what it has depends on the system

    def rss(self) -> int:
        """As `System`."""
        return int(self._process.memory_info().rss)

    def open_files(self) -> int:
        """As `System`; on Windows, handles."""
        process = self._process
        return int(process.num_fds() if hasattr(process, "num_fds") else process.num_handles())

    def cpu_times(self) -> tuple[float, float]:
        """As `System`."""
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total - times.idle - getattr(times, "iowait", 0.0), total

    def memory_usage(self) -> float:
        """As `System`."""
        return float(psutil.virtual_memory().percent) / 100

    def network_bytes(self) -> tuple[int, int]:
        """As `System`."""
        counters = psutil.net_io_counters(pernic=True).items()
        other = [each for name, each in counters if not name.lower().startswith("lo")]
        return sum(each.bytes_recv for each in other), sum(each.bytes_sent for each in other)
