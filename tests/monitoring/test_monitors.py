"""The table of monitors: what it asks for, whom it tells, and where it leads."""

import dataclasses
import re
from pathlib import Path

import pytest

from asgi_resilience.metric_names import METRICS
from asgi_resilience.monitoring import agent_metrics, business_metrics
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.monitors import monitors, rules
from asgi_resilience.monitoring.objects import objects
from asgi_resilience.monitoring.reference import resolve
from asgi_resilience.monitoring.severity import Severity
from asgi_resilience.slo import SLO, BurnAlert
from tests.monitoring.strict_models import CREATED, mistakes

CONFIG = MonitoringConfig(service="shop", runbooks="https://shop.example/runbooks")
KNOWN = {
    **METRICS,
    **{
        each.name: each
        for module in (agent_metrics, business_metrics)
        for each in map(module.__dict__.__getitem__, module.__all__)
    },
}
EVERYWHERE = {"service", "env", "host"}
SERIES = re.compile(
    r"(?:avg|max|min|sum|p50|p95|p99|count(?:\(v: v(?:<=|>)500\))?):([a-z0-9_.]+)\{([^}]*)\}(?: by \{([^}]*)\})?"
)

# Renaming a metric leaves the old one's history behind, and every graph that somebody has drawn by hand: not by accident.
TABLE = {
    "api-gateway-down": ("network.http.can_connect", "max(last_1m)", "< 1", "critical"),
    "database-unreachable": ("postgresql.connections", "max(last_1m)", "< 1", "critical"),
    "high-error-rate": ("api.requests.errors api.requests.total", "sum(last_5m)", "> 5", "critical"),
    "high-latency": ("api.requests.duration.95percentile", "avg(last_10m)", "> 1000", "high"),
    "redis-memory-high": ("redis.memory_usage", "avg(last_5m)", "> 90", "high"),
    "low-cache-hit-rate": ("predictions.cache_hit_rate", "avg(last_30m)", "< 0.7", "medium"),
    "slow-database-queries": ("database.query_duration.95percentile", "avg(last_15m)", "> 500", "medium"),
    "database-queries-above-target": ("database.query_duration.95percentile", "avg(last_1h)", "> 50", "low"),
    "model-errors": ("outbound.calls outbound.calls", "sum(last_5m)", "> 5", "medium"),
    "slow-model-inference": ("models.inference_duration.95percentile", "avg(last_10m)", "> 200", "medium"),
    "slow-feature-computation": (
        "features.computation_duration.95percentile",
        "avg(last_15m)",
        "> 100",
        "low",
    ),
    "circuit-breaker-open": ("outbound.breaker.state", "avg(last_5m)", "> 1", "medium"),
    "cpu-high": ("cpu.usage", "avg(last_10m)", "> 80", "medium"),
    "memory-high": ("memory.usage", "avg(last_10m)", "> 85", "medium"),
    "disk-high": ("disk.usage", "avg(last_10m)", "> 80", "low"),
    "database-connections-high": ("database.connections.active", "avg(last_5m)", "> 80", "medium"),
    "postgresql-connections-high": (
        "postgresql.connections postgresql.connections.max",
        "avg(last_5m)",
        "> 90",
        "medium",
    ),
    "anomaly-request-rate": ("api.requests.total", "avg(last_4h)", ">= 1", "medium"),
    "anomaly-latency": ("api.requests.duration.95percentile", "avg(last_4h)", ">= 1", "medium"),
    "anomaly-error-rate": ("api.requests.errors api.requests.total", "avg(last_4h)", ">= 1", "medium"),
    "request-success-burn-1h": ("", "burn_rate", "> 14.4", "critical"),
    "request-success-burn-6h": ("", "burn_rate", "> 6", "high"),
    "latency-p95-burn-1h": ("", "burn_rate", "> 14.4", "critical"),
    "latency-p95-burn-6h": ("", "burn_rate", "> 6", "high"),
}


