"""The answers in the documentation: a picture for each, and its tables between two marks of a page.

<!-- benchmark: layers -->
… what is written here comes from `results/layers.json` …
<!-- end of benchmark -->
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import chart
from benchmarks.answer import Answer, spell

__all__ = ("PAGES", "draw", "fill", "write")

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "explanation" / "benchmarks"
PAGES = (ROOT / "docs" / "explanation" / "performance.md", ROOT / "README.md")
_BLOCK = re.compile(
    r"(?P<begin><!-- benchmark: (?P<name>\w+) -->\n).*?(?P<end><!-- end of benchmark -->)", re.DOTALL
)


def draw(answer: Answer) -> str | None:
    """The picture of an answer, as SVG; None when there is nothing to draw."""
    table = answer.picture
    if table is not None:
        return chart.bars(table.title, table.columns, table.rows)
    return (
        chart.curves("A request through the whole stack, in no-op layers", answer.curves)
        if answer.curves
        else None
    )


def write(name: str, picture: str | None) -> None:
    """Write the picture of a question, and every page that tells of its answer."""
    if picture is not None:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")


def fill(page: str) -> str:
    """A page with what the recorded answers say; what has no record stays as it is."""

    def told(block: re.Match[str]) -> str:
        path = RESULTS / f"{block['name']}.json"
        if not path.exists():
            return block[0]
        return f"{block['begin']}\n{_tell(json.loads(path.read_text(encoding='utf-8')))}\n\n{block['end']}"

    return _BLOCK.sub(told, page)


def _tell(answer: Mapping[str, Any]) -> str:
    machine = answer["machine"]
    where = f"{machine['python']} on {machine['processor']}, {answer['date']}."
    return "\n\n".join(
        [*map(_table, answer["tables"]), *_curves(answer["curves"]), " ".join([where, *answer["notes"]])]
    )


def _table(table: Mapping[str, Any]) -> str:
    rows = {name: " | ".join(map(spell, numbers)) for name, numbers in table["rows"].items()}
    head = (
        f"| {table['title']} | {' | '.join(table['columns'])} |\n| --- |{' ---: |' * len(table['columns'])}"
    )
    return "\n".join([head, *(f"| {name} | {numbers} |" for name, numbers in rows.items())])


def _curves(curves: list[Mapping[str, Any]]) -> Iterator[str]:
    if curves:
        rows = (
            f"| {curve['over']} | {', '.join(f'{int(x):,}: {spell(y)}' for x, y in curve['points'].items())} |"
            for curve in curves
        )
        yield "\n".join(["| In no-op layers, over | |", "| --- | --- |", *rows])
