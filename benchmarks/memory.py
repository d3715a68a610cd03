"""How much memory does it take: to import, for each open request, after many requests, and after many clients?"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.answer import Answer, Table
from benchmarks.timing import Effort

__all__ = ("QUESTION", "answer", "steps")

QUESTION = "How much memory does it take: to import, for each open request, after many requests, and after many clients?"
OPEN = 10_000

APPLICATION = "asyncio,starlette.applications"
"""What nearly every application has loaded anyway."""

OPTIONAL = ("ddtrace", "datadog", "aiobreaker", "backoff", "httpx2", "redis", "uvicorn", "psutil")
"""Packages that `import asgi_resilience` must not load."""


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return 4 + 2 * _imports(effort)


def _imports(effort: Effort) -> int:
    return 5 if effort.quick else 21


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure, each in a process of its own."""
    found = Answer("memory", QUESTION)
    requests = 50_000 if effort.quick else 1_000_000
    keys = 200_000 if effort.quick else 1_000_000
    table = Table("In kB, or as the row says", ["bare", "whole stack", "difference"])

    def ask(name: str, *arguments: object) -> Any:
        progress()
        command = [sys.executable, "-m", "benchmarks.memory_probe", name, *map(str, arguments)]
        root = Path(__file__).parent.parent
        return json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout
        )

    def row(name: str, bare: float | None, ours: float) -> None:
        table.rows[name] = [bare, ours, ours - (bare or 0)]

    bare, ours = (ask("open", OPEN, which) for which in ("bare", "stack"))
    row(f"an open request, of {OPEN:,}", bare / 1000, ours / 1000)
    found.figures["open_request_bytes"] = ours - bare

    grown = ask("served", requests)
    row(f"growth over {requests:,} requests", None, grown["growth"] / 1000)
    found.figures["growth_bytes_per_request"] = grown["growth"] / requests
    found.figures["garbage_per_request"] = grown["garbage"] / requests

    clients = ask("clients", keys)
    row(
        f"quotas of {keys:,} clients, of which {clients['kept']:,} are remembered",
        None,
        clients["growth"] / 1000,
    )
    found.figures["quota_keys"] = clients["kept"]
    found.figures["quota_bytes_per_key"] = clients["growth"] / clients["kept"]

    loaded = [
        [ask("import", what) for what in (APPLICATION, f"{APPLICATION},asgi_resilience")]
        for _ in range(_imports(effort))
    ]
    row("resident after import", *(median(pair[at]["resident"] for pair in loaded) / 1000 for at in (0, 1)))
    row(
        "CPU time of the import, ms",
        *(median(pair[at]["seconds"] for pair in loaded) * 1000 for at in (0, 1)),
    )
    found.figures["import_times_application"] = median(
        ours["seconds"] / theirs["seconds"] for theirs, ours in loaded
    )
    found.figures["import_resident_kb"] = (
        median(ours["resident"] - theirs["resident"] for theirs, ours in loaded) / 1000
    )
    found.figures["optional_modules"] = len(set(OPTIONAL) & set(loaded[0][1]["modules"]))

    found.tables.append(table)
    found.picture = Table(
        "Memory of an open request, in kB",
        ["bare", "whole stack"],
        {f"{OPEN:,} open at once": (bare / 1000, ours / 1000)},
    )
    found.notes.append(
        "Import: bare is asyncio and starlette.applications, which nearly every application has loaded anyway."
    )
    found.notes.append(f"Optional packages that the import loads: {found.figures['optional_modules']:.0f}.")
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("memory")
