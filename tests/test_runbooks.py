"""The runbooks: one for each monitor, in one form, about metrics and errors that exist."""

import re
import tomllib
from pathlib import Path

import pytest

from asgi_resilience.error_catalogue import ErrorCatalogue
from asgi_resilience.metric_names import METRICS
from asgi_resilience.monitoring import agent_metrics
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.monitors import monitors, rules

ROOT = Path(__file__).parent.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
OTHERS = ("index", "incident-response", "error-budget-policy")
PAGES = sorted(path.stem for path in RUNBOOKS.glob("*.md"))
CONFIG = MonitoringConfig(service="inference-service")
KNOWN = {
    **METRICS,
    **{each.name: each for each in map(agent_metrics.__dict__.__getitem__, agent_metrics.__all__)},
}


def text(page: str) -> str:
    """The page."""
    return (RUNBOOKS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Its blocks in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", text(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("rule", rules(CONFIG), ids=lambda rule: rule.key)
def test_a_monitor_links_to_a_runbook_that_is_there(rule):
    """The link in the message is a page of this repository, and the page names the monitor."""
    (link,) = re.findall(r"^Runbook: (\S+)$", monitors(CONFIG)[rule.key]["message"], re.MULTILINE)
    page = ROOT / link
    assert page.is_file()
    name = re.sub(r"^.*(-burn-\w+)$", r"…\1", rule.key)
    assert f"`{name}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", rules(CONFIG), ids=lambda rule: rule.key)
def test_the_index_leads_to_every_runbook(rule):
    """Each alert stands in the index with its severity and its page."""
    title = re.sub(r" of (request success|latency p95) ", " ", rule.title)
    if rule.key.startswith("anomaly-"):
        title = "Unusual request rate, latency or error rate"
    row = rf"^\| {re.escape(title)} \| {rule.severity.label} \| \[.+\]\({rule.runbook or rule.key}\.md\) \|$"
    assert re.search(row, text("index"), re.MULTILINE)


def test_no_runbook_is_left_over():
    """Every page belongs to a monitor, or to all of them."""
    assert {rule.runbook or rule.key for rule in rules(CONFIG)} | {*OTHERS} == {*PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in OTHERS])
def test_a_runbook_has_one_form(page):
    """Symptoms, Diagnosis, Resolution, Prevention, in this order; short, with commands and queries."""
    headings = re.findall(r"^## (.+)$", text(page), re.MULTILINE)
    assert headings == ["Symptoms", "Diagnosis", "Resolution", "Prevention"]
    assert len(text(page).splitlines()) <= 90
    assert blocks(page, "bash")
    assert re.search(r"\bP[0-3]\b", text(page).partition("## ")[0])


@pytest.mark.parametrize("page", PAGES)
def test_queries_ask_for_what_exists(page):
    """Every metric of a query is emitted, with the tags that it is asked for; every histogram by both of its names."""
    for query in blocks(page, "text"):
        for name, where, by in re.findall(r"\w+:([a-z0-9_.]+)\{([^}]*)\}(?: by \{([^}]*)\})?", query):
            metric = KNOWN.get(name) or agent_metrics.DISK_READ_TIME
            assert metric.name == name
            asked = {part.partition(":")[0] for part in where.split(",")} | set(by.split(",")) - {""}
            assert asked - {"service", "env", "host", "*", ""} <= set(metric.tags)
        for name in re.findall(r"histograms: avg:([a-z0-9_.]+)\.95percentile", query):
            assert METRICS[name].kind == "histogram"
            assert f"p95:{name}{{" in query


@pytest.mark.parametrize("page", PAGES)
def test_metrics_and_error_codes_in_the_text_exist(page):
    """What stands in backquotes like a metric or an error code is one."""
    pytest.importorskip("starlette")
    source = (ROOT / "examples/inference_service/errors.py").read_text(encoding="utf-8")
    codes = {spec.code for spec in ErrorCatalogue()} | set(re.findall(r'register_error\(\s*"(\w+)"', source))
    said = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL))
    for word in said:
        if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", word) and not word.startswith("MODEL_VERSIONS"):
            assert word in codes
        if re.fullmatch(
            r"(api|outbound|runtime|slo|models|features|database|predictions|redis|cpu|memory|disk)\.[a-z0-9_.]+",
            word,
        ):
            assert word in KNOWN


def test_the_incident_levels_are_complete():
    """Four levels with a response time each, the report within 48 hours, and a template without blame."""
    page = text("incident-response")
    rows = dict(re.findall(r"^\| \*\*(P\d)\*\* \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE))
    assert rows == {
        "P0": "all hands, at once",
        "P1": "on-call, within 15 minutes",
        "P2": "within 1 hour",
        "P3": "within 4 hours",
    }
    assert "**48 hours**" in page
    assert "Blameless" in page
    (template,) = (block for block in blocks("incident-response", "text") if block.startswith("# Incident"))
    assert re.findall(r"^## (.+)$", template, re.MULTILINE) == [
        "What happened",
        "Timeline (UTC)",
        "Causes",
        "What went well, what did not, where we were lucky",
        "Actions",
        "Runbooks",
    ]


def test_the_policy_is_that_of_the_code():
    """Targets, budgets and the three states are the library's."""
    page = text("error-budget-policy")
    for slo in CONFIG.slos:
        assert f"{slo.target * 100:g} %" in page
    assert f"{int(CONFIG.slos[0].budget_minutes)} minutes" in page
    assert re.findall(r"\| `(\w+)` \|", page) == ["normal", "slow_down", "freeze"]


def test_the_runbooks_have_their_section():
    """The site's navigation has all of them under one heading, the index first."""
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    (section,) = (each["Runbooks"] for each in navigation if "Runbooks" in each)
    assert section[0] == "runbooks/index.md"
    assert len(section) == len(PAGES)