def test_the_table():
    """Each monitor asks for these metrics, over this window, with this threshold and severity."""
    found = {}
    for rule in rules(CONFIG):
        body = monitors(CONFIG)[rule.key]
        names = " ".join(name for name, _, _ in SERIES.findall(body["query"]))
        window = "burn_rate" if body["type"] == "slo alert" else body["query"].partition(":")[0]
        found[rule.key] = (names, window, " ".join(body["query"].split()[-2:]), rule.severity.label)
    assert found == TABLE


@pytest.mark.parametrize("key", TABLE)
def test_a_threshold_is_one_number(key):
    """The number in the query is the critical threshold; a recovery lies on the healthy side, a warning on the way."""
    body = monitors(CONFIG)[key]
    thresholds = body["options"]["thresholds"]
    assert float(body["query"].split()[-1]) == thresholds["critical"]
    below = body["query"].split()[-2].startswith("<")
    for healthier in thresholds.keys() - {"critical"}:
        assert (thresholds[healthier] > thresholds["critical"]) is below


@pytest.mark.parametrize("percentiles", ["histogram", "distribution"])
def test_everything_asks_for_metrics_that_exist(percentiles):
    """Every query of every object names a metric of the library, of the Agent or of the business, and tags that it has."""
    config = dataclasses.replace(CONFIG, percentiles=percentiles)
    asked = 0
    for each in objects(config):
        for name, where, by in SERIES.findall(str(each.body).replace('"', "'")):
            metric = KNOWN[re.sub(r"\.(95percentile|99percentile|median|count)$", "", name)]
            filters = {
                part.strip(" !").partition(":")[0].partition(" IN")[0] for part in re.split(r",| AND ", where)
            }
            keys = {
                key for key in filters if not key.startswith("$") and ")" not in key and key.isidentifier()
            }
            assert (
                keys
                - {"error", "timeout", "deadline", "circuit_open", "ok", "degraded", "deferred", "answered"}
            ) <= {
                *metric.tags,
                *EVERYWHERE,
            }
            assert set(by.split(",") if by else ()) <= {*metric.tags, *EVERYWHERE}
            asked += 1
    assert asked > 80


def test_percentiles_are_those_of_how_durations_are_sent():
    """A distribution has one percentile for all hosts, over the whole window; a histogram has the mean of each Agent's."""
    histogram = monitors(CONFIG)["high-latency"]["query"]
    distribution = monitors(dataclasses.replace(CONFIG, percentiles="distribution"))["high-latency"]["query"]
    scope = "{service:shop,env:production}"
    assert histogram == f"avg(last_10m):avg:api.requests.duration.95percentile{scope} > 1000"
    assert distribution == f"percentile(last_10m):p95:api.requests.duration{scope} > 1000"


def test_the_error_rate_is_a_ratio_of_counts():
    """Errors that were never sent count as none, and the sums are divided over the whole window."""
    assert monitors(CONFIG)["high-error-rate"]["query"] == (
        "sum(last_5m):default_zero(sum:api.requests.errors{service:shop,env:production}.as_count())"
        " / sum:api.requests.total{service:shop,env:production}.as_count() * 100 > 5"
    )


@pytest.mark.parametrize("key", [key for key in TABLE if key.startswith("anomaly-")])
def test_an_anomaly_monitor_has_the_form_that_datadog_asks_for(key):
    """The windows agree, the interval is a fifth of them or less, and more history is drawn than judged."""
    body = monitors(CONFIG)[key]
    query, options = body["query"], body["options"]
    assert re.search(
        r"^avg\(last_4h\):anomalies\(.*, 'agile', 3, direction='(both|above)', alert_window='last_15m', interval=60, "
        r"count_default_zero='true', seasonality='weekly'\) >= 1$",
        query,
    )
    assert options["threshold_windows"] == {"trigger_window": "last_15m", "recovery_window": "last_15m"}
    assert options["thresholds"] == {"critical": 1, "critical_recovery": 0}


