"""Error budgets: what holds for every history."""

from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_resilience.slo import SLO, ErrorBudget

DAY = 1440  # minutes
WIDTH = 2  # minutes of a bucket, with a window of one day
SLOS = (
    SLO("downtime", target=0.99, window=86_400),
    SLO("requests", target=0.99, window=86_400, measure="requests"),
)

histories = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 5), st.integers(1, 2 * DAY)),  # minutes since the one before
        st.integers(0, 1000),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=30,
)


def play(budget, history):
    """Each step of a history: its minute, its requests, its failures, and the status after it."""
    minute = 30_000_000
    for gap, requests, share in history:
        minute += gap
        failed = int(requests * share)
        budget.record(requests, failed, at=60 * minute)
        yield minute, requests, failed, budget.status


@given(histories)
@settings(deadline=None)
def test_the_budget_rises_only_as_bad_minutes_leave_the_window(history):
    """Between two moments what is left grows by no more than what was used in minutes that have left the window."""
    budget = ErrorBudget(SLOS[0])
    left_before, minute_before = 1e9, 0
    down = {}
    counts = {}
    for minute, requests, failed, status in play(budget, history):
        leaving = sum(
            share
            for bad, share in down.items()
            if bad // WIDTH + DAY // WIDTH < (minute - 1) // WIDTH
            and (minute_before - 1) // WIDTH <= bad // WIDTH + DAY // WIDTH
        )
        if minute != minute_before:
            assert status.remaining <= left_before + leaving + 1e-9
            left_before = status.remaining
        minute_before = minute
        total, bad = counts.get(minute, (0, 0))
        counts[minute] = total + requests, bad + failed
        down[minute] = counts[minute][1] / counts[minute][0] if counts[minute][0] else 0.0


@given(histories)
@settings(deadline=None)
def test_what_is_used_is_what_the_whole_history_says(history):
    """The buckets forget nothing within the window, and nothing is left of what is older by a bucket."""
    budget = ErrorBudget(SLOS[1])
    steps = []
    for minute, requests, failed, status in play(budget, history):
        over = [(at, number) for at, _, number in steps if at < minute]
        assert sum(number for at, number in over if at >= minute - DAY) <= status.used
        assert status.used <= sum(number for at, number in over if at >= minute - DAY - WIDTH)
        steps.append((minute, requests, failed))


@given(histories)
@settings(deadline=None)
def test_the_policy_is_what_the_used_share_says(history):
    """At every moment: freeze from 100 % on, slow down from 50 % on."""
    for slo in SLOS:
        for _, _, _, status in play(ErrorBudget(slo), history):
            share = 1 - status.remaining_share
            if abs(share - 0.5) > 1e-6 and abs(share - 1) > 1e-6:
                expected = "freeze" if share > 1 else "slow_down" if share > 0.5 else "normal"
                assert status.policy == expected
            assert all(rate >= 0 for rate in status.burn_rates.values())


@given(histories, st.integers(0, 29))
@settings(deadline=None)
def test_an_interruption_changes_nothing(history, after):
    """A budget that is saved and restored after any step ends like one that was not."""
    whole, first = ErrorBudget(SLOS[0]), ErrorBudget(SLOS[0])
    second = ErrorBudget(SLOS[0], clock=lambda: 1e12)
    expected = [status for *_, status in play(whole, history)][-1]
    list(play(first, history[: after + 1]))
    second.restore(first.state())
    rest = [(0, 0, 0.0), *history[after + 1 :]]
    rest[0] = (sum(gap for gap, *_ in history[: after + 1]), 0, 0.0)
    assert [status for *_, status in play(second, rest)][-1] == expected
