"""What is left of the capacity when more is asked for, with load shedding and without?"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from benchmarks import callgrind, instructions, refusal
from benchmarks.answer import PACKAGES, Answer, Plot, Table
from benchmarks.costs import BARE, UNIT, Costs
from benchmarks.load import press
from benchmarks.open_load import Crowd, offer
from benchmarks.saturated import COMPUTES, WAITS
from benchmarks.timing import Effort

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "What is left of the capacity when more is asked for, with load shedding and without?"
PATIENCE = 0.5
"""Seconds after which a client gives up."""
CONNECTIONS = 32
"""Of those who wait for their answers, when the capacity is measured."""
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""What is asked for, in capacities."""
SHEDDING = "{}, shedding"
BACKLOG, SHORT_BACKLOG = 2048, 64
UNDER_UVLOOP = {
    f"{COMPUTES}, under uvloop": (COMPUTES, BACKLOG),
    f"{COMPUTES}, shedding, under uvloop": (SHEDDING.format(COMPUTES), BACKLOG),
    f"{COMPUTES}, shedding, under uvloop, backlog {SHORT_BACKLOG}": (
        SHEDDING.format(COMPUTES),
        SHORT_BACKLOG,
    ),
}
"""Where new connections are accepted in another way, which matters to an event loop that is busy."""


@contextmanager
def served(name: str, loop: str = "asyncio", backlog: int = BACKLOG) -> Iterator[int]:
    """An app in a server process of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.saturated", name, loop, str(backlog)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    try:
        yield int(cast("IO[str]", process.stdout).readline())
    finally:
        process.communicate()


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return 4 * len(_loads(effort)) + (0 if effort.quick else len(UNDER_UVLOOP))


def _loads(effort: Effort) -> tuple[float, ...]:
    return LOADS[-1:] if effort.quick else LOADS


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure: a fresh server for each point, one after the other."""
    found = Answer("overload", QUESTION, packages=(*PACKAGES, "uvicorn", "httptools"))
    warm_up, seconds = (2.0, 2.0) if effort.quick else (2.0, 4.0)
    lines: dict[str, dict[float, float]] = {}

    def crowd(
        name: str, load: float, capacity: float, loop: str = "asyncio", backlog: int = BACKLOG
    ) -> Crowd:
        with served(name, loop, backlog) as port:
            came = offer(port, load * capacity, warm_up, seconds, PATIENCE)
        progress()
        return came

    for app in (WAITS, COMPUTES):
        with served(app) as port:
            capacity = press(port, CONNECTIONS, warm_up + seconds).throughput
        found.notes.append(f"An app that {app} has a capacity of {capacity:.0f} requests per second.")
        table = Table(f"An app that {app}: offered, in capacities", _columns())
        for load in _loads(effort):
            pair = [crowd(name, load, capacity) for name in (app, SHEDDING.format(app))]
            table.rows[f"{load:g}"] = [number for each in pair for number in _row(each, capacity)]
            for each, kind in zip(pair, ("without", "with"), strict=True):
                lines.setdefault(f"{app}, {kind}", {0.0: 0.0})[load] = 100 * each.goodput / capacity
        found.tables.append(table)
        without, shedding = (lines[f"{app}, {kind}"][LOADS[-1]] / 100 for kind in ("without", "with"))
        key = app.partition(" ")[0]
        found.figures |= {f"goodput.{key}": shedding, f"goodput.{key}.without": without}
    if not effort.quick:
        table = Table(f"At {LOADS[-1]:g} capacities, under uvloop", _columns()[:3])
        for row, (name, backlog) in UNDER_UVLOOP.items():
            table.rows[row] = _row(crowd(name, LOADS[-1], capacity, "uvloop", backlog), capacity)
        found.tables.append(table)
    found.picture = Plot(
        "Answers in time, in % of the capacity, over what is asked for, in capacities", lines
    )
    _weigh(found, effort)
    return found


def _columns() -> list[str]:
    kinds = ("good, % of capacity", "p99 of those, ms", "refused, %")
    return [*kinds, *(f"shedding: {kind}" for kind in kinds)]


def _row(crowd: Crowd, capacity: float) -> list[float | None]:
    p99 = crowd.p99
    return [
        100 * crowd.goodput / capacity,
        None if p99 is None else p99 * 1000,
        100 * crowd.refused / crowd.offered,
    ]


def _weigh(found: Answer, effort: Effort) -> None:
    """What it costs to refuse a request, and to let one in."""
    reason = "that takes too long for a quick answer" if effort.quick else callgrind.why_not()
    if reason is not None:
        found.notes.append(f"Instructions were not counted: {reason}.")
        return
    counted = instructions.count("benchmarks.refusal:subjects")
    costs = Costs({name: [number] for name, number in counted.items()})
    names = [name for name in counted if name not in (BARE, UNIT)]
    found.tables.append(
        Table(
            "A request through the whole stack, in no-op layers",
            ["instructions"],
            {name: [costs.of(name)] for name in names},
        )
    )
    for figure, more, less in (
        ("refused", refusal.REFUSED, refusal.NOT_FOUND),
        ("refused_after_a_wait", refusal.WAITED, refusal.NOT_FOUND),
        ("admitted", refusal.ADMITTED, refusal.WITHOUT),
    ):
        found.figures[f"{figure}.instructions"] = costs.of(more, less)


if __name__ == "__main__":
    from benchmarks.command import main

    main("overload")
