"""What a question answers: tables for the terminal and the documentation, and JSON for the record."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

__all__ = ("PACKAGES", "Answer", "Curve", "Table", "machine", "save", "show")

PACKAGES = ("uvloop", "starlette", "anyio", "orjson")
"""Whose versions always matter."""

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Table:
    """Rows of a name and numbers; None is a number that could not be had."""

    title: str
    columns: Sequence[str]
    rows: dict[str, Sequence[float | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Curve:
    """How the cost of a request through the whole stack, in no-op layers, grows over something."""

    over: str
    points: dict[int, float]


@dataclass(slots=True)
class Answer:
    """What one question found.

    Attributes:
        name: Of the question: its module's.
        question: In words.
        tables: For people.
        curves: Likewise.
        figures: For the budgets: `budgets.toml` names them.
        notes: What one must know to read the tables, such as what was left out and why.
        packages: Whose versions matter.
    """

    name: str
    question: str
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    packages: Sequence[str] = PACKAGES


def show(answer: Answer, console: Console) -> None:
    """Print the tables."""
    for table in answer.tables:
        grid = Grid(title=table.title, title_justify="left", title_style="bold")
        grid.add_column("")
        for column in table.columns:
            grid.add_column(column, justify="right")
        for name, numbers in table.rows.items():
            grid.add_row(name, *map(spell, numbers))
        console.print(grid)
    if answer.curves:
        grid = Grid(
            "over", "in no-op layers", title="The cost of a request", title_justify="left", title_style="bold"
        )
        for curve in answer.curves:
            grid.add_row(curve.over, "  ".join(f"{x:,}: {spell(y)}" for x, y in curve.points.items()))
        console.print(grid)
    for note in answer.notes:
        console.print(f"[dim]{note}[/dim]")


def spell(number: float | None) -> str:
    """A number with as many digits as it deserves."""
    if number is None:
        return "–"
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 10 else f"{number:.2f}"


def save(answer: Answer, *, quick: bool) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{answer.name}.json"
    content = {
        "question": answer.question,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quick": quick,
        "machine": machine(answer.packages),
        **{
            key: value
            for key, value in asdict(answer).items()
            if key in ("tables", "curves", "figures", "notes")
        },
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=list) + "\n", encoding="utf-8")
    return path


def machine(packages: Sequence[str]) -> Mapping[str, Any]:
    """What the numbers depend on, but for the neighbours."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": {name: _version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} × {models[0]}" if models else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
