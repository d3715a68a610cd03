"""The retry budget: a share of the calls, plus a floor, over a sliding window (Finagle's RetryBudget)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.client.budget import BudgetPolicy, RetryBudget


def spend(budget, now):
    """Take retries until there are none, and say how many there were."""
    taken = 0
    while budget.withdraw(now):
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("ratio", "floor", "calls", "retries"),
    [
        (0.2, 0.0, 0, 0),
        (0.2, 0.0, 4, 0),
        (0.2, 0.0, 5, 1),
        (0.2, 0.0, 100, 20),
        (0.1, 0.0, 100, 10),
        (0.3, 0.0, 10, 3),
        (1.0, 0.0, 7, 7),
        (0.0, 0.0, 1000, 0),
        (0.0, 10.0, 0, 100),
        (0.2, 10.0, 100, 120),
        (0.2, 0.1, 0, 1),
    ],
)
def test_a_share_of_the_calls_and_a_floor(ratio, floor, calls, retries):
    """So many retries follow from so many calls within one window of ten seconds."""
    budget = RetryBudget(BudgetPolicy(ratio=ratio, floor=floor))
    for _ in range(calls):
        budget.deposit(0.0)
    assert spend(budget, 0.0) == retries


def test_calls_are_forgotten_after_the_window():
    """A call pays for retries for one window, in steps of a tenth of it."""
    budget = RetryBudget(BudgetPolicy(ratio=0.5, floor=0.0))
    for second in range(10):
        budget.deposit(float(second))
        budget.deposit(float(second))
    assert budget.balance(9.9) == 10.0
    assert budget.balance(12.5) == 7.0
    assert budget.balance(30.0) == 0.0


def test_retries_are_forgotten_after_the_window():
    """The floor is granted again when the retries that used it up are a window old."""
    budget = RetryBudget(BudgetPolicy(ratio=0.2, floor=1.0))
    assert spend(budget, 0.0) == 10
    assert spend(budget, 9.0) == 0
    assert spend(budget, 10.0) == 10


def test_a_storm_dies_out():
    """When every call fails, retries stay a fifth of the calls, however long it goes on."""
    budget = RetryBudget(BudgetPolicy(ratio=0.2, floor=0.0))
    calls = retries = 0
    for tick in range(10_000):
        budget.deposit(tick / 100)
        calls += 1
        for _ in range(3):
            retries += budget.withdraw(tick / 100)
    assert retries <= calls * 0.2 + 20


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 5.0)), max_size=200))
def test_never_more_than_the_policy_grants(steps):
    """In any window, retries never exceed the floor and the share of the calls in the window before and in it."""
    policy = BudgetPolicy(ratio=0.2, floor=0.5, window=10.0)
    budget, now = RetryBudget(policy), 0.0
    calls: list[float] = []
    retries: list[float] = []
    for is_call, pause in steps:
        now += pause
        if is_call:
            budget.deposit(now)
            calls.append(now)
        elif budget.withdraw(now):
            retries.append(now)
            recent = [each for each in retries if each > now - 9.0]
            paying = [each for each in calls if each > now - 20.0]
            assert len(recent) <= 0.2 * len(paying) + 5.0 + 1e-9


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ratio", -0.1),
        ("ratio", 1.1),
        ("floor", -1.0),
        ("floor", float("inf")),
        ("window", 0.0),
        ("window", float("nan")),
    ],
)
def test_values_out_of_range(option, value):
    """A policy names the value that it can't have."""
    with pytest.raises(ValueError, match=f"{option}="):
        BudgetPolicy(**{option: value})
