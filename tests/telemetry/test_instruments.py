"""Metrics of an application's own: wrong declarations are errors, and nothing else ever is."""

import asyncio
import enum
import logging
import math
import re
import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience import context
from asgi_resilience.metric_names import METRICS
from asgi_resilience.metric_sink import NULL
from asgi_resilience.telemetry import application, instruments
from asgi_resilience.telemetry.instruments import Counter, Gauge, Histogram, HitRate, Timer
from asgi_resilience.telemetry.process_sink import set_process_sink
from asgi_resilience.telemetry.tag_sets import TagSets
from tests.telemetry.kept_numbers import KeptNumbers


@pytest.fixture(autouse=True)
def _names(monkeypatch):
    """Names are declared for one test only."""
    monkeypatch.setattr(instruments, "_kinds", {})
    monkeypatch.setattr(context, "failures", {})


@pytest.fixture
def sink():
    """What was measured."""
    return KeptNumbers()


class Clock:
    """Seconds, set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    "name", ["", "Orders", "orders placed", "1.orders", "orders.", "orders-placed", "a" * 201]
)
def test_a_name_that_datadog_would_change(name):
    """A malformed name is an error where it is declared, and the error shows it."""
    with pytest.raises(ValueError, match=r"name='.*': expected such as 'orders.placed'"):
        Counter(name)


@pytest.mark.parametrize("key", ["", "Country", "the country", "country:", "a" * 101])
def test_a_tag_that_is_no_key(key):
    """A malformed tag key is an error where it is declared."""
    with pytest.raises(ValueError, match=r"tags=.* of orders.placed"):
        Counter("orders.placed", tags=(key,))


def test_declarations_that_contradict_themselves():
    """A tag that stands there twice, a bound below 1 and a window below 1 are errors."""
    with pytest.raises(ValueError, match="stands there twice"):
        Counter("orders.placed", tags=("country", "country"))
    with pytest.raises(ValueError, match="stands there twice"):
        Timer("orders.duration", tags="outcome")
    with pytest.raises(ValueError, match=r"max_series=0 of orders.placed: expected 1 or more"):
        Counter("orders.placed", max_series=0)
    with pytest.raises(ValueError, match=r"window=0 of orders.found"):
        HitRate("orders.found", window=0)


def test_one_name_is_one_kind():
    """A name that is a counter can't be a gauge, too; of the same kind it may be declared again."""
    Counter("orders.placed")
    Counter("orders.placed")
    with pytest.raises(
        ValueError, match=r"'orders.placed': this metric is a counter already, and can't be a gauge"
    ):
        Gauge("orders.placed")
    with pytest.raises(ValueError, match="this metric is a histogram already"):
        Counter("api.requests.duration")


def test_numbers_reach_the_sink(sink):
    """Each kind of metric calls its method of the sink, with its tags in the order of their declaration."""
    Counter("orders.placed", tags=("country", "kind"), sink=sink).add(kind="gift", country="NZ")
    Counter("orders.lines", sink=sink).add(3)
    Gauge("orders.open", tags="country", sink=sink).set(7, country="NZ")
    Histogram("orders.price", sink=sink).record(12.5)
    assert sink.all == [
        ("increment", "orders.placed", 1, ("country:NZ", "kind:gift")),
        ("increment", "orders.lines", 3, ()),
        ("gauge", "orders.open", 7, ("country:NZ",)),
        ("histogram", "orders.price", 12.5, ()),
    ]


def test_without_a_sink_nothing_is_looked_at():
    """As long as nobody listens, nothing is computed: a value whose text can't be made is never asked for it."""

    class Never:
        def __str__(self):
            raise AssertionError

    for each in (Counter("a", tags="t"), Counter("b", tags="t", sink=NULL)):
        each.add(t=Never())
    Gauge("c", tags="t").set(1, t=Never())
    Histogram("d", tags="t").record(1, t=Never())
    with Timer("e", tags="t").timed(t=Never()):
        pass
    assert context.failures == {}


def test_the_process_sink_counts_when_none_is_given(sink):
    """A metric without a sink of its own feeds the sink of the process, whichever it is when something is measured."""
    orders = Counter("orders.placed")
    orders.add()
    before = set_process_sink(sink)
    try:
        orders.add()
    finally:
        set_process_sink(before)
    orders.add()
    assert len(sink.all) == 1


def test_equal_tags_are_one_tuple(sink):
    """Equal values give one and the same tuple; a value that is no text is spelled, and None leaves a tag out."""

    class Kind(enum.StrEnum):
        GIFT = "gift"

    orders = Counter("orders.placed", tags=("kind", "size"), sink=sink)
    for kind, size in (("gift", 1), (Kind.GIFT, "1"), (None, True)):
        orders.add(kind=kind, size=size)
    first, second, third = (tags for *_, tags in sink.all)
    assert first == ("kind:gift", "size:1")
    assert second is first
    assert third == ("size:True",)