def test_burn_rates_are_those_of_the_objectives():
    """14.4 over 1 h and 5 m is critical, 6 over 6 h and 30 m is high; an objective of downtime has none of its own."""
    burns = {key: body for key, body in monitors(CONFIG).items() if "burn" in key}
    windows = 'long_window("{}").short_window("{}") > {}'
    fast, slow = windows.format("1h", "5m", "14.4"), windows.format("6h", "30m", "6")
    for name, slo in (("request-success", "request-success"), ("latency-p95", "latency-p95-slices")):
        over = f'burn_rate("${{slo:{slo}}}").over("30d").'
        assert burns[f"{name}-burn-1h"]["query"] == over + fast
        assert burns[f"{name}-burn-6h"]["query"] == over + slow
    assert len(burns) == 4


@pytest.mark.parametrize(
    ("slo", "problem"),
    [
        (
            SLO("a", 0.99, window=14 * 86_400, measure="requests"),
            r"window of a: Datadog has \(7, 30, 90\) days, not 14",
        ),
        (
            SLO("a", 0.99, measure="requests", alerts=(BurnAlert(2, long=5400, short=300),)),
            "alert 90m of a: Datadog has long windows of 1 to 48 whole hours",
        ),
        (
            SLO("a", 0.99, measure="requests", alerts=(BurnAlert(2, long=49 * 3600, short=300),)),
            "alert 49h of a: Datadog has long windows of 1 to 48 whole hours",
        ),
        (SLO("a", 0.9, measure="requests"), "alert 1h of a: no more than 10 times too fast is possible"),
    ],
)
def test_an_objective_that_datadog_has_not_is_refused(slo, problem):
    """Windows and rates that Datadog would refuse are refused here, by the name of the objective."""
    with pytest.raises(ValueError, match=problem):
        monitors(dataclasses.replace(CONFIG, slos=(slo,)))


def told(body):
    """The handles in a message that is not a warning."""
    text = re.sub(r"\{\{#is_warning\}\}.*?\{\{/is_warning\}\}", "", body["message"], flags=re.DOTALL)
    return set(re.findall(r"@\S+?(?=\s|\{|$)", text))


@pytest.mark.parametrize("account", ["", "acme"])
def test_severity_decides_who_is_told(account):
    """Critical pages; high pushes, writes and mails; medium writes to the team's channel; low mails."""
    config = dataclasses.replace(CONFIG, slack_account=account, email="ann@shop.example")
    slack = f"@slack-{account}-" if account else "@slack-"
    for rule in rules(config):
        expected = {
            Severity.CRITICAL: {"@pagerduty-critical"},
            Severity.HIGH: {f"{slack}{rule.channel}", "@ann@shop.example", "@pagerduty-high"},
            Severity.MEDIUM: {f"{slack}{rule.channel}"},
            Severity.LOW: {"@ann@shop.example"},
        }[rule.severity]
        body = monitors(config)[rule.key]
        assert told(body) == expected
        assert body["priority"] == rule.severity.priority
        assert f"severity:{rule.severity.label}" in body["tags"]


def test_teams_hear_of_their_own_part():
    """The database's alerts go to the database team, the model's to the ML team."""
    channels = {rule.key: rule.channel for rule in rules(CONFIG)}
    database = {key for key, channel in channels.items() if channel == "database-team"}
    assert database == {
        "slow-database-queries",
        "database-queries-above-target",
        "database-connections-high",
        "postgresql-connections-high",
    }
    assert {key for key, channel in channels.items() if channel == "ml-team"} == {
        "model-errors",
        "slow-model-inference",
        "slow-feature-computation",
    }


