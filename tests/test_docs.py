"""The documentation does what it says: its code runs, its output is real, its navigation and its tables are complete."""

import dataclasses
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from asgi_resilience import Settings
from asgi_resilience.error_catalogue import ErrorCatalogue
from asgi_resilience.metric_sink import NULL

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name(page: Path) -> str:
    """The path of a page inside the repository."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_runs(page):
    """Every Python block of a page runs, in order, and every answer and log line that it shows is the real one."""
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "page.py"), str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_navigation():
    """The site leads to every page, and to none that is not there."""

    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        else:
            for each in node.values() if isinstance(node, dict) else node:
                yield from leaves(each)

    navigation = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(leaves(navigation)) == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])


def test_readme_is_short():
    """README fits into 120 lines, and holds the two commands as one line each."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(lines) <= 120
    assert len(commands) == 2
    assert "asgi-resilience run" in commands[0]
    assert "pytest" in commands[1]


def table(page: str) -> dict[str, tuple[str, ...]]:
    """The rows of the tables of a page, by what stands in backquotes in their first cell."""
    rows = re.findall(r"^\| `(\w+)`[^|]*\|(.*)\|$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {key: tuple(cell.strip() for cell in rest.split(" | ")) for key, rest in rows}


def shown(value: object) -> str:
    """How a default stands in a table."""
    if value is NULL:
        return "none"
    return f"`{dict(value) if isinstance(value, Mapping) else value!r}`"


def test_every_setting_is_documented_with_its_default():
    """The table of settings names every field, its default and its environment variable, and nothing else."""
    rows = table("reference/settings.md")
    fields = {each.name: each for each in dataclasses.fields(Settings)}
    assert rows.keys() == fields.keys()
    defaults = Settings()
    assert {key: row[0] for key, row in rows.items()} == {
        key: shown(getattr(defaults, key)) for key in fields
    }


def test_every_error_is_documented():
    """The catalogue on the page of errors is the catalogue of the code, row by row."""
    rows = {key: row[:4] for key, row in table("reference/errors.md").items() if key.isupper()}
    yes = {True: "yes", False: "no"}
    assert rows == {
        spec.code: (
            str(spec.status),
            spec.message.replace("{retry_after}", "X"),
            yes[spec.retry],
            yes[spec.alert],
        )
        for spec in ErrorCatalogue()
    }
