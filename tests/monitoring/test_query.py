"""Queries that would be empty are refused when they are built."""

import pytest

from asgi_resilience import metric_names as metrics
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.query import of_service, of_template

Q = of_service(MonitoringConfig(service="shop", environment="staging"))
D = of_service(MonitoringConfig(service="shop", environment="staging", percentiles="distribution"))


def test_counters():
    """A counter is asked as a count or a rate, and is 0 where it is divided by something."""
    calls = metrics.OUTBOUND_CALLS
    scope = "{service:shop,env:staging}"
    assert Q.plain_count(calls) == f"sum:outbound.calls{scope}.as_count()"
    assert Q.count(calls) == f"default_zero(sum:outbound.calls{scope}.as_count())"
    assert Q.rate(calls, by=("dependency",)) == f"sum:outbound.calls{scope} by {{dependency}}.as_rate()"


def test_filters_are_joined_by_one_operator():
    """Commas and words can't be mixed: a filter with words makes all of them words."""
    calls = metrics.OUTBOUND_CALLS
    assert Q.plain_count(calls, "dependency:s3").startswith(
        "sum:outbound.calls{service:shop,env:staging,dependency:s3}"
    )
    assert Q.plain_count(calls, "outcome IN (error,timeout)").startswith(
        "sum:outbound.calls{service:shop AND env:staging AND outcome IN (error,timeout)}"
    )


def test_durations():
    """Histograms have names of their own for each aggregate; distributions have one name and more questions."""
    duration = metrics.OUTBOUND_DURATION
    scope = "{service:shop,env:staging}"
    assert [Q.percentile(percent, duration) for percent in (50, 95, 99)] == [
        f"avg:outbound.duration.{suffix}{scope}" for suffix in ("median", "95percentile", "99percentile")
    ]
    assert D.percentile(99, duration) == f"p99:outbound.duration{scope}"
    assert Q.observed(duration) == f"sum:outbound.duration.count{scope}.as_rate()"
    assert D.observed(duration) == f"count:outbound.duration{scope}.as_rate()"
    assert D.at_most(duration, 500) == f"count(v: v<=500):outbound.duration{scope}.as_count()"
    assert D.above(duration, 500) == f"count(v: v>500):outbound.duration{scope}.as_count()"


def test_dashboards_ask_for_what_is_chosen():
    """In a dashboard the scope is that of its variables."""
    q = of_template(MonitoringConfig())
    assert q.gauge("max", metrics.CPU_USAGE, by=("host",)) == "max:cpu.usage{$service,$env} by {host}"


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: Q.count(metrics.CPU_USAGE), "cpu.usage is a gauge, not a counter"),
        (lambda: Q.gauge("avg", metrics.OUTBOUND_CALLS), "outbound.calls is a counter, not a gauge"),
        (lambda: Q.percentile(95, metrics.OUTBOUND_CALLS), "outbound.calls is a counter, not a histogram"),
        (lambda: Q.rate(metrics.OUTBOUND_CALLS, by=("rout",)), "outbound.calls has no tag rout"),
    ],
)
def test_a_query_that_would_be_empty_is_an_error(build, problem):
    """A metric of another kind, and a tag that it does not have, are refused by name."""
    with pytest.raises(ValueError, match=problem):
        build()
