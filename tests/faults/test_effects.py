"""What can be made to go wrong."""

import pytest

from asgi_resilience.client.facts import facts_of
from asgi_resilience.faults import Abort, ErrorStatus, InjectedFault, Latency, Raise, SlowBody, Truncate


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Latency(-1.0), "seconds=-1.0: expected seconds, 0 or more"),
        (lambda: Latency(float("inf")), "seconds=inf: expected seconds, 0 or more"),
        (lambda: Latency(1.0, float("nan")), "jitter=nan: expected seconds, 0 or more"),
        (lambda: ErrorStatus(200), "status=200: expected 400 to 599"),
        (lambda: ErrorStatus(503, -1), "retry_after=-1: expected seconds, 0 or more, or None"),
        (lambda: Raise("x"), "error='x': expected an exception class, or a function that makes one"),
        (lambda: Truncate(-1), "after=-1: expected a number of bytes, 0 or more"),
        (lambda: SlowBody(0), "bytes_per_second=0: expected a number above 0"),
    ],
)
def test_a_value_out_of_range(make, message):
    """An effect that can't be made is refused at once, with option, value and range."""
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value) == message


def test_names():
    """Each effect has a name for logs and metrics, with few different values."""
    effects = Latency(1), ErrorStatus(429), Abort(), Raise(KeyError), Truncate(5), SlowBody(10)
    names = ["latency", "status_429", "abort", "exception", "truncated_body", "slow_body"]
    assert [each.name for each in effects] == names


def test_latency_spreads():
    """The jitter is added, by the dice that are given."""
    assert Latency(1.0).drawn(lambda: 0.5) == 1.0
    assert Latency(1.0, jitter=2.0).drawn(lambda: 0.5) == 2.0


def test_an_exception_is_made_anew():
    """Each time has an exception of its own; by default one that says what it is."""
    effect = Raise(KeyError)
    assert isinstance(effect.made(), KeyError)
    assert effect.made() is not effect.made()
    assert str(Raise().made()) == "injected fault: exception"


def test_an_injected_fault_tells_its_facts():
    """The decision matrix reads the status and the wait of an injected fault like those of a real answer."""
    facts = facts_of(InjectedFault("status_429", 429, 2.0))
    assert (facts.status, facts.retry_after) == (429, 2.0)


def test_a_trickle_has_pieces():
    """About ten pieces a second, and never an empty one."""
    assert [SlowBody(each).piece for each in (1000, 10, 0.5)] == [100, 1, 1]
