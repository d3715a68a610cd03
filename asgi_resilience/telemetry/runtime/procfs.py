"""Linux: the process, and what it may use of the machine, from `/proc` and control groups.

In a container the machine is what its limits leave of it. `/proc` knows nothing of them, so the control group (version 2)
is asked first: it and those around it may each have a limit, and the tightest counts.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

__all__ = ("ProcFS",)

_IDLE: Final = slice(3, 5)  # idle and waiting for input or output, among the times of a CPU
_TIMES: Final = 8  # what follows are the guests' times, which are part of the others
_PER_SECOND: Final = 1_000_000


class ProcFS:
    """Reads numbers where Linux shows them.

    Args:
        proc: Where `/proc` is.
        cgroups: Where the control groups are.
    """

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._own = proc / "self"
        self._proc = proc
        self._cgroups = cgroups
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._ticks = os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """As `System`."""
        return int((self._own / "statm").read_text().split()[1]) * self._page

    def open_files(self) -> int:
        """As `System`; the directory that is read for it is not counted."""
        return sum(1 for _ in (self._own / "fd").iterdir()) - 1

    def cpu_times(self) -> tuple[float, float]:
        """As `System`."""
        limited: list[tuple[float, Path]] = []
        for group in self._groups():
            quota, _, period = _words(group / "cpu.max").partition(" ")
            if quota.isdigit():
                limited.append((int(quota) / int(period), group))
        if limited:
            cores, group = min(limited)
            used = _named(group / "cpu.stat")["usage_usec"] / _PER_SECOND
            return used, cores * monotonic()
        times = [int(each) for each in _first_line(self._proc / "stat").split()[1 : _TIMES + 1]]
        total = sum(times)
        return (total - sum(times[_IDLE])) / self._ticks, total / self._ticks

    def memory_usage(self) -> float:
        """As `System`. Caches of files that can be given up at once are not in use."""
        shares: list[float] = []
        for group in self._groups():
            limit = _words(group / "memory.max")
            if limit.isdigit():
                used = int(_words(group / "memory.current"))
                used -= _named(group / "memory.stat").get("inactive_file", 0)
                shares.append(used / max(1, int(limit)))
        if shares:
            return max(shares)
        memory = _named(self._proc / "meminfo")
        return 1 - memory["MemAvailable:"] / memory["MemTotal:"]

    def network_bytes(self) -> tuple[int, int]:
        """As `System`."""
        received = sent = 0
        for line in (self._own / "net" / "dev").read_text().splitlines()[2:]:
            interface, _, numbers = line.partition(":")
            if interface.strip() != "lo":
                columns = numbers.split()
                received += int(columns[0])
                sent += int(columns[8])
        return received, sent

    def _groups(self) -> Iterator[Path]:
        """The control group of this process and those around it."""
        for line in (self._own / "cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                group = self._cgroups / line[4:]
                yield from (each for each in (group, *group.parents) if each.is_relative_to(self._cgroups))


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()


def _words(path: Path) -> str:
    """The text of a small file; empty where there is none: the group has no such limit."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _named(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if (words := line.split())}
