"""The sketch: percentiles within 1 %, whatever the numbers are, in bounded memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.telemetry.sketch import RELATIVE_ERROR, Sketch

DURATIONS = st.lists(st.floats(0, 1e8), min_size=1, max_size=300)
SHARES = st.floats(0, 1)


def exact(values, share):
    """The value at that rank, as the sketch counts ranks."""
    return sorted(values)[math.floor(share * (len(values) - 1))]


def of(*parts):
    sketch = Sketch()
    for part in parts:
        sketch.add(part)
    return sketch


@given(DURATIONS, SHARES)
def test_a_percentile_is_within_one_percent(values, share):
    """Of any observations, at any rank."""
    true = exact(values, share)
    found = of(values).quantile(share)
    assert abs(found - true) <= RELATIVE_ERROR * true * (1 + 1e-9) + 1e-9


@given(DURATIONS, DURATIONS, SHARES)
def test_merged_sketches_are_the_sketch_of_everything(first, second, share):
    """Whether observations are added at once, in turn, or in two sketches that are merged, makes no difference."""
    merged, other = of(first), of(second)
    merged.merge(other)
    for whole in (of(first + second), of(first, second)):
        assert merged.quantile(share) == whole.quantile(share)
        assert (merged.count, merged.least, merged.most) == (whole.count, whole.least, whole.most)
        assert merged.total == pytest.approx(whole.total)


def test_facts_are_exact():
    """Count, sum, smallest and largest are not estimated."""
    sketch = of([3.0, 1.0, 2.0])
    assert (sketch.count, sketch.total, sketch.least, sketch.most) == (3, 6.0, 1.0, 3.0)
    assert (sketch.quantile(0), sketch.quantile(1)) == pytest.approx((1.0, 3.0), rel=RELATIVE_ERROR)


def test_nothing_has_no_percentiles():
    """Without observations they are 0."""
    sketch = of([])
    assert (sketch.count, sketch.quantile(0.5)) == (0, 0.0)


def test_what_is_not_above_zero_counts_as_zero():
    """Negative numbers are no durations; they are counted, and have the lowest ranks."""
    sketch = of([-5.0, 0.0, 1e-12, 10.0])
    assert [sketch.quantile(share) for share in (0, 0.5, 0.7)] == [0, 0, 0]
    assert sketch.quantile(1) == 10.0


def test_buckets_are_bounded():
    """Numbers of every size there is need no more room than allowed; what is lost is how small the smallest are."""
    sketch = of(
        [10.0**exponent for exponent in range(-9, 300)], [1.011**step for step in range(-1800, 60_000)]
    )
    assert len(sketch._buckets) <= 2048
    assert sketch.count == 309 + 61_800
    assert sketch.quantile(1) == pytest.approx(1e299, rel=RELATIVE_ERROR)
