"""The answers in the documentation: a picture for each, its tables between two marks of a page, and single figures.

<!-- benchmark: layers -->
… what is written here comes from `results/layers.json`, and for `goals` from the budgets that have one …
<!-- end of benchmark -->

The stack costs <!-- figure: layers.stack.instructions -->36.8<!-- --> no-op layers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import chart
from benchmarks.answer import Answer, Table, spell
from benchmarks.budgets import BUDGETS

__all__ = ("PAGES", "draw", "fill", "write")

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "explanation" / "benchmarks"
PAGES = (
    ROOT / "docs" / "explanation" / "performance.md",
    ROOT / "docs" / "reference" / "load-shedding.md",
    ROOT / "README.md",
)
_BLOCK = re.compile(
    r"(?P<begin><!-- benchmark: (?P<name>\w+) -->\n).*?(?P<end><!-- end of benchmark -->)", re.DOTALL
)
_FIGURE = re.compile(r"(?P<begin><!-- figure: (?P<name>[\w.]+) -->)[^<]*(?P<end><!-- -->)")


def draw(answer: Answer) -> str | None:
    """The picture of an answer, as SVG; None when there is nothing to draw."""
    picture = answer.picture
    if isinstance(picture, Table):
        return chart.bars(picture.title, picture.columns, picture.rows)
    if picture is not None:
        return chart.lines(picture.title, picture.lines)
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
        text = page.read_text(encoding="utf-8")
        if (filled := fill(text)) != text:
            page.write_text(filled, encoding="utf-8")


def fill(page: str) -> str:
    """A page with what the recorded answers say; what has no record stays as it is."""

    def block(found: re.Match[str]) -> str:
        told = _goals() if found["name"] == "goals" else _tell(_recorded(found["name"]))
        return f"{found['begin']}\n{told}\n\n{found['end']}" if told else found[0]

    def figure(found: re.Match[str]) -> str:
        value = _figure(found["name"])
        return found[0] if value is None else f"{found['begin']}{spell(value)}{found['end']}"

    return _FIGURE.sub(figure, _BLOCK.sub(block, page))


def _recorded(question: str) -> Mapping[str, Any]:
    path = RESULTS / f"{question}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _figure(name: str) -> float | None:
    question, _, figure = name.partition(".")
    return _recorded(question).get("figures", {}).get(figure)


def _goals() -> str:
    rows = [
        f"| {budget.title} | {'≤' if budget.most is not None else '≥'} {spell(budget.goal)} | {spell(value)} |"
        f" {'yes' if budget.reaches(value) else '**no**'} |"
        for budget in BUDGETS
        if budget.goal is not None and (value := _figure(budget.figure)) is not None
    ]
    return (
        "\n".join(["| goal | | measured | reached |", "| --- | ---: | ---: | --- |", *rows]) if rows else ""
    )


def _tell(answer: Mapping[str, Any]) -> str:
    if not answer:
        return ""
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
