"""Objectives: the defaults, what they allow, and what they refuse."""

from datetime import timedelta

import pytest

from asgi_resilience.slo import DEFAULT_ALERTS, DEFAULT_SLOS, SLO, BurnAlert

DAY = 86_400


def test_the_defaults_are_those_of_the_service_levels():
    """99.9 % availability, 99.5 % success and 95 % within 500 ms, each over 30 days."""
    told = [(slo.target, slo.measure, slo.threshold_ms, slo.window) for slo in DEFAULT_SLOS]
    assert told == [
        (0.999, "downtime", None, 30 * DAY),
        (0.995, "requests", None, 30 * DAY),
        (0.95, "latency", 500.0, 30 * DAY),
    ]


def test_the_budget_of_three_nines_is_43_minutes_a_month():
    """99.9 % of 30 days leaves 43.2 minutes, exactly; 99.99 % of 7 days leaves 1.008."""
    assert SLO("a", target=0.999, window=timedelta(days=30)).budget_minutes == 43.2
    assert SLO("a", target=0.9999, window=7 * DAY).budget_minutes == pytest.approx(1.008, abs=1e-12)


def test_a_window_is_a_timedelta_or_seconds():
    """Both are kept as seconds, so that equal objectives are equal."""
    assert SLO("a", target=0.9, window=timedelta(days=2)) == SLO("a", target=0.9, window=2 * DAY)
    assert SLO("a", target=0.9, window=timedelta(days=2)).window_minutes == 2880


def test_the_default_alerts_spend_two_and_five_percent_of_a_month():
    """14.4 for an hour is 2 % of the budget of 30 days, 6 for six hours is 5 %."""
    spent = [alert.factor * alert.long / (30 * DAY) for alert in DEFAULT_ALERTS]
    assert spent == pytest.approx([0.02, 0.05])
    assert [(alert.name, alert.short, alert.urgent) for alert in DEFAULT_ALERTS] == [
        ("1h", 300, True),
        ("6h", 1800, False),
    ]


@pytest.mark.parametrize(("seconds", "name"), [(5400, "90m"), (3 * DAY, "72h")])
def test_an_alert_is_named_for_its_long_window(seconds, name):
    """In hours where they are whole, else in minutes."""
    assert BurnAlert(1, long=seconds, short=60).name == name


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 0.0},
        {"factor": float("inf")},
        {"long": 60},
        {"long": 3601},
        {"long": 4 * DAY},
        {"short": 0},
        {"short": 90},
        {"short": 3600},
    ],
)
def test_an_alert_refuses_what_makes_no_sense(options):
    """The error names the value and its option."""
    ((option, value),) = options.items()
    with pytest.raises(ValueError, match=f"^{option}={value!r}: expected"):
        BurnAlert(**{"factor": 6.0, "long": 3600, "short": 300, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"target": 0.0},
        {"target": 1.0},
        {"target": 99.9},
        {"window": DAY - 1},
        {"window": timedelta(days=367)},
        {"measure": "uptime"},
        {"threshold_ms": 500.0},
        {"tags": "route:/checkout"},
        {"min_failures": -1},
        {"min_failures": float("nan")},
    ],
)
def test_an_objective_refuses_what_makes_no_sense(options):
    """The error names the value, its option and the objective."""
    ((option, value),) = options.items()
    with pytest.raises(ValueError) as caught:
        SLO("mine", **{"target": 0.999, **options})
    assert str(caught.value).startswith(f"{option}={value!r} of mine: ")


@pytest.mark.parametrize("threshold", [None, 0.0, float("nan"), float("inf")])
def test_a_latency_needs_a_threshold(threshold):
    """A number of milliseconds above 0."""
    with pytest.raises(ValueError, match=f"threshold_ms={threshold!r} of mine"):
        SLO("mine", target=0.95, measure="latency", threshold_ms=threshold)


def test_an_objective_has_a_name():
    """It stands in tags and in the state file."""
    with pytest.raises(ValueError, match="name=''"):
        SLO("", target=0.9)


def test_two_alerts_of_one_objective_differ_in_their_long_window():
    """Their names would be the same."""
    with pytest.raises(ValueError, match="two have the same long window"):
        SLO("mine", target=0.9, alerts=(BurnAlert(2, long=3600, short=60), BurnAlert(3, long=3600, short=60)))
