"""The aggregator: exact counts, bounded memory, and exporters that disturb nobody."""

import os
import threading
import warnings
from math import inf, nan

import pytest

from asgi_resilience import context, process_life
from asgi_resilience.metric_names import METRICS_FOLDED
from asgi_resilience.metric_sink import OVERFLOW
from asgi_resilience.telemetry import Aggregator

FOLDED = METRICS_FOLDED.name, ()


class Kept:
    """An exporter that keeps the batches."""

    def __init__(self):
        self.batches = []

    def export(self, batch):
        self.batches.append(batch)

    def count(self, series):
        return sum(batch.counters.get(series, 0) for batch in self.batches)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def kept():
    return Kept()


def test_a_batch_holds_what_was_measured_since_the_last(kept):
    """Counters are sums, gauges the last value, histograms every observation in its order; each is told once."""
    clock = Clock()
    sink = Aggregator([kept], clock=clock, wall_clock=lambda: 1e9)
    tags = ("a:b",)
    sink.increment("hits")
    sink.increment("hits", 2.5)
    sink.increment("hits", 4, tags)
    sink.gauge("open", 3)
    sink.gauge("open", 2)
    for value in (3.0, 1.0, 2.0):
        sink.histogram("took", value, tags)
    clock.now += 1.5
    sink.flush()
    (batch,) = kept.batches
    assert (batch.at, batch.seconds) == (1e9, 1.5)
    assert batch.counters == {("hits", ()): 3.5, ("hits", tags): 4}
    assert batch.gauges == {("open", ()): 2}
    assert {series: [*values] for series, values in batch.histograms.items()} == {("took", tags): [3, 1, 2]}
    clock.now += 1
    sink.flush()
    empty = kept.batches[1]
    assert (empty.seconds, empty.counters, empty.gauges, empty.histograms) == (1.0, {}, {}, {})


def test_a_meter_counts_and_measures_in_one_call(kept):
    """One call is an observation of the histogram and one of each counter, next to what else is told of these."""
    sink = Aggregator([kept])
    took, hits, all_hits = ("took", ("a:1",)), ("hits", ("a:1",)), ("hits", ())
    tell = sink.meter(took, (hits, all_hits))
    assert sink.meter(took, (hits, all_hits)) is tell
    tell(5.0)
    tell(7.0)
    sink.meter(took, (hits,))(9.0)
    sink.histogram("took", 1.0, ("a:1",))
    sink.increment("hits", 10)
    sink.flush()
    (batch,) = kept.batches
    assert batch.counters == {hits: 3, all_hits: 12}
    assert sorted(batch.histograms[took]) == [1, 5, 7, 9]


def test_numbers_that_are_none_are_left_out(kept):
    """NaN and infinity would spoil every sum that they become part of."""
    sink = Aggregator([kept])
    for value in (nan, 2.0, inf, -inf):
        sink.increment("hits", value)
        sink.gauge(f"open.{value}", value)
        sink.histogram("took", value)
    sink.flush()
    (batch,) = kept.batches
    assert batch.counters == {("hits", ()): 2}
    assert batch.gauges == {("open.2.0", ()): 2}
    assert [*batch.histograms["took", ()]] == [2]


def test_series_are_bounded(kept):
    """Beyond the bound, numbers are counted under `overflow:true` and as folded: the sum of a name stays exact."""
    sink = Aggregator([kept], max_series=2)
    for number in range(5):
        sink.increment("hits", 2, (f"client:{number}",))
        sink.gauge("open", number, (f"client:{number}",))
        sink.histogram("took", number, (f"client:{number}",))
        sink.meter(("lasted", (f"client:{number}",)), (("seen", (f"client:{number}",)),))(1.0)
    sink.flush()
    (batch,) = kept.batches
    assert sum(value for (name, _), value in batch.counters.items() if name == "hits") == 10
    assert batch.counters["hits", OVERFLOW] == 8
    assert batch.gauges == {("open", ("client:0",)): 0, ("open", OVERFLOW): 4}
    assert {tags for _, tags in batch.histograms} == {OVERFLOW}
    assert batch.counters["seen", OVERFLOW] == 5
    assert len(batch.histograms["took", OVERFLOW]) == len(batch.histograms["lasted", OVERFLOW]) == 5
    assert batch.counters[FOLDED] == 4 + 5 + 5


