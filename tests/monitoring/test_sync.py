"""Everything, applied to a stand-in that accepts only what Datadog's own models accept."""

import dataclasses
import sys

import pytest

from asgi_resilience.monitoring.account import Account, DatadogError
from asgi_resilience.monitoring.config import Maintenance, MonitoringConfig
from asgi_resilience.monitoring.listing import listing
from asgi_resilience.monitoring.monitors import rules
from asgi_resilience.monitoring.objects import objects
from asgi_resilience.monitoring.plan import plan
from asgi_resilience.monitoring.sync import apply, diff

CONFIG = MonitoringConfig(
    service="shop",
    runbooks="https://shop.example/runbooks",
    maintenance=Maintenance(rrule="FREQ=WEEKLY;BYDAY=SU", start="2026-01-04T03:00:00"),
)


@pytest.mark.parametrize("percentiles", ["histogram", "distribution"])
def test_the_second_time_nothing_changes(account, held, percentiles):
    """Everything is made once; a second `apply` sends no request that changes anything."""
    config = dataclasses.replace(CONFIG, percentiles=percentiles)
    done = apply(account, config)
    assert [(each.kind, each.key) for each in done] == [(each.kind, each.key) for each in objects(config)]
    assert {each.action for each in done} == {"create"}
    held.writes.clear()
    assert apply(account, config) == ()
    assert held.writes == []
    assert {each.action for each in diff(account, config)} == {"keep"}


def test_a_dry_run_changes_nothing(account, held):
    """`diff` says what is missing, and makes none of it."""
    assert {each.action for each in diff(account, CONFIG)} == {"create"}
    assert held.writes == []


def test_what_somebody_has_changed_by_hand_is_set_back(account, held):
    """A difference names its place, and `apply` changes that object alone."""
    apply(account, CONFIG)
    (monitor,) = (each for each in held.kept["monitor"].values() if each["name"].endswith("High error rate"))
    monitor["options"]["thresholds"]["critical"] = 50
    monitor["tags"].append("by-hand:yes")
    held.writes.clear()
    (change,) = apply(account, CONFIG)
    assert (change.action, change.kind, change.key) == ("update", "monitor", "high-error-rate")
    assert "options.thresholds.critical: 50 -> 5" in change.differences
    assert any(line.startswith("tags: ['asgi-resilience-key:high") for line in change.differences)
    assert held.writes == [("PUT", "monitor", str(change.id))]
    assert monitor["options"]["thresholds"]["critical"] == 50
    assert held.kept["monitor"][str(change.id)]["options"]["thresholds"]["critical"] == 5


@pytest.mark.parametrize(
    ("resource", "change"),
    [
        ("slo", {"target_threshold": 50.0}),
        ("dashboard", {"widgets": []}),
        ("logs/config/indexes", {"num_retention_days": 1}),
        ("logs/config/pipelines", {"is_enabled": False}),
        ("downtime", {"mute_first_recovery_notification": False}),
    ],
)
def test_every_kind_is_updated(account, held, resource, change):
    """Each kind of object is set back in the way that its API wants."""
    apply(account, CONFIG)
    first = next(each for each in held.kept[resource].values() if each.get("name") != "main")
    first.get("attributes", first).update(change)
    (done,) = apply(account, CONFIG)
    assert done.action == "update"
    assert apply(account, CONFIG) == ()


def test_references_become_ids(account, held):
    """Burn rates and widgets name the SLOs that were made, and the SLO of downtime its monitor."""
    apply(account, CONFIG)
    slos = {each["name"].split("] ")[1]: each for each in held.kept["slo"].values()}
    burns = [each["query"] for each in held.kept["monitor"].values() if each["type"] == "slo alert"]
    for query in burns:
        assert any(f'burn_rate("{each["id"]}")' in query for each in slos.values())
    (down,) = (each for each in held.kept["monitor"].values() if each["name"].endswith("API gateway down"))
    assert slos["availability"]["monitor_ids"] == [down["id"]]
    assert "${" not in str(held.kept)


def test_our_log_indexes_come_first(account, held):
    """A line goes into the first index that it matches, so ours stand before the account's others, worst level first."""
    apply(account, CONFIG)
    assert held.order == [
        *(f"shop-production-{level}" for level in ("error", "warn", "info", "debug")),
        "main",
    ]


def test_other_services_are_left_alone(account, held):
    """What belongs to another service or environment, or to nobody, is neither changed nor deleted."""
    other = dataclasses.replace(CONFIG, service="stock")
    staging = dataclasses.replace(CONFIG, environment="staging")
    for each in (other, staging, CONFIG):
        apply(account, each)
    held.kept["monitor"]["900"] = {"id": 900, "name": "by hand", "tags": ["service:shop", "env:production"]}
    held.kept["dashboard"]["by-hand"] = {"id": "by-hand", "title": "by hand", "description": None}
    held.kept["downtime"]["by-hand"] = {"id": "by-hand", "attributes": {"message": None, "status": "active"}}
    held.writes.clear()
    assert apply(account, CONFIG, prune=True) == ()
    assert held.writes == []


