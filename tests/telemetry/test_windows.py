"""The last minutes, and the totals since the start."""

import pytest

from asgi_resilience import process_life
from asgi_resilience.metric_names import API_REQUESTS_TOTAL
from asgi_resilience.telemetry import Batch, Distribution, Windows
from asgi_resilience.telemetry.last_minutes import Snapshot

A, B = ("route:/a", "status:200"), ("route:/b", "status:200")
NAME = API_REQUESTS_TOTAL.name


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def windows(clock):
    return Windows(slot=10.0, slots=6, clock=clock, wall_clock=lambda: 1e9)


def batch(counters=(), gauges=(), histograms=()):
    return Batch(0.0, 1.0, dict(counters), dict(gauges), dict(histograms))


def test_a_snapshot_tells_of_the_time_that_was_asked_for(windows, clock):
    """What is older does not count, and neither in the rate nor in the percentiles."""
    windows.export(batch({(NAME, A): 600}, histograms={("took", A): [1000.0] * 10}))
    clock.now += 30
    windows.export(batch({(NAME, A): 40}, histograms={("took", A): [10.0] * 10}))
    clock.now += 10
    windows.export(batch({(NAME, A): 20}))
    recent = windows.snapshot(20)
    assert (recent.at, recent.seconds) == (1e9, 10.0)
    assert recent.count(NAME) == 60
    assert recent.rate(NAME) == 6.0
    assert recent.distribution("took").most == 10.0
    everything = windows.snapshot(60)
    assert everything.seconds == 40.0
    assert everything.count(API_REQUESTS_TOTAL) == 660
    assert everything.distribution("took").count == 20


def test_only_the_last_minutes_are_kept(windows, clock):
    """Memory does not grow with time."""
    for _ in range(100):
        windows.export(batch({(NAME, A): 1}))
        clock.now += 10
    assert len(windows._slots) == 6
    clock.now -= 10
    assert windows.snapshot(60).count(NAME) == 6
    assert windows.snapshot(5).count(NAME) == 1
    assert windows.read_totals(lambda totals: totals.counters) == {(NAME, A): 100}


def test_a_moment_after_the_start_there_is_no_rate(windows):
    """No time has passed yet, and nothing is divided by it."""
    windows.export(batch({(NAME, A): 5}))
    assert windows.snapshot().seconds == 0.0
    assert windows.snapshot().rate(NAME) == 0.0


def test_tags_pick_series(windows):
    """A number is the sum of the series that have all these tags; percentiles are of all their observations."""
    windows.export(
        batch(
            {(NAME, A): 1, (NAME, B): 2, ("other", A): 4},
            {("open", A): 3, ("open", B): 5},
            {("took", A): [1.0, 2.0], ("took", B): [100.0]},
        )
    )
    found = windows.snapshot()
    assert found.count(NAME) == 3
    assert found.count(NAME, route="/a") == 1
    assert found.count(NAME, route="/a", status="200") == 1
    assert found.count(NAME, route="/c") == 0
    assert (found.gauge("open"), found.gauge("open", route="/b"), found.gauge("none")) == (8, 5, None)
    assert found.distribution("took").count == 3
    assert found.distribution("took", route="/a").most == 2.0
    assert found.distribution("none") == Distribution()


def test_a_distribution_has_its_percentiles(windows):
    """Mean, count and largest are exact, percentiles within 1 %."""
    windows.export(batch(histograms={("took", A): [float(number) for number in range(1, 1001)]}))
    found = windows.snapshot().distribution("took")
    assert (found.count, found.mean, found.most) == (1000, 500.5, 1000.0)
    assert (found.p50, found.p95, found.p99) == pytest.approx((500, 950, 990), rel=0.011)


def test_a_snapshot_is_a_value(windows):
    """What comes later does not change it, and nobody else can."""
    windows.export(batch({(NAME, A): 1}, {("open", A): 1}, {("took", A): [1.0]}))
    found = windows.snapshot()
    windows.export(batch({(NAME, A): 1}, {("open", A): 2}, {("took", A): [1.0]}))
    assert (found.count(NAME), found.gauge("open"), found.distribution("took").count) == (1, 1, 1)
    with pytest.raises((AttributeError, TypeError)):
        found.seconds = 1.0
    assert isinstance(found, Snapshot)


def test_totals_only_grow(windows, clock):
    """Counters, and the counts of a histogram below each bound, are those since the start."""
    for _ in range(20):
        windows.export(batch({(NAME, A): 1}, {("open", A): clock.now}, {("took", A): [0.5, 1.0, 30.0, 1e6]}))
        clock.now += 60
    totals = windows.read_totals(lambda totals: totals)
    assert totals.counters == {(NAME, A): 20}
    assert totals.gauges == {("open", A): 1000.0 + 19 * 60}
    took = totals.histograms["took", A]
    assert (took.count, took.total) == (80, 20 * (31.5 + 1e6))
    assert took.below == [40, 40, 40, 40, 40, 60, 60, 60, 60, 60, 60, 60, 60, 60]


@pytest.mark.parametrize("seconds", [0, -1, 61])
def test_only_what_is_kept_can_be_asked_for(windows, seconds):
    """More than is kept, or nothing, is refused."""
    with pytest.raises(ValueError, match=f"seconds={seconds}: expected more than 0, and up to 60"):
        windows.snapshot(seconds)


@pytest.mark.parametrize("options", [{"slot": 0}, {"slots": 0}])
def test_options_are_above_zero(options):
    """Without a slot there is no window."""
    with pytest.raises(ValueError, match="=0: expected more than 0"):
        Windows(**options)


def test_a_child_begins_with_nothing(windows):
    """Its counters are those of a process of its own."""
    windows.export(batch({(NAME, A): 1}))
    process_life._after_fork()
    assert windows.snapshot().counters == {}
    assert windows.read_totals(lambda totals: totals.counters) == {}
