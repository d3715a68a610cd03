"""One monitor as a row of a table, and the row as Datadog's monitor."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.identity import tags
from asgi_resilience.monitoring.severity import Channel, Severity, handles

__all__ = ("Rule", "monitor")

_NEW_GROUP: Final = 300  # seconds in which a new host may boot before it is judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to alert, how urgently, and where it is written what to do.

    Attributes:
        key: Of the monitor and, unless `runbook` says another, of its runbook.
        title: What has happened, in a few words.
        impact: What it means for those who use the service, in a sentence.
        severity: How urgent it is.
        query: Everything but the comparison: `sum(last_5m):… / …`.
        comparison: Of the value with the threshold.
        critical: The threshold. It stands in the query and in the options, which Datadog wants to be equal.
        channel: Who knows the part that fails.
        warning: A threshold that is passed on the way; it never wakes anybody up.
        recovery: Where an alert ends, when that is not where it began: so that it does not come and go.
        unit: Behind the numbers in the message.
        type: Of the monitor; an `slo alert` knows neither groups nor missing data.
        missing_after: Minutes without data after which that is an alert, too; twice the window of the query or more. None:
            no data is no news.
        groups: The tags by which the query is grouped. One notification tells of all groups.
        apart: Each group notifies by itself, and its name stands in the message: for groups that have little to do with
            one another, where a second one must not go unnoticed behind the first.
        trigger_window: Of an anomaly monitor.
        runbook: The page, where it is not `key`.
    """

    key: str
    title: str
    impact: str
    severity: Severity
    query: str
    critical: float
    comparison: Literal[">", ">=", "<", "<="] = ">"
    channel: Channel = "alerts"
    warning: float | None = None
    recovery: float | None = None
    unit: str = ""
    type: Literal["query alert", "slo alert"] = "query alert"
    missing_after: int | None = None
    groups: tuple[str, ...] = ()
    apart: bool = False
    trigger_window: str | None = None
    runbook: str | None = None


def monitor(rule: Rule, config: MonitoringConfig) -> dict[str, Any]:
    """The body that Datadog's API takes."""
    body: dict[str, Any] = {
        "name": f"[{config.service} {config.environment}] {rule.title}",
        "type": rule.type,
        "query": f"{rule.query} {rule.comparison} {rule.critical:g}",
        "message": _message(rule, config),
        "tags": tags(config, rule.key, f"severity:{rule.severity.label}"),
        "priority": rule.severity.priority,
        "options": _options(rule),
    }
    runbook = config.runbook(rule.runbook or rule.key)
    if "://" in runbook:
        body["assets"] = [{"category": "runbook", "name": rule.title, "url": runbook}]
    return body


def _message(rule: Rule, config: MonitoringConfig) -> str:
    """Handles stand outside of the conditions for alert and recovery, so that PagerDuty closes what it has opened."""
    told = " ".join(handles(rule.severity, rule.channel, config))
    title = rule.title
    if rule.apart:
        title += f" ({', '.join(f'{{{{{group}.name}}}}' for group in rule.groups)})"
    lines = [
        "{{#is_alert}}",
        f"{title}: {{{{value}}}}{rule.unit} (threshold {{{{threshold}}}}{rule.unit}). {rule.impact}",
        "{{/is_alert}}",
    ]
    if rule.missing_after is not None:
        lines += ["{{#is_no_data}}", f"{title}: no data. {rule.impact}", "{{/is_no_data}}"]
    if rule.warning is not None:
        quietly = " ".join(handles(Severity.MEDIUM, rule.channel, config))
        lines += [
            "{{#is_warning}}",
            f"{title} is near: {{{{value}}}}{rule.unit} (warning at {{{{warn_threshold}}}}{rule.unit}). {quietly}",
            "{{/is_warning}}",
        ]
        told = f"{{{{^is_warning}}}}{told}{{{{/is_warning}}}}"
    lines += [
        "{{#is_recovery}}",
        f"{title}: recovered.",
        "{{/is_recovery}}",
        f"Severity {rule.severity.label}: respond {rule.severity.respond}.",
        f"Runbook: {config.runbook(rule.runbook or rule.key)}",
        told,
    ]
    return "\n".join(lines)


def _options(rule: Rule) -> dict[str, Any]:
    thresholds: dict[str, float] = {"critical": rule.critical}
    if rule.warning is not None:
        thresholds["warning"] = rule.warning
    if rule.recovery is not None:
        thresholds["critical_recovery"] = rule.recovery
    options: dict[str, Any] = {"thresholds": thresholds, "include_tags": True, "notify_audit": False}
    if rule.severity.renotify:
        options["renotify_interval"] = rule.severity.renotify
        options["renotify_statuses"] = ["alert"] if rule.missing_after is None else ["alert", "no data"]
    if rule.type == "slo alert":
        return options
    # Not a full window: after a quiet night the first minutes count, too.
    options["require_full_window"] = False
    options["notify_no_data"] = rule.missing_after is not None
    if rule.missing_after is None:
        options["timeout_h"] = 1  # an alert of a host that is gone ends by itself
    else:
        options["no_data_timeframe"] = rule.missing_after
    if rule.groups:
        options["new_group_delay"] = _NEW_GROUP
        if not rule.apart:
            options["notify_by"] = ["*"]
    if rule.trigger_window is not None:
        options["threshold_windows"] = {
            "trigger_window": rule.trigger_window,
            "recovery_window": rule.trigger_window,
        }
    return options
