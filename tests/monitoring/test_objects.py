"""What is made besides monitors: dashboards, objectives, log indexes, a pipeline, downtimes."""

import dataclasses

import pytest

from asgi_resilience.monitoring.config import Maintenance, MonitoringConfig
from asgi_resilience.monitoring.dashboards import dashboards
from asgi_resilience.monitoring.downtimes import downtimes
from asgi_resilience.monitoring.identity import key_in_tags, key_in_text, marker, tags
from asgi_resilience.monitoring.log_indexes import log_indexes
from asgi_resilience.monitoring.log_pipeline import log_pipelines
from asgi_resilience.monitoring.monitors import rules
from asgi_resilience.monitoring.objects import objects
from asgi_resilience.monitoring.reference import references, resolve
from asgi_resilience.monitoring.slos import slos
from asgi_resilience.monitoring.widgets import note

CONFIG = MonitoringConfig(service="shop")


def titles(widgets):
    """The titles of all widgets, those in groups included."""
    for each in widgets:
        definition = each["definition"]
        yield definition["title"]
        yield from titles(definition.get("widgets", ()))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (
            "system-health",
            {"Up", "Requests per second", "Error rate, %", "Latency, ms", "Cache hit rate", "Monitors"},
        ),
        (
            "service",
            {
                "Requests per second by route",
                "Error rate by route, %",
                "p95 by route, ms",
                "Calls that were answered, %",
                "CPU, %",
                "Memory, %",
            },
        ),
        (
            "database",
            {
                "Queries per second",
                "Latency, ms",
                "Connections in use",
                "Queries of more than a second",
                "Time of a read, ms",
            },
        ),
        ("business", {"Predictions per hour", "Active users", "Of high expected value", "Sports", "Leagues"}),
    ],
)
def test_a_dashboard_shows(key, shown):
    """Each of the four dashboards has its subjects, in order from the whole to the parts."""
    dashboard = dashboards(CONFIG)[key]
    assert shown <= set(titles(dashboard["widgets"]))
    assert dashboard["description"].endswith(marker(CONFIG, key))
    assert [each["defaults"] for each in dashboard["template_variables"]] == [["shop"], ["production"]]


def test_a_formula_names_its_queries():
    """No widget's formula names a query that the widget does not have, nor leaves one out."""

    def check(widgets):
        for each in widgets:
            for request in each["definition"].get("requests", ()):
                formulas = " ".join(formula["formula"] for formula in request["formulas"]).replace(
                    " * 100", ""
                )
                assert {query["name"] for query in request["queries"]} == set(
                    formulas.replace("/", " ").split()
                )
            check(each["definition"].get("widgets", ()))

    for dashboard in dashboards(CONFIG).values():
        assert dashboard["widgets"]
        check(dashboard["widgets"])


def test_objectives():
    """Targets, and a warning where half of the budget is spent; downtime is what the monitor of outages has seen."""
    found = slos(CONFIG)
    assert {
        key: (body["type"], body["target_threshold"], body["warning_threshold"])
        for key, body in found.items()
    } == {
        "availability": ("monitor", 99.9, 99.95),
        "request-success": ("metric", 99.5, 99.75),
        "latency-p95-slices": ("time_slice", 95.0, 97.5),
    }
    assert found["availability"]["monitor_ids"] == ["${monitor:api-gateway-down}"]
    count = found["request-success"]["sli_specification"]["count"]
    assert count["good_events_formula"] == {"formula": "total - errors"}
    assert count["bad_events_formula"] == {"formula": "errors"}
    slices = found["latency-p95-slices"]["sli_specification"]["time_slice"]
    assert (slices["comparator"], slices["threshold"]) == ("<=", 500.0)


def test_distributions_know_how_many_were_slow():
    """With distributions the objective of latency counts requests."""
    body = slos(dataclasses.replace(CONFIG, percentiles="distribution"))["latency-p95"]
    queries = body["sli_specification"]["count"]["queries"]
    assert [each["query"] for each in queries] == [
        f"count(v: v{sign}500):api.requests.duration{{service:shop,env:production}}.as_count()"
        for sign in ("<=", ">")
    ]


