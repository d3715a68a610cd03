"""The Terraform files: their syntax is JSON, so what is left to check is the structure that the provider asks for."""

import json
import re

import pytest

from asgi_resilience.monitoring.config import Maintenance, MonitoringConfig
from asgi_resilience.monitoring.objects import objects
from asgi_resilience.monitoring.terraform import terraform
from tests.monitoring.strict_models import CREATED, mistakes

# Of the provider DataDog/datadog 4.19: the arguments of each resource, the required ones first.
NAMED = {"name": 1, "is_enabled": 1}
METRIC_QUERY = {"metric_query": {"name": 1, "query": 1, "data_source": 1}}
SCHEMA = {
    "datadog_monitor": {
        **dict.fromkeys(("name", "type", "message", "query"), 1),
        **dict.fromkeys(
            ("tags", "priority", "include_tags", "notify_audit", "notify_no_data", "no_data_timeframe"), 1
        ),
        **dict.fromkeys(("notify_by", "new_group_delay", "renotify_interval", "renotify_statuses"), 1),
        **dict.fromkeys(("require_full_window", "timeout_h"), 1),
        "monitor_thresholds": dict.fromkeys(("critical", "critical_recovery", "warning"), 1),
        "monitor_threshold_windows": dict.fromkeys(("recovery_window", "trigger_window"), 1),
        "assets": dict.fromkeys(("category", "name", "url"), 1),
    },
    "datadog_service_level_objective": {
        **dict.fromkeys(("name", "type", "description", "tags", "monitor_ids"), 1),
        **dict.fromkeys(("timeframe", "target_threshold", "warning_threshold"), 1),
        "thresholds": dict.fromkeys(("timeframe", "target", "warning"), 1),
        "sli_specification": {
            "count": {"good_events_formula": 1, "bad_events_formula": 1, "queries": METRIC_QUERY},
            "time_slice": {
                **dict.fromkeys(("comparator", "threshold", "query_interval_seconds"), 1),
                "query": {"formula": {"formula_expression": 1}, "query": METRIC_QUERY},
            },
        },
    },
    "datadog_dashboard_json": {"dashboard": 1},
    "datadog_logs_index": {
        **dict.fromkeys(("name", "retention_days"), 1),
        "filter": {"query": 1},
        "exclusion_filter": {**NAMED, "filter": {"query": 1, "sample_rate": 1}},
    },
    "datadog_logs_index_order": {"name": 1, "indexes": 1},
    "datadog_logs_custom_pipeline": {
        **NAMED,
        "filter": {"query": 1},
        "processor": {
            **{
                f"{name}_remapper": {**NAMED, "sources": 1}
                for name in ("date", "status", "service", "message", "trace_id", "span_id")
            },
            "attribute_remapper": {
                **NAMED,
                **dict.fromkeys(("sources", "source_type", "target", "target_type"), 1),
                **dict.fromkeys(("preserve_source", "override_on_conflict"), 1),
            },
            "arithmetic_processor": {
                **NAMED,
                **dict.fromkeys(("expression", "target", "is_replace_missing"), 1),
            },
            "user_agent_parser": {**NAMED, "sources": 1, "target": 1},
        },
    },
    "datadog_downtime_schedule": {
        **dict.fromkeys(("scope", "message", "display_timezone", "mute_first_recovery_notification"), 1),
        **dict.fromkeys(("notify_end_states", "notify_end_types"), 1),
        "monitor_identifier": {"monitor_tags": 1},
        "recurring_schedule": {"timezone": 1, "recurrence": dict.fromkeys(("duration", "rrule", "start"), 1)},
    },
}


def made(percentiles="histogram"):
    """All files, as they are read back."""
    config = MonitoringConfig(
        service="shop",
        percentiles=percentiles,
        runbooks="https://shop.example/runbooks",
        maintenance=Maintenance(rrule="FREQ=WEEKLY;BYDAY=SU", start="2026-01-04T03:00:00"),
    )
    return json.loads(json.dumps(terraform(objects(config)))), objects(config)


def strangers(block, schema, place):
    """Arguments and blocks that the schema does not have."""
    for name, value in block.items():
        if name not in schema:
            yield f"{place}.{name}"
        elif isinstance(schema[name], dict):
            for each in value if isinstance(value, list) else [value]:
                yield from strangers(each, schema[name], f"{place}.{name}")


@pytest.mark.parametrize("percentiles", ["histogram", "distribution"])
def test_resources_have_the_providers_arguments(percentiles):
    """Every resource is of a type that the provider has, and has no argument and no block that the type does not."""
    files, everything = made(percentiles)
    found = 0
    for content in files.values():
        for kind, resources in content.get("resource", {}).items():
            for name, block in resources.items():
                assert re.fullmatch(r"[a-z_][a-z0-9_]*", name)
                assert list(strangers(block, SCHEMA[kind], f"{kind}.{name}")) == []
                found += 1
    assert found == len(everything) + 1  # and the order of the indexes


def test_an_argument_that_is_not_there_is_found():
    """The check above could fail, at any depth."""
    block = {"name": "a", "filter": [{"query": "*", "sample": 1}], "retention": 3}
    assert list(strangers(block, SCHEMA["datadog_logs_index"], "index")) == [
        "index.filter.sample",
        "index.retention",
    ]


def test_references_are_terraforms():
    """Every `${…}` names a resource that is there, or the variable; Terraform makes them in the right order."""
    files, _ = made()
    there = {
        f"{kind}.{name}"
        for content in files.values()
        for kind, resources in content.get("resource", {}).items()
        for name in resources
    }
    texts = re.findall(r"\$\{([^}]*)\}", json.dumps(files))
    assert texts
    for text in texts:
        for reference in re.findall(r"datadog_\w+\.\w+", text):
            assert reference in there
        assert re.search(r"datadog_\w+\.\w+\.(id|name)|var\.other_log_indexes", text)
    order = files["log-index.tf.json"]["resource"]["datadog_logs_index_order"]["all"]["indexes"]
    names = "error", "warn", "info", "debug"
    listed = ", ".join(f"datadog_logs_index.shop_production_{name}.name" for name in names)
    assert order == f"${{concat([{listed}], var.other_log_indexes)}}"
    assert "%{" not in json.dumps(files)


def test_a_dashboard_is_the_one_of_the_api():
    """Terraform passes the dashboard on as JSON, so Datadog's models judge it there, too."""
    files, _ = made()
    dashboards = files["dashboard.tf.json"]["resource"]["datadog_dashboard_json"]
    assert dashboards.keys() == {"system_health", "service", "database", "business"}
    for each in dashboards.values():
        assert mistakes(json.loads(each["dashboard"]), CREATED["dashboard"]) == []


def test_thresholds_are_texts():
    """The provider takes numbers of thresholds and the priority as text."""
    files, _ = made()
    monitor = files["monitor.tf.json"]["resource"]["datadog_monitor"]["high_error_rate"]
    assert monitor["monitor_thresholds"] == {"critical": "5", "warning": "1", "critical_recovery": "4"}
    assert monitor["priority"] == "1"


def test_the_provider_is_pinned():
    """The files say which provider they are for, and name no key."""
    files, _ = made()
    providers = files["providers.tf.json"]["terraform"]["required_providers"]
    assert providers == {"datadog": {"source": "DataDog/datadog", "version": ">= 4.4, < 5"}}
    assert "api_key" not in json.dumps(files)
