"""The table of metrics: complete, well-formed, and the only place where a name stands."""

import ast
import re
from pathlib import Path

import pytest

from asgi_resilience.metric_names import METRICS

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "asgi_resilience").rglob("*.py") if path.name != "metric_names.py")
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
ROW = re.compile(
    r"^\| `(?P<name>[\w.]+)` \| (?P<kind>counter|gauge|histogram) \| (?P<rest>.*) \|$", re.MULTILINE
)


def documented():
    """The rows of all tables of metrics in the reference, by name."""
    rows = [row for page in PAGES for row in ROW.finditer(page.read_text(encoding="utf-8"))]
    assert len({row["name"] for row in rows}) == len(rows), "a metric is documented twice"
    return {row["name"]: (row["kind"], *(cell.strip() for cell in row["rest"].split(" | "))) for row in rows}


def test_every_metric_is_documented_as_it_is():
    """The tables of the reference name every metric with its kind, unit, tags and description, and no other."""
    shown = {
        each.name: (
            each.kind,
            each.unit or "–",
            ", ".join(f"`{tag}`" for tag in each.tags) or "–",
            each.description,
        )
        for each in METRICS.values()
    }
    assert documented() == shown


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_well_formed(metric):
    """A name is one that Datadog takes, tags are keys, and the description is one sentence."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", metric.name)
    assert len(metric.name) <= 200
    assert all(re.fullmatch(r"[a-z][a-z_]*", tag) for tag in metric.tags)
    assert set(metric.optional) <= set(metric.tags)
    assert metric.description.endswith(".")
    assert "|" not in metric.description


def test_no_two_metrics_are_one_for_prometheus():
    """Names stay distinct when their dots become underscores."""
    assert len({name.replace(".", "_") for name in METRICS}) == len(METRICS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_name_stands_in_one_place(path):
    """No other module spells a metric's name: it emits from the table."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in METRICS
    ]