def test_retention():
    """Errors are kept for 90 days, warnings for 30, the rest for 14, debug lines for 3; each line is in one index."""
    found = log_indexes(CONFIG)
    assert [(name, body["num_retention_days"]) for name, body in found.items()] == [
        ("shop-production-error", 90),
        ("shop-production-warn", 30),
        ("shop-production-info", 14),
        ("shop-production-debug", 3),
    ]
    assert found["shop-production-error"]["filter"]["query"] == (
        "service:shop env:production status:(error OR critical OR alert OR emergency)"
    )


@pytest.mark.parametrize(("environment", "excluded"), [("production", True), ("development", False)])
def test_debug_lines_are_kept_where_somebody_debugs(environment, excluded):
    """Outside of development they are not indexed at all."""
    found = log_indexes(dataclasses.replace(CONFIG, environment=environment))
    (exclusion,) = found[f"shop-{environment}-debug"]["exclusion_filters"]
    assert exclusion["is_enabled"] is excluded


def test_the_pipeline_reads_the_lines_of_the_library():
    """Every source is a field of a log line, as the reference of logging names it."""
    (body,) = log_pipelines(CONFIG).values()
    sources = {source for each in body["processors"] for source in each.get("sources", ())}
    assert sources == {
        *("timestamp", "level", "service", "message", "dd.trace_id", "dd.span_id", "error.stack_trace"),
        *("request_id", "user_id", "environment", "version", "http.useragent"),
    }
    (duration,) = (each for each in body["processors"] if each["type"] == "arithmetic-processor")
    assert (duration["expression"], duration["target"]) == ("duration_ms * 1000000", "duration")


def test_downtimes_are_for_maintenance():
    """Without a window there is none; with one it mutes the monitors of this service in this environment."""
    assert downtimes(CONFIG) == {}
    window = Maintenance(rrule="FREQ=WEEKLY;BYDAY=SU", start="2026-01-04T03:00:00", duration="90m")
    (body,) = downtimes(dataclasses.replace(CONFIG, maintenance=window)).values()
    muted = ["managed-by:asgi-resilience", "service:shop", "env:production"]
    assert body["monitor_identifier"] == {"monitor_tags": muted}
    assert body["schedule"]["recurrences"] == [
        {"duration": "90m", "rrule": "FREQ=WEEKLY;BYDAY=SU", "start": "2026-01-04T03:00:00"}
    ]


def test_objects_come_in_an_order_in_which_they_can_be_made():
    """Each refers to objects before it, so their ids are known."""
    made: set[tuple[str, str]] = set()
    referred = 0
    for each in objects(CONFIG):
        needed = references(each.body)
        assert needed <= made
        referred += len(needed)
        assert (each.kind, each.key) not in made
        made.add((each.kind, each.key))
    assert referred == 1 + 4 + 3  # the SLO of downtime, the burn rates, the widgets


def test_a_reference_to_nothing_is_an_error():
    """An objective without the monitor that measures it is refused, before anything is sent."""
    table = [rule for rule in rules(CONFIG) if rule.key != "api-gateway-down"]
    with pytest.raises(
        ValueError, match="slo availability needs the monitor api-gateway-down, which is not there"
    ):
        objects(CONFIG, table)


def test_references_are_resolved_where_they_are_known():
    """A text that is a reference becomes the id; within a text it is put in; an unknown one stays."""
    body = {"a": ["${monitor:x}", 'of("${slo:y}")'], "b": "${slo:z}", "c": "${slo:z}!", "d": 1.5}
    known = {("monitor", "x"): 7, ("slo", "y"): "abc"}
    assert resolve(body, lambda *place: known.get(place)) == {
        "a": [7, 'of("abc")'],
        "b": "${slo:z}",
        "c": "${slo:z}!",
        "d": 1.5,
    }


def test_identity():
    """An object is known by its tags, or by the last line of its description, within one service and environment."""
    other = dataclasses.replace(CONFIG, environment="staging")
    assert key_in_tags(CONFIG, tags(CONFIG, "k", "severity:low")) == "k"
    assert key_in_tags(other, tags(CONFIG, "k")) is None
    assert key_in_tags(CONFIG, [each for each in tags(CONFIG, "k") if "key" not in each]) is None
    assert key_in_text(CONFIG, f"text\n{marker(CONFIG, 'k')}\n") == "k"
    assert key_in_text(other, marker(CONFIG, "k")) is None
    assert key_in_text(CONFIG, f"{marker(CONFIG, 'k')} of old") is None


def test_a_note_is_markdown():
    """Text of your own among the widgets."""
    assert note("# Hello")["definition"]["content"] == "# Hello"