def test_a_warning_wakes_nobody():
    """On the way to a critical threshold the channel hears of it, PagerDuty does not."""
    message = monitors(CONFIG)["high-error-rate"]["message"]
    assert "{{^is_warning}}@pagerduty-critical{{/is_warning}}" in message
    assert re.search(r"\{\{#is_warning\}\}\n.*@slack-alerts\n\{\{/is_warning\}\}", message)


@pytest.mark.parametrize("rule", rules(CONFIG), ids=lambda rule: rule.key)
def test_alerts_group_and_end_by_themselves(rule):
    """One notification tells of all groups, new hosts may boot, and an alert of a host that is gone ends by itself."""
    options = monitors(CONFIG)[rule.key]["options"]
    if rule.type == "slo alert":
        assert options.keys() <= {
            "thresholds",
            "include_tags",
            "notify_audit",
            "renotify_interval",
            "renotify_statuses",
        }
        return
    assert ("notify_by" in options) is (bool(rule.groups) and not rule.apart)
    assert ("new_group_delay" in options) is bool(rule.groups)
    assert (" by {" in rule.query) is bool(rule.groups)
    assert options["require_full_window"] is False
    if rule.missing_after is None:
        assert (options["notify_no_data"], options["timeout_h"]) == (False, 1)
    else:
        assert (options["notify_no_data"], options["no_data_timeframe"]) == (True, rule.missing_after)
        assert "no data" in options["renotify_statuses"]
        assert "{{#is_no_data}}" in monitors(CONFIG)[rule.key]["message"]


def test_dependencies_alert_apart():
    """The breaker of a second dependency is not hidden behind that of the first, and the message names it."""
    body = monitors(CONFIG)["circuit-breaker-open"]
    assert "notify_by" not in body["options"]
    assert "Circuit breaker open ({{dependency.name}}): {{value}}" in body["message"]
    assert "Circuit breaker open ({{dependency.name}}): recovered." in body["message"]
    assert [rule.key for rule in rules(CONFIG) if rule.apart] == ["circuit-breaker-open"]


def test_the_reference_has_the_table():
    """The page of the reference names every monitor with its severity, and none that is not there."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| .+ \| (critical|high|medium|low) \| .+ \|$", page, re.MULTILINE)
    assert rows == [(rule.key, rule.severity.label) for rule in rules(CONFIG)]
    assert f"{len(rows)} monitors" in page


def test_only_outages_alert_without_data():
    """A service without traffic has no error rate, and that is no alert; no answer of a health check is one."""
    assert {rule.key for rule in rules(CONFIG) if rule.missing_after} == {
        "api-gateway-down",
        "database-unreachable",
    }


@pytest.mark.parametrize("percentiles", ["histogram", "distribution"])
def test_datadogs_models_know_every_field(percentiles):
    """Datadog's own models accept every body, and know every field and every value in it."""
    config = dataclasses.replace(CONFIG, percentiles=percentiles)
    paths = {"log-index": "logs/config/indexes", "log-pipeline": "logs/config/pipelines"}
    for each in objects(config):
        body = resolve(each.body, lambda kind, _: 1 if kind == "monitor" else "abc")
        assert mistakes(body, CREATED[paths.get(each.kind, each.kind)]) == []


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda body: body.update(type="query alarm"), "body.type: not one of the values"),
        (lambda body: body.update(nmae=""), "body.nmae: unknown"),
        (
            lambda body: body["options"].update(on_missing_data="shout"),
            "body.options.on_missing_data: not one",
        ),
        (lambda body: body["options"]["thresholds"].update(critical="5"), "ApiTypeError"),
        (
            lambda body: body["options"]["thresholds"].update(kritical=5),
            "body.options.thresholds.kritical: unknown",
        ),
    ],
)
def test_the_models_are_read_strictly(spoil, place):
    """A wrong value, a wrong type and an unknown field at any depth are found: the test above could fail."""
    body = monitors(CONFIG)["high-error-rate"]
    spoil(body)
    (wrong,) = mistakes(body, CREATED["monitor"])
    assert wrong.startswith(place)
