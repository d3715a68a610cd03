"""Tell the answers: tables on the terminal, JSON for the record, pictures for the documentation."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from benchmarks import pages
from benchmarks.answer import Answer, spell
from benchmarks.timing import Effort

__all__ = ("machine", "save", "show")


def show(answer: Answer, console: Console) -> None:
    """Print the tables."""
    for table in answer.tables:
        grid = Grid(title=table.title, title_justify="left", title_style="bold")
        grid.add_column("")
        for column in table.columns:
            grid.add_column(column, justify="right")
        for name, numbers in table.rows.items():
            if any(number is not None for number in numbers):  # a quick answer leaves most of them out
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


def save(answer: Answer, effort: Effort) -> Path:
    """Write `results/<name>.json`, and tell it in the documentation: the picture, and the tables of its page."""
    content = {
        "question": answer.question,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "quick": effort.quick,
        "rounds": effort.rounds,
        "machine": machine(answer.packages),
        "tables": [asdict(table) for table in answer.tables],
        "curves": [asdict(curve) for curve in answer.curves],
        "figures": answer.figures,
        "spread": answer.spread,
        "notes": answer.notes,
    }
    pages.RESULTS.mkdir(exist_ok=True)
    path = pages.RESULTS / f"{answer.name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    pages.write(answer.name, pages.draw(answer))
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