def test_overflow_tags_of_the_caller_are_tags_like_others(kept):
    """Who has folded numbers already does not have them counted as folded twice."""
    sink = Aggregator([kept])
    sink.increment("hits", 1, OVERFLOW)
    sink.meter(("took", OVERFLOW), (("hits", OVERFLOW), FOLDED))(1.0)
    sink.flush()
    assert kept.batches[0].counters == {("hits", OVERFLOW): 2, FOLDED: 1}


def test_observations_are_bounded(kept):
    """Too many of them are flushed early, and none is lost."""
    sink = Aggregator([kept], max_values=3000)
    for number in range(10_000):
        sink.histogram("took", number)
    before = len(kept.batches)
    sink.flush()
    assert before == 3
    assert [value for batch in kept.batches for value in batch.histograms["took", ()]] == [*range(10_000)]
    assert max(len(batch.histograms["took", ()]) for batch in kept.batches) <= 3000 + 1024


@pytest.mark.parametrize("option", ["max_series", "max_values"])
def test_a_bound_is_at_least_one(option):
    """Without room for anything, nothing could be counted."""
    with pytest.raises(ValueError, match=f"{option}=0: expected 1 or more"):
        Aggregator(**{option: 0})


def test_an_exporter_that_raises_hurts_nobody(kept):
    """The others get the batch, whoever flushes goes on, and the failure is counted."""

    class Broken:
        def export(self, batch):
            raise RuntimeError

    sink = Aggregator([Broken(), kept])
    before = sum(context.failures.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        sink.flush()
    assert len(kept.batches) == 1
    assert sum(context.failures.values()) == before + 1


def test_an_exporter_may_measure_and_flush(kept):
    """What an exporter measures is in the next batch; a flush inside of a flush does nothing."""

    class Talkative:
        def export(self, batch):
            sink.increment("exported")
            sink.flush()

    sink = Aggregator([Talkative(), kept])
    sink.flush()
    sink.exporters = [kept]
    sink.flush()
    assert [batch.counters for batch in kept.batches] == [{}, {("exported", ()): 1}]


def test_counts_of_threads_are_exact(kept):
    """Whatever threads count and flush at the same time, every number arrives once."""
    sink = Aggregator([kept], max_values=5000)
    threads, each = 4, 20_000
    ready = threading.Barrier(threads + 1)

    def count(number):
        ready.wait()
        tell = sink.meter(("took", ()), (("seen", ()),))
        for _ in range(each):
            sink.increment("hits", 1, (f"thread:{number % 2}",))
            tell(1.0)

    workers = [threading.Thread(target=count, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    while any(worker.is_alive() for worker in workers):
        sink.flush()
    sink.flush()
    assert kept.count(("hits", ("thread:0",))) == kept.count(("hits", ("thread:1",))) == 2 * each
    assert kept.count(("seen", ())) == threads * each
    assert sum(len(batch.histograms.get(("took", ()), ())) for batch in kept.batches) == threads * each


def test_after_a_fork_nothing_is_left(kept):
    """What the hook of a fork leaves behind: no numbers, and a lock that nobody holds."""
    sink = Aggregator([kept])
    sink.increment("hits")
    sink.gauge("open", 1)
    sink.histogram("took", 1)
    with sink._lock:
        process_life._after_fork()
    worker = threading.Thread(target=sink.flush)
    worker.start()
    worker.join(10)
    (batch,) = kept.batches
    assert (batch.counters, batch.gauges, batch.histograms) == ({}, {}, {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_with_nothing(kept):
    """The parent loses nothing by the fork, and the child reports nothing of the parent's; what it counts itself, it does."""
    sink = Aggregator([kept])
    tell = sink.meter(("took", ()), (("seen", ()),))
    sink.increment("hits", 7)
    sink.gauge("open", 1)
    tell(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while threads run
        child = os.fork()
    if child == 0:
        status = 1
        try:
            sink.increment("hits", 2)
            tell(5.0)
            sink.flush()
            (batch,) = kept.batches
            told = batch.counters, dict(batch.gauges), [*batch.histograms["took", ()]]
            status = 0 if told == ({("hits", ()): 2, ("seen", ()): 1}, {}, [5.0]) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    sink.flush()
    assert kept.batches[0].counters == {("hits", ()): 7, ("seen", ()): 1}
    assert kept.batches[0].gauges == {("open", ()): 1}