def test_what_is_not_wanted_any_more_is_deleted_on_demand(account, held):
    """`prune` deletes objects of ours that the code no longer knows; without it they stay."""
    apply(account, CONFIG)
    smaller = dataclasses.replace(CONFIG, maintenance=None, slos=CONFIG.slos[1:])
    assert [(each.action, each.key) for each in apply(account, smaller)] == [("update", "system-health")]
    left = [(each.kind, each.key) for each in diff(account, smaller) if each.action == "delete"]
    assert left == [("downtime", "maintenance"), ("slo", "availability")]
    told = []
    done = apply(account, smaller, prune=True, tell=told.append)
    assert [each.action for each in done] == ["delete", "delete"]
    assert list(done) == told
    assert held.kept["downtime"] == {}


def test_durations_can_become_distributions(account, held):
    """Datadog can't change the type of an SLO: there is a new one, its burn rates follow it, and the old one is left over."""
    apply(account, CONFIG)
    distributions = dataclasses.replace(CONFIG, percentiles="distribution")
    apply(account, distributions, prune=True)
    assert apply(account, distributions, prune=True) == ()
    types = {each["type"] for each in held.kept["slo"].values()}
    assert types == {"monitor", "metric"}


def test_everything_can_be_deleted(account, held):
    """What others refer to is deleted after them."""
    apply(account, CONFIG)
    for change in plan((), listing(account, CONFIG)):
        account.delete(change.kind, change.id)
    left = {resource: len(kept) for resource, kept in held.kept.items()}
    assert left == {**dict.fromkeys(left, 0), "logs/config/indexes": 1}


def test_the_table_can_be_your_own(account, held):
    """Monitors that were added and changed in Python are applied with the rest."""
    table = {rule.key: rule for rule in rules(CONFIG)}
    table["high-latency"] = dataclasses.replace(table["high-latency"], critical=800, recovery=700)
    table["mine"] = dataclasses.replace(table["high-latency"], key="mine", title="Mine", runbook="index")
    apply(account, CONFIG)
    done = apply(account, CONFIG, table=tuple(table.values()))
    assert [(each.action, each.key) for each in done] == [("update", "high-latency"), ("create", "mine")]
    assert apply(account, CONFIG, table=tuple(table.values())) == ()
    assert [each.key for each in diff(account, CONFIG) if each.action == "delete"] == ["mine"]


def test_a_downtime_that_was_cancelled_is_made_again(account, held):
    """Datadog lists cancelled downtimes for a while: they don't count."""
    apply(account, CONFIG)
    (downtime,) = held.kept["downtime"].values()
    downtime["attributes"]["status"] = "canceled"
    (done,) = apply(account, CONFIG)
    assert (done.action, done.kind) == ("create", "downtime")


def test_long_lists_are_read_to_their_end(account, held):
    """An object of ours is found behind hundreds of others."""
    for number in range(250):
        strangers = {"id": number, "name": f"stranger {number}"}
        held.kept["slo"][f"s{number}"] = {**strangers, "tags": ["managed-by:asgi-resilience"]}
        tags = ["managed-by:asgi-resilience", "service:shop", "env:production"]
        held.kept["monitor"][f"m{number}"] = {**strangers, "tags": tags}
    apply(account, CONFIG)
    assert apply(account, CONFIG) == ()


def test_keys_are_sent_as_headers(account, held):
    """Both keys go with every request."""
    diff(account, CONFIG)
    assert {(each["DD-API-KEY"], each["DD-APPLICATION-KEY"]) for each in held.headers} == {("api", "app")}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, b'{"errors": ["Forbidden"]}', "Forbidden"),
        (
            400,
            b'{"errors": ["The value provided for parameter \'query\' is invalid"]}',
            "parameter 'query' is invalid",
        ),
        (500, b"", "500"),
        (200, b"<html>", "Invalid JSON response"),
    ],
)
def test_a_refusal_names_the_request_and_the_reason(account, held, status, body, told):
    """What Datadog refuses is raised, with what was asked and what it said."""
    held.refuse = (status, body)
    with pytest.raises(DatadogError, match=r"GET http://127.0.0.1:\d+/api/v1/monitor: .*" + told):
        diff(account, CONFIG)


def test_what_the_models_refuse_is_refused(account, held):
    """The stand-in accepts no unknown field: the strictness of these tests is real."""
    with pytest.raises(DatadogError, match=r"body\.options\.tresholds: unknown"):
        account.create("monitor", {"type": "query alert", "query": "a", "options": {"tresholds": {}}})


def test_without_datadog_it_says_what_to_install(monkeypatch):
    """The package `datadog` is an extra."""
    monkeypatch.setitem(sys.modules, "datadog", None)
    with pytest.raises(ImportError, match=r"pip install 'asgi-resilience\[datadog\]'"):
        Account("api", "app")
