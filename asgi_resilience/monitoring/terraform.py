"""The same objects as Terraform configuration, in its JSON syntax: `*.tf.json`, for the provider DataDog/datadog."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from asgi_resilience.monitoring.objects import DatadogObject, Kind
from asgi_resilience.monitoring.reference import resolve

__all__ = ("terraform",)

_TYPES: Final[dict[Kind, str]] = {
    "monitor": "datadog_monitor",
    "slo": "datadog_service_level_objective",
    "dashboard": "datadog_dashboard_json",
    "log-index": "datadog_logs_index",
    "log-pipeline": "datadog_logs_custom_pipeline",
    "downtime": "datadog_downtime_schedule",
}
_PROVIDER: Final = {
    "terraform": {
        "required_version": ">= 1.5",
        "required_providers": {"datadog": {"source": "DataDog/datadog", "version": ">= 4.4, < 5"}},
    },
    "variable": {
        "other_log_indexes": {
            "type": "list(string)",
            "default": ["main"],
            "description": "The account's other log indexes, in their order: Terraform wants to know all of them.",
        }
    },
}


def terraform(everything: tuple[DatadogObject, ...]) -> dict[str, dict[str, Any]]:
    """The files by their names. The keys come from the environment: `DD_API_KEY`, `DD_APP_KEY`, `DD_HOST`."""
    files: dict[str, dict[str, Any]] = {"providers.tf.json": dict(_PROVIDER)}
    for each in everything:
        resources = files.setdefault(f"{each.kind}.tf.json", {"resource": {}})
        resources["resource"].setdefault(_TYPES[each.kind], {})[_name(each.key)] = _BLOCKS[each.kind](
            _referring(each.body)
        )
    names = [_name(each.key) for each in everything if each.kind == "log-index"]
    first = ", ".join(f"datadog_logs_index.{name}.name" for name in names)
    files["log-index.tf.json"]["resource"]["datadog_logs_index_order"] = {
        "all": {
            "name": "all",
            "indexes": f"${{concat([{first}], var.other_log_indexes)}}",
        }
    }
    return files


def _name(key: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", key.lower())


def _referring(body: dict[str, Any]) -> dict[str, Any]:
    """Our references become Terraform's; nothing else in the bodies is a template of its language."""
    types: Mapping[str, str] = {"monitor": _TYPES["monitor"], "slo": _TYPES["slo"]}
    referring: dict[str, Any] = resolve(body, lambda kind, key: f"${{{types[kind]}.{_name(key)}.id}}")
    return referring


def _monitor(body: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = dict(body["options"])
    block = {name: value for name, value in body.items() if name != "options"}
    block["priority"] = str(body["priority"])
    block["monitor_thresholds"] = {name: f"{value:g}" for name, value in options.pop("thresholds").items()}
    if windows := options.pop("threshold_windows", None):
        block["monitor_threshold_windows"] = windows
    return {**block, **options}


def _slo(body: dict[str, Any]) -> dict[str, Any]:
    block = {name: value for name, value in body.items() if name != "sli_specification"}
    specification: dict[str, Any] = body.get("sli_specification", {})
    if count := specification.get("count"):
        block["sli_specification"] = {
            "count": {
                "good_events_formula": count["good_events_formula"]["formula"],
                "bad_events_formula": count["bad_events_formula"]["formula"],
                "queries": [{"metric_query": query} for query in count["queries"]],
            }
        }
    if slices := specification.get("time_slice"):
        query = slices["query"]
        block["sli_specification"] = {
            "time_slice": {
                **slices,
                "query": {
                    "formula": [{"formula_expression": each["formula"]} for each in query["formulas"]],
                    "query": [{"metric_query": each} for each in query["queries"]],
                },
            }
        }
    return block


def _dashboard(body: dict[str, Any]) -> dict[str, Any]:
    return {"dashboard": json.dumps(body, ensure_ascii=False, sort_keys=True)}


def _log_index(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": body["name"],
        "filter": body["filter"],
        "retention_days": body["num_retention_days"],
        "exclusion_filter": body["exclusion_filters"],
    }


def _log_pipeline(body: dict[str, Any]) -> dict[str, Any]:
    block = {name: body[name] for name in ("name", "is_enabled", "filter")}
    block["processor"] = [_processor(each) for each in body["processors"]]
    return block


def _processor(body: dict[str, Any]) -> dict[str, Any]:
    kind = body["type"].replace("-", "_")
    return {kind: {name: value for name, value in body.items() if name != "type"}}


def _downtime(body: dict[str, Any]) -> dict[str, Any]:
    block = {name: value for name, value in body.items() if name != "schedule"}
    schedule = body["schedule"]
    block["recurring_schedule"] = {"timezone": schedule["timezone"], "recurrence": schedule["recurrences"]}
    return block


_BLOCKS: Final[dict[Kind, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "monitor": _monitor,
    "slo": _slo,
    "dashboard": _dashboard,
    "log-index": _log_index,
    "log-pipeline": _log_pipeline,
    "downtime": _downtime,
}
