"""How many requests may be worked on at once."""

import random
from collections import deque
from heapq import heappop, heappush
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
    limit.sample(0.1, 100, 11.9, dropped=True)
    assert limit.limit == 81
    limit.sample(0.1, 100, 12.0, dropped=True)
    assert limit.limit == 80


@pytest.mark.parametrize("limit", [AIMDLimit(0.3), GradientLimit()])
def test_what_fails_by_the_hundred_does_not_starve_the_rest(limit):
    """While something is down, those who need it fail at once; the limit stays for those who don't need it."""
    for number in range(20_000):
        now = number / 1000
        limit.sample(0.0001, 15, now, dropped=True)
        limit.sample(0.02, 15, now, dropped=False)
    assert limit.limit >= 15


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
    assert backend.serve(limit, 40.0) >= 0.9 * 20 / 0.1


def test_without_pressure_it_learns_nothing():
    """A limit that nobody has reached stays, and is never lowered to measure."""
    backend, limit = Backend(1000, 0.01), GradientLimit(remeasure=1.0)
    backend.serve(limit, 5.0, demand=4)
    assert limit.limit == 20


def test_dropped_answers_lower_it():
    """A timeout is no latency, but says enough, once a window; the limit never goes below the least."""
    limit = GradientLimit()
    for _ in range(10):
        limit.sample(1.0, 20, 0.0, dropped=True)
    assert limit.limit == 18
    for number in range(1000):
        limit.sample(1.0, 20, number / 10, dropped=True)
    assert limit.limit == 3


def test_a_slow_service_is_not_slowed_down_by_measuring():
    """However long answers take, the limit is lowered for a twentieth of the time at most."""
    backend, limit = Backend(50, 4.0), GradientLimit(remeasure=1.0)
    backend.serve(limit, 200.0)
    assert backend.serve(limit, 4000.0) >= 0.9 * 50 / 4.0


@given(
    st.lists(
        st.tuples(st.floats(1e-6, 100), st.integers(1, 2000), st.floats(0, 1), st.booleans()), max_size=300
    )
)
def test_a_limit_stays_in_its_range(samples):
    """Whatever it is told, a limit stays between the least and the most."""
    limits = GradientLimit(least=2, initial=5, most=50), AIMDLimit(0.1, least=2, initial=5, most=50)
    now = 0.0
    for latency, in_flight, pause, dropped in samples:
        now += pause
        for limit in limits:
            limit.sample(latency, in_flight, now, dropped=dropped)
            assert 2 <= limit.limit <= 50


MIXES = {
    "half at once": lambda dice: 0.001 if dice.random() < 0.5 else 0.1,
    "some at once": lambda dice: 0.001 if dice.random() < 0.3 else 0.1,
    "most at once": lambda dice: 0.001 if dice.random() < 0.8 else 0.2,
    "exponential": lambda dice: dice.expovariate(20),
    "a few hang": lambda dice: 0.5 if dice.random() < 0.01 else 0.02,
}


@pytest.mark.parametrize("workers", [10, 50])
@pytest.mark.parametrize("mix", MIXES)
def test_requests_are_not_alike(mix, workers):
    """Where some take a hundred times as long as others, the capacity is found as well."""
    dice, seconds = random.Random(1), 40.0
    rate = 3 * workers / (sum(MIXES[mix](dice) for _ in range(20_000)) / 20_000)
    limit, served, busy = GradientLimit(), 0, 0
    admitted: deque[tuple[float, float]] = deque()
    events: list[tuple[float, float | None]] = [(0.0, None)]  # when; of an answer: when it was admitted
    while events[0][0] < seconds:
        now, began = heappop(events)
        if began is None:
            heappush(events, (now + dice.expovariate(rate), None))
            if busy + len(admitted) < limit.limit:
                admitted.append((now, MIXES[mix](dice)))
        else:
            limit.sample(now - began, busy + len(admitted), now, dropped=False)
            busy -= 1
            served += now > seconds / 2
        while admitted and busy < workers:
            busy += 1
            began, takes = admitted.popleft()
            heappush(events, (now + takes, began))
    assert served / (seconds / 2) >= 0.85 * rate / 3
