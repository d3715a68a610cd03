"""How many requests may be worked on at once."""

import random
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.shedding import AIMDLimit, FixedLimit, GradientLimit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedLimit(0), "limit=0: expected 1 or more"),
        (lambda: AIMDLimit(0), "target=0: expected seconds above 0"),
        (lambda: AIMDLimit(nan), "target=nan: expected seconds above 0"),
        (lambda: AIMDLimit(1, least=0), "least=0: expected 1 or more"),
        (lambda: AIMDLimit(1, least=5, most=4), "most=4: expected 5 or more, as least says"),
        (lambda: AIMDLimit(1, initial=2000), "initial=2000: expected 1 to 1000"),
        (lambda: AIMDLimit(1, decrease=1), "decrease=1: expected between 0 and 1"),
        (lambda: GradientLimit(initial=2), "initial=2: expected 3 to 1000"),
        (lambda: GradientLimit(tolerance=0), "tolerance=0: expected a number above 0"),
        (lambda: GradientLimit(window=inf), "window=inf: expected a number above 0"),
        (lambda: GradientLimit(remeasure=-1), "remeasure=-1: expected a number above 0"),
    ],
)
def test_a_value_out_of_range(make, message):
    """A limit that can't work is refused at once, with option, value and range."""
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value) == message


def test_a_fixed_limit_stays():
    """It learns nothing."""
    limit = FixedLimit(5)
    limit.sample(9.0, 5, 0.0, dropped=True)
    assert limit.limit == 5


# ------------------------------------------------------------------------------------------------------------- AIMD


def test_additive_increase():
    """A round of answers in time adds one, as long as the limit is in use, up to the most."""
    limit = AIMDLimit(1.0, initial=10, most=12)
    for _ in range(11):
        limit.sample(0.5, 10, 0.0, dropped=False)
    assert limit.limit == 11
    for _ in range(100):
        limit.sample(0.5, 3, 0.0, dropped=False)
    assert limit.limit == 11
    for _ in range(100):
        limit.sample(0.5, 10, 0.0, dropped=False)
    assert limit.limit == 12


def test_multiplicative_decrease():
    """A late or a dropped answer takes a tenth, once for all those that were admitted together, down to the least."""
    limit = AIMDLimit(1.0, initial=100, least=80)
    for _ in range(50):
        limit.sample(2.0, 100, 10.0, dropped=False)
    assert limit.limit == 90
    limit.sample(0.1, 100, 11.0, dropped=True)
    assert limit.limit == 81
    limit.sample(0.1, 100, 11.05, dropped=True)
    assert limit.limit == 81
    limit.sample(0.1, 100, 11.1, dropped=True)
    assert limit.limit == 80


# --------------------------------------------------------------------------------------------------------- gradient


class Backend:
    """A service with so many workers; more requests than workers wait for one another."""

    def __init__(self, workers, seconds, *, seed=0):
        self.workers, self.seconds = workers, seconds
        self.random = random.Random(seed)
        self.now = 0.0

    def latency(self, in_flight):
        return self.seconds * max(1.0, in_flight / self.workers) * self.random.uniform(0.9, 1.1)

    def serve(self, limit, seconds, demand=10**6):
        """Answer whatever is admitted, for so long; returns the answers per second."""
        end, answered = self.now + seconds, 0
        while self.now < end:
            in_flight = min(demand, limit.limit)
            latency = self.latency(in_flight)
            for _ in range(in_flight):
                limit.sample(latency, in_flight, self.now + latency, dropped=False)
            self.now += latency
            answered += in_flight
        return answered / seconds


@pytest.mark.parametrize(("workers", "seconds"), [(10, 0.05), (50, 0.02), (4, 0.5), (200, 0.1)])
def test_it_finds_the_capacity(workers, seconds):
    """Under more load than can be served it settles where all workers are busy, and nobody waits for long."""
    backend, limit = Backend(workers, seconds), GradientLimit()
    backend.serve(limit, 2.0, demand=5)
    backend.serve(limit, 20.0)
    throughput = backend.serve(limit, 20.0)
    assert throughput >= 0.9 * workers / seconds
    assert backend.latency(limit.limit) <= 3 * seconds


def test_it_follows_a_loss_of_capacity():
    """When half of the workers are gone, the limit comes down; when they are back, it goes up again."""
    backend, limit = Backend(40, 0.05), GradientLimit()
    backend.serve(limit, 20.0)
    before = limit.limit
    backend.workers = 10
    backend.serve(limit, 10.0)
    assert backend.latency(limit.limit) <= 3 * 0.05
    backend.workers = 40
    backend.serve(limit, 10.0)
    assert limit.limit >= 0.7 * before


def test_a_service_that_has_become_slower_is_measured_anew():
    """The best latency of yesterday would strangle a service that needs more time today."""
    backend, limit = Backend(20, 0.02), GradientLimit(remeasure=5.0)
    backend.serve(limit, 10.0)
    assert limit.best == pytest.approx(0.02, rel=0.2)
    backend.seconds = 0.1
    backend.serve(limit, 20.0)
    assert limit.best == pytest.approx(0.1, rel=0.2)
    assert backend.serve(limit, 10.0) >= 0.9 * 20 / 0.1


def test_without_pressure_it_learns_nothing():
    """A limit that nobody has reached stays, and is never lowered to measure."""
    backend, limit = Backend(1000, 0.01), GradientLimit(remeasure=1.0)
    backend.serve(limit, 5.0, demand=4)
    assert limit.limit == 20


def test_dropped_answers_lower_it():
    """A timeout is no latency, but says enough; the limit never goes below the least."""
    limit = GradientLimit()
    for _ in range(10):
        limit.sample(1.0, 20, 0.0, dropped=True)
    assert 10 < limit.limit < 20
    for _ in range(10_000):
        limit.sample(1.0, 20, 0.0, dropped=True)
    assert limit.limit == 3


@given(
    st.lists(
        st.tuples(st.floats(1e-6, 100), st.integers(1, 2000), st.floats(0, 1), st.booleans()), max_size=300
    )
)
def test_a_limit_stays_in_its_range(samples):
    """Whatever it is told, a limit stays between the least and the most, and keeps a bounded memory."""
    limits = GradientLimit(least=2, initial=5, most=50), AIMDLimit(0.1, least=2, initial=5, most=50)
    now = 0.0
    for latency, in_flight, pause, dropped in samples:
        now += pause
        for limit in limits:
            limit.sample(latency, in_flight, now, dropped=dropped)
            assert 2 <= limit.limit <= 50
    assert len(limits[0]._samples) <= 1000


def test_samples_are_bounded():
    """A flood within one window is not kept whole."""
    limit = GradientLimit(window=10.0)
    for _ in range(5000):
        limit.sample(0.1, 1, 0.0, dropped=False)
    assert len(limit._samples) == 1000
