"""Load that does not wait for the server: clients come at random, whether or not those before them were answered.

A client gives up after its patience and closes the connection, as one with a timeout does; one that was answered leaves its
connection to the next. Time is counted from when a client was to come, so a generator that is late flatters nobody.

`python -m benchmarks.open_load PORT RATE WARM_UP SECONDS PATIENCE` is such a generator.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ("Crowd", "offer")

_REQUEST = b"GET /orders/42 HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n\r\n"
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(slots=True)
class Crowd:
    """What became of the clients.

    Attributes:
        seconds: In which they came.
        good: Latencies of those that were answered with 200 within their patience, in seconds.
        refused: How many were answered with 503.
        gone: How many gave up, or found the connection closed.
    """

    seconds: float
    good: list[float] = field(default_factory=list)
    refused: int = 0
    gone: int = 0

    @property
    def goodput(self) -> float:
        """Good answers per second."""
        return len(self.good) / self.seconds

    @property
    def offered(self) -> int:
        """How many clients came."""
        return len(self.good) + self.refused + self.gone

    @property
    def p99(self) -> float | None:
        """Latency of the good answers, in seconds; None without any."""
        return sorted(self.good)[len(self.good) * 99 // 100] if self.good else None


def offer(port: int, rate: float, warm_up: float, seconds: float, patience: float) -> Crowd:
    """Send so many clients a second, by a process of its own; those of the warm-up don't count."""
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.open_load",
            *map(str, (port, rate, warm_up, seconds, patience)),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    ).stdout
    return Crowd(**json.loads(said))


class _Clients:
    """All clients, and the connections that they leave to one another."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        self._idle: list[_Connection] = []

    async def ask(self, came: float, crowd: Crowd) -> None:
        """One client, that was to come then."""
        try:
            async with asyncio.timeout_at(came + self._patience):
                status = await self._status()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            crowd.gone += 1
            return
        if status == b"200":
            crowd.good.append(asyncio.get_running_loop().time() - came)
        elif status == b"503":
            crowd.refused += 1
        else:
            raise RuntimeError(f"an answer of {status!r}")

    async def _status(self) -> bytes:
        reader, writer = self._left() or await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return head[9:12]

    def _left(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection[0].at_eof():  # the server closes those that were idle for too long
                return connection
        return None


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    if found is None:
        raise RuntimeError(f"an answer without content-length: {head!r}")
    return int(found[1])


def _arrivals(begin: float, rate: float, end: float, dice: random.Random) -> Iterator[float]:
    """A Poisson process: clients that know nothing of one another."""
    when = begin + dice.expovariate(rate)
    while when < end:
        yield when
        when += dice.expovariate(rate)


async def _run(port: int, rate: float, warm_up: float, seconds: float, patience: float) -> Crowd:
    clients = _Clients(port, patience)
    early, counted = Crowd(warm_up), Crowd(seconds)
    begin = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as tasks:
        for when in _arrivals(begin, rate, begin + warm_up + seconds, random.Random(0)):
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            tasks.create_task(clients.ask(when, early if when < begin + warm_up else counted))
    return counted


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_run(int(sys.argv[1]), *map(float, sys.argv[2:6]))))))
