"""The text for Prometheus, as its own parser reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from asgi_resilience.metric_names import (
    API_REQUESTS_DURATION,
    API_REQUESTS_ERRORS,
    API_REQUESTS_TOTAL,
    METRICS,
)
from asgi_resilience.telemetry import Batch, Windows, prometheus

TAGS = ("method:GET", "route:/a/{id}")


def text(counters=(), gauges=(), histograms=()):
    windows = Windows()
    windows.export(Batch(0.0, 1.0, dict(counters), dict(gauges), dict(histograms)))
    return windows.read_totals(prometheus.render)


def read(rendered):
    """The families by name; none stands there twice."""
    families = list(text_string_to_metric_families(rendered))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def test_counters():
    """A counter ends in `_total`, once, and has the tags as labels."""
    families = read(
        text({(API_REQUESTS_TOTAL.name, TAGS): 7, (API_REQUESTS_ERRORS.name, ()): 2.5, ("b.c", ()): 1})
    )
    total, errors = families["api_requests"], families["api_requests_errors"]
    assert {family.type for family in families.values()} == {"counter"}
    (sample,) = total.samples
    assert (sample.name, sample.labels, sample.value) == (
        "api_requests_total",
        {"method": "GET", "route": "/a/{id}"},
        7,
    )
    assert [(each.name, each.value) for each in errors.samples] == [("api_requests_errors_total", 2.5)]
    assert total.documentation == "Requests that have ended. Unit: request."
    assert families["b_c"].documentation == ""


def test_gauges():
    """A gauge keeps its name and may be negative."""
    family = read(text(gauges={("pool.open", ("db:a",)): -1.5, ("pool.open", ("db:b",)): 3}))["pool_open"]
    assert family.type == "gauge"
    assert {sample.labels["db"]: sample.value for sample in family.samples} == {"a": -1.5, "b": 3}


def test_histograms():
    """A histogram has cumulative buckets up to infinity, a sum and a count."""
    name = API_REQUESTS_DURATION.name
    family = read(text(histograms={(name, TAGS): [0.5, 7.0, 7.0, 99_999.0]}))["api_requests_duration"]
    assert family.type == "histogram"
    buckets = [
        (sample.labels["le"], sample.value) for sample in family.samples if sample.name.endswith("_bucket")
    ]
    assert buckets[0] == ("1", 1)
    assert buckets[3] == ("10", 3)
    assert buckets[-1] == ("+Inf", 4)
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    values = {sample.name: sample.value for sample in family.samples if "le" not in sample.labels}
    assert values == {"api_requests_duration_sum": 100_013.5, "api_requests_duration_count": 4}
    assert {tuple(sample.labels)[:2] for sample in family.samples} == {("method", "route")}


def test_every_metric_of_the_library_can_be_scraped():
    """Their names stay apart, also with the endings that Prometheus gives them."""
    by_kind = {"counter": {}, "gauge": {}, "histogram": {}}
    for metric in METRICS.values():
        tags = tuple(f"{key}:x" for key in metric.tags)
        by_kind[metric.kind][metric.name, tags] = [1.0] if metric.kind == "histogram" else 1.0
    rendered = text(by_kind["counter"], by_kind["gauge"], by_kind["histogram"])
    assert len(read(rendered)) == len(METRICS)
    names = re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{| )", rendered, re.MULTILINE)
    assert len(set(names)) == len(METRICS)


def test_a_tag_without_a_value_and_one_that_is_there_twice():
    """The first is true, and the values of the second stand in one label."""
    (sample,) = read(text({("a", ("on", "b:1", "b:2", "1st:x", ":y")): 1}))["a"].samples
    assert sample.labels == {"on": "true", "b": "1,2", "_1st": "x", "_": "y"}


def test_nothing_is_a_text_too():
    """Before anything was measured, there is nothing to read."""
    assert text() == ""


@given(st.text(min_size=1), st.text(), st.floats(0, 1e300))
@pytest.mark.filterwarnings("error")
def test_whatever_stands_in_names_and_tags_can_be_read(name, value, number):
    """Names become names, and values come back as they were: quotes, backslashes and newlines included."""
    rendered = text(gauges={(name, (f"key:{value}",)): number})
    (family,) = text_string_to_metric_families(rendered)
    (sample,) = family.samples
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", sample.name)
    assert (sample.labels, sample.value) == ({"key": value}, number)