def test_a_value_cannot_forge_a_line(sink):
    """What DogStatsD or Prometheus reads as syntax is replaced, an empty value too, and a long one is cut."""
    orders = Counter("orders.placed", tags="country", sink=sink)
    for country in ("a|#b,c\nd:1|c", "", "x" * 1000, "a/b-c.d:e_f", "Neuseeländisch"):
        orders.add(country=country)
    assert [tags for *_, tags in sink.all] == [
        ("country:a_b_c_d:1_c",),
        ("country:_",),
        (f"country:{'x' * 100}",),
        ("country:a/b-c.d:e_f",),
        ("country:Neuseel_ndisch",),
    ]


def test_series_are_bounded(sink):
    """Beyond the bound, new combinations are counted together, and those that are known go on as before."""
    orders = Counter("orders.placed", tags="customer", max_series=2, sink=sink)
    for customer in "abcda":
        orders.add(customer=customer)
    assert [tags for *_, tags in sink.all] == [
        ("customer:a",),
        ("customer:b",),
        ("overflow:true",),
        ("overflow:true",),
        ("customer:a",),
    ]


def test_mistakes_are_told_once(sink, caplog):
    """Undeclared tags, values that are no numbers, and sinks that fail are reported once per metric, and no error."""

    class Broken(KeptNumbers):
        def increment(self, name, /, value=1, tags=()):
            raise OSError("full")

    orders, broken = (
        Counter("orders.placed", tags="country", sink=sink),
        Counter("orders.lost", sink=Broken()),
    )
    gauge, histogram = Gauge("orders.open", sink=sink), Histogram("orders.price", sink=sink)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            orders.add(land="NZ")
            orders.add(-1)
            broken.add()
            gauge.set(math.nan)
            histogram.record("12")
    assert sink.all == []
    assert context.failures == {
        "Counter orders.placed": 4,
        "Counter orders.lost": 2,
        "Gauge orders.open": 2,
        "Histogram orders.price": 2,
    }
    assert len(caplog.records) == 4
    assert "orders.placed has no tag 'land': declared are ['country']" in caplog.text


def test_a_hit_rate_is_that_of_the_last_lookups(sink):
    """The rate is the share of hits among the last lookups: what is older than the window has no say."""
    cache = HitRate("orders.found", window=4, sink=sink)
    for found in (True, False, True, True, True, True):
        (cache.hit if found else cache.miss)()
    assert [value for _, _, value, _ in sink.all] == [1, 1 / 2, 2 / 3, 3 / 4, 3 / 4, 1]


def test_lookups_of_many_threads(sink):
    """Whichever threads look up at the same time, the rate stays that of the last lookups."""
    cache = HitRate("orders.found", window=10, sink=sink)

    def look_up():
        for _ in range(2000):
            cache.hit()
            cache.miss()

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert cache._hits == sum(cache._last)
    for _ in range(10):
        cache.hit()
    assert sink.all[-1][2] == 1


@given(
    st.dictionaries(st.sampled_from(["a", "b"]), st.one_of(st.text(), st.none(), st.integers(), st.binary()))
)
def test_any_value_is_a_tag(values):
    """Whatever a value is, its tag is one that every line format takes, and equal values give equal tags."""
    tag_sets = TagSets("orders.placed", ("a", "b"), 10)
    tags = tag_sets.of(values)
    assert all(re.fullmatch(r"[ab]:[A-Za-z0-9_\-:/.]{1,100}", tag) for tag in tags)
    assert [tag[0] for tag in tags] == [key for key in "ab" if values.get(key) is not None]
    assert tag_sets.of(dict(reversed(values.items()))) == tags


def test_a_block_takes_milliseconds(sink, clock):
    """A timed block goes out in milliseconds with its tags and its outcome; an error is named, and goes on."""
    duration = Timer("orders.duration", tags="country", sink=sink, clock=clock)
    with duration.timed(country="NZ"):
        clock.now += 0.25
    with pytest.raises(KeyError), duration.timed():
        clock.now += 1
        raise KeyError
    duration.record(0.5, country="NZ")
    assert sink.all == [
        ("histogram", "orders.duration", 250.0, ("country:NZ", "outcome:ok")),
        ("histogram", "orders.duration", 1000.0, ("outcome:error", "error:KeyError")),
        ("histogram", "orders.duration", 500.0, ("country:NZ",)),
    ]


def test_a_block_inside_itself(sink, clock):
    """One object, entered again before it is left, times both blocks: also when they are not left in order."""
    duration = Timer("orders.duration", sink=sink, clock=clock).timed()
    other = Timer("orders.other", sink=sink, clock=clock).timed()
    with duration:
        clock.now += 1
        with duration, other:
            clock.now += 2
    assert [(name, value) for _, name, value, _ in sink.all] == [
        ("orders.other", 2000),
        ("orders.duration", 2000),
        ("orders.duration", 3000),
    ]
    sink.all.clear()
    duration.__enter__()
    clock.now += 1
    other.__enter__()
    clock.now += 1
    duration.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert [value for _, _, value, _ in sink.all] == [2000, 1000]


