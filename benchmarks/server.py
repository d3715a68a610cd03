"""What is left of the throughput under a real server?"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, Self, cast

from benchmarks import callgrind
from benchmarks.answer import PACKAGES, Answer, Table
from benchmarks.load import Load, exactly, generator, press
from benchmarks.served import APPS
from benchmarks.timing import Effort, quartiles

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "What is left of the throughput under a real server?"
CONNECTIONS = 32
WAITING_CONNECTIONS = 4  # so that the app's own waiting is what limits it
SECONDS = 2.0
SIMULATED = 320  # requests

BARE, NO_OPS, FORTY, WHOLE, ASSEMBLY, BASE = list(APPS)[:6]
PAIRS = {name: f"bare{name.removeprefix(WHOLE)}" for name in APPS if name.startswith(f"{WHOLE},")}


class Served:
    """An app in a server process of its own."""

    def __init__(self, name: str, under: Sequence[str] = ()) -> None:
        self.name = name
        self._under = under

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*self._under, sys.executable, "-m", "benchmarks.served", self.name, "uvloop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **callgrind.ENVIRONMENT},
        )
        self.port = int(self._output.readline())
        return self

    @property
    def _output(self) -> IO[str]:
        return cast("IO[str]", self._process.stdout)

    def cpu(self, said: str = "") -> float:
        """Seconds that the process has used."""
        asked = cast("IO[str]", self._process.stdin)
        asked.write(f"{said}\n")
        asked.flush()
        return float(self._output.readline())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cast("IO[str]", self._process.stdin).close()
        self._process.wait()
        self._output.close()


@dataclass(slots=True)
class Turns:
    """The loads of one app, and the CPU seconds per request of its process in each."""

    loads: list[Load] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def throughputs(self) -> list[float]:
        """Answers per second of each."""
        return [load.throughput for load in self.loads]

    def take(self, served: Served, seconds: float) -> None:
        """One turn."""
        before = served.cpu()
        load = press(served.port, WAITING_CONNECTIONS if "waits" in served.name else CONNECTIONS, seconds)
        self.cpu.append((served.cpu() - before) / load.requests)
        self.loads.append(load)


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return _rounds(effort) * len(APPS)


def _rounds(effort: Effort) -> int:
    return 1 if effort.quick else max(2, effort.rounds // 3)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure: one server process for each app, alive all the time, asked in turns."""
    found = Answer("server", QUESTION, packages=(*PACKAGES, "uvicorn", "httptools"))
    turns = {name: Turns() for name in APPS}
    with ExitStack() as servers:
        served = [servers.enter_context(Served(name)) for name in APPS]
        for each in served:
            press(each.port, CONNECTIONS, 1)
        for turn in range(_rounds(effort)):
            for each in served if turn % 2 else reversed(served):
                turns[each.name].take(each, 1 if effort.quick else SECONDS)
                progress()
    found.tables += [table := _table(turns), _absolute(turns)]
    found.spread |= {
        f"requests per second: {name}": quartiles(each.throughputs) for name, each in turns.items()
    }
    found.spread |= {f"CPU seconds per request: {name}": quartiles(each.cpu) for name, each in turns.items()}
    found.picture = Table(
        "Throughput under uvicorn; the bare app of the same kind has 100",
        ["requests per second"],
        {name: numbers[:1] for name, numbers in table.rows.items()},
    )
    for name, base in {WHOLE: BARE, NO_OPS: BARE, FORTY: BARE, ASSEMBLY: BARE, BASE: BARE, **PAIRS}.items():
        key = name.replace(WHOLE, "stack").replace(", ", "_").replace(" ", "_").lower()
        found.figures[f"throughput.{key}"] = _ratio(turns, name, base, lambda turns: turns.throughputs)
        found.figures[f"cpu.{key}"] = _ratio(turns, name, base, lambda turns: turns.cpu)
    _simulate(found, effort)
    found.figures["errors"] = sum(load.errors for each in turns.values() for load in each.loads)
    found.notes.append(
        f"Load from {generator()} over {CONNECTIONS} connections that stay open ({WAITING_CONNECTIONS} where the app"
        f" waits); medians of {_rounds(effort)} turns; uvicorn with uvloop and httptools, one process, no access log of its own."
    )
    return found


def _ratio(turns: dict[str, Turns], name: str, base: str, of: Callable[[Turns], Sequence[float]]) -> float:
    return median(more / less for more, less in zip(of(turns[name]), of(turns[base]), strict=True))


def _table(turns: dict[str, Turns]) -> Table:
    table = Table(
        "Against the bare app of the same kind, each 100",
        ["throughput", "CPU per request", "p50", "p99"],
    )
    for name in APPS:
        base = PAIRS.get(name, name if name in PAIRS.values() else BARE)
        table.rows[name] = [
            100 * _ratio(turns, name, base, of)
            for of in (
                lambda turns: turns.throughputs,
                lambda turns: turns.cpu,
                lambda turns: [load.p50 for load in turns.loads],
                lambda turns: [load.p99 for load in turns.loads],
            )
        ]
    return table


def _absolute(turns: dict[str, Turns]) -> Table:
    """For a look at the scale; the table of ratios is what holds elsewhere."""
    return Table(
        "On this machine",
        ["requests/s", "CPU s per 1,000 requests", "p50, ms", "p99, ms"],
        {
            name: [
                median(each.throughputs),
                median(each.cpu) * 1000,
                median(load.p50 for load in each.loads) * 1000,
                median(load.p99 for load in each.loads) * 1000,
            ]
            for name, each in turns.items()
        },
    )


def _simulate(found: Answer, effort: Effort) -> None:
    """What a request is to the processor, as callgrind simulates it, under the live server."""
    reason = "that takes too long for a quick answer" if effort.quick else callgrind.why_not()
    if reason is not None:
        found.notes.append(f"Caches and branches were not simulated: {reason}.")
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip((BARE, FORTY, WHOLE), pool.map(_simulated, (BARE, FORTY, WHOLE)), strict=True))
    found.tables.append(Table("A request under uvicorn, to a simulated processor", list(counts[BARE])))
    found.tables[-1].rows |= {name: [*each.values()] for name, each in counts.items()}
    for event, bare in counts[BARE].items():
        key = event.replace(" ", "_")
        found.figures[f"simulated.{key}"] = (counts[WHOLE][event] - bare) / (counts[FORTY][event] - bare)


def _simulated(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        with Served(name, callgrind.command(directory, "--cache-sim=yes", "--branch-sim=yes")) as served:
            served.cpu("begin")
            for requests in (2 * SIMULATED, SIMULATED, 2 * SIMULATED):
                exactly(served.port, CONNECTIONS, requests)
                served.cpu("mark")
        counts = callgrind.between(directory)
    events = {
        "instructions": ("Ir",),
        "L1 misses of code": ("I1mr",),
        "L1 misses of data": ("D1mr", "D1mw"),
        "mispredicted branches": ("Bcm", "Bim"),
    }
    return {event: sum(counts[each] for each in parts) / SIMULATED for event, parts in events.items()}


if __name__ == "__main__":
    from benchmarks.command import main

    main("server")
