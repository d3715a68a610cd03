"""Load on an HTTP server: wrk where it is installed, else a small generator of our own in a process of its own."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

__all__ = ("Load", "exactly", "generator", "own", "press", "understood")

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_REQUEST = (
    b"GET /api/v1/orders/42?page=2 HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: theme=dark; session=0b8f2c1e\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What came back.

    Attributes:
        requests: That were answered.
        seconds: In which they were.
        p50: Seconds; the median latency.
        p99: Seconds.
        errors: Answers that were not 2xx, and connections that broke.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int

    @property
    def throughput(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def generator() -> str:
    """Which one is used."""
    return "wrk" if shutil.which("wrk") else "benchmarks/load.py"


def press(port: int, connections: int, seconds: float) -> Load:
    """Ask as fast as the server answers, over connections that stay open."""
    return _wrk(port, connections, seconds) if shutil.which("wrk") else own(port, connections, seconds)


def _wrk(port: int, connections: int, seconds: float) -> Load:
    headers = [line.decode() for line in _REQUEST.split(b"\r\n")[2:] if line]
    said = subprocess.run(
        [
            "wrk",
            "--threads=1",
            f"--connections={connections}",
            f"--duration={max(1, round(seconds))}s",
            "--latency",
            *(f"--header={header}" for header in headers),
            f"http://127.0.0.1:{port}/api/v1/orders/42?page=2",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return understood(said)


def understood(said: str) -> Load:
    """What wrk says, read."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s)", said)
    if total is None:
        raise RuntimeError(said)
    errors = [int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", said)]
    errors += [int(each) for each in re.findall(r"(?:connect|read|write|timeout) (\d+)", said)]
    return Load(
        int(total[1]), _seconds(total[2], total[3]), _latency(said, 50), _latency(said, 99), sum(errors)
    )


def _latency(said: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", said)
    if found is None:
        raise RuntimeError(said)
    return _seconds(found[1], found[2])


def _seconds(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]


# ------------------------------------------------------------------------------------------------- our own


def own(port: int, connections: int, seconds: float) -> Load:
    """As `press`, always without wrk."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(port), str(connections), str(seconds)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    ).stdout
    requests, took, p50, p99, errors = said.split()
    return Load(int(requests), float(took), float(p50), float(p99), int(errors))


def exactly(port: int, connections: int, count: int) -> None:
    """Make so many requests, from this very process.

    Raises:
        RuntimeError: One was not answered with a 2xx.
    """

    async def run() -> None:
        turns = [iter(range(count // connections)) for _ in range(connections)]
        errors = await asyncio.gather(*(_connection(port, turn, []) for turn in turns))
        if any(errors):
            raise RuntimeError(f"{sum(errors)} of {count} requests have failed")

    asyncio.run(run())


def _until(when: float) -> Iterator[None]:
    while perf_counter() < when:
        yield


async def _connection(port: int, turns: Iterator[object], latencies: list[float]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    errors = 0
    for _ in turns:
        asked = perf_counter()
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if size is None:
            raise RuntimeError(f"an answer without content-length: {head!r}")
        await reader.readexactly(int(size[1]))
        errors += head[9:10] != b"2"
        latencies.append(perf_counter() - asked)
    writer.close()
    return errors


async def _all(port: int, connections: int, seconds: float) -> None:
    latencies: list[float] = []
    began = perf_counter()
    errors = await asyncio.gather(
        *(_connection(port, _until(began + seconds), latencies) for _ in range(connections))
    )
    took = perf_counter() - began
    latencies.sort()
    count = len(latencies)
    print(count, took, latencies[count // 2], latencies[count * 99 // 100], sum(errors))


if __name__ == "__main__":
    asyncio.run(_all(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