@pytest.mark.anyio
async def test_a_block_in_many_tasks(sink):
    """One object that many tasks enter at the same time gives each of them its own duration."""
    duration = Timer("orders.duration", sink=sink, clock=anyio.current_time).timed()

    async def task(delay, seconds):
        await anyio.sleep(delay)
        async with duration:
            await anyio.sleep(seconds)

    async with anyio.create_task_group() as group:
        for delay, seconds in ((0, 10), (1, 2), (2, 5)):
            group.start_soon(task, delay, seconds)
    assert [value for _, _, value, _ in sink.all] == pytest.approx([2000, 5000, 10000])


def test_a_block_that_is_left_in_another_context(sink, clock):
    """A block of a generator that is begun in one thread and ended in another is timed, too."""
    duration = Timer("orders.duration", sink=sink, clock=clock)
    block = duration.timed()
    for step in (block.__enter__, lambda: block.__exit__(None, None, None)):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
        clock.now += 1
    assert [value for _, _, value, _ in sink.all] == [1000]


@pytest.mark.anyio
async def test_functions(sink):
    """Plain and async functions, and objects with an async `__call__`, keep their name, result and exception."""
    duration = Timer("orders.duration", tags="kind", sink=sink, clock=anyio.current_time)

    @duration.timed(kind="plain")
    def plain(a, *, b):
        return a + b

    @duration.timed(kind="async")
    async def slow(a):
        await anyio.sleep(3)
        return [plain(a, b=1)]

    class Callable:
        async def __call__(self, a):
            await anyio.sleep(4)
            raise LookupError(a)

    instance = duration.timed(kind="object")(Callable())
    assert await slow(1) == [2]
    with pytest.raises(LookupError, match="2"):
        await instance(2)
    with pytest.raises(TypeError):
        plain()
    assert (plain.__name__, slow.__name__) == ("plain", "slow")
    assert [(value, tags) for *_, value, tags in sink.all] == [
        (0, ("kind:plain", "outcome:ok")),
        (3000, ("kind:async", "outcome:ok")),
        (4000, ("kind:object", "outcome:error", "error:LookupError")),
        (0, ("kind:plain", "outcome:error", "error:TypeError")),
    ]


@pytest.mark.anyio
async def test_cancellation(sink):
    """What is cancelled is neither fine nor an error, on asyncio and on trio, and stays cancelled."""
    duration = Timer("orders.duration", sink=sink, clock=anyio.current_time)

    @duration.timed()
    async def forever():
        await anyio.sleep_forever()

    with anyio.move_on_after(5) as scope:
        await forever()
    assert scope.cancelled_caught
    assert sink.all == [("histogram", "orders.duration", 5000, ("outcome:cancelled",))]


def test_cancellation_without_trio(sink, monkeypatch):
    """Cancellation by asyncio is known where trio is not installed."""
    monkeypatch.delitem(instruments.outcome_tags.__globals__["sys"].modules, "trio", raising=False)
    with pytest.raises(asyncio.CancelledError), Timer("orders.duration", sink=sink).timed():
        raise asyncio.CancelledError
    with pytest.raises(OSError), Timer("orders.duration", sink=sink).timed():
        raise OSError
    assert [tags for *_, tags in sink.all] == [("outcome:cancelled",), ("outcome:error", "error:OSError")]


def test_what_cannot_be_decorated(sink):
    """An undeclared tag, a generator function and something else than a function are errors at the decorator."""
    duration = Timer("orders.duration", tags="country", sink=sink)

    def generator():
        yield

    async def asynchronous():
        yield

    with pytest.raises(ValueError, match=r"orders.duration has no tag 'land'"):
        duration.timed(land="NZ")(len)
    for each in (generator, asynchronous):
        with pytest.raises(TypeError, match="is a generator: put"):
            duration.timed()(each)
    with pytest.raises(TypeError, match="decorates a function, got 1"):
        duration.timed()(1)


def test_a_block_with_a_wrong_tag(sink):
    """In a block, where a request may be waiting, an undeclared tag is only reported."""
    with Timer("orders.duration", sink=sink).timed(land="NZ"):
        pass
    assert sink.all == []
    assert context.failures == {"Timer orders.duration": 1}


def test_the_ready_made_metrics_are_in_the_table(sink):
    """Each ready-made metric emits under its name with no more tags than the table of metrics says."""
    before = set_process_sink(sink)
    try:
        application.predictions_generated.add(sport="soccer", model="v2.3")
        application.predictions_cache_hit_rate.hit()
        with application.models_inference_duration.timed(model="xgboost"):
            pass
        with application.features_computation_duration.timed(feature="form"):
            pass
        with application.database_query_duration.timed(database="main", operation="match"):
            pass
        application.database_connections_active.set(45, database="main")
    finally:
        set_process_sink(before)
    kinds = {"increment": "counter", "gauge": "gauge", "histogram": "histogram"}
    assert len(sink.all) == 6
    for method, name, _, tags in sink.all:
        metric = METRICS[name]
        keys = {tag.partition(":")[0] for tag in tags}
        assert kinds[method] == metric.kind
        assert keys | {"error"} >= set(metric.tags)
        assert keys <= set(metric.tags)


def test_it_says_what_it_is():
    """Its representation names the kind and the metric."""
    assert repr(Counter("orders.placed")) == "<Counter orders.placed>"
