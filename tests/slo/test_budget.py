"""Error budgets: worked examples, minute by minute."""

import math

import pytest

from asgi_resilience.slo import (
    DEFAULT_ALERTS,
    SLO,
    AlertEnded,
    AlertStarted,
    BudgetReset,
    BurnAlert,
    ErrorBudget,
    PolicyChanged,
)

DAY = 86_400
START = 1_760_000_400  # begins a minute
AVAILABILITY = SLO("availability", target=0.999)
SUCCESS = SLO("success", target=0.995, measure="requests")


class Service:
    """A service whose minutes are played one after the other."""

    def __init__(self, slo: SLO) -> None:
        self.budget = ErrorBudget(slo, clock=lambda: START)
        self.minute = 0
        self.events = []

    def minutes(self, count, requests=100.0, failed=0.0):
        """So many minutes, each like this; and the first moment of the next one."""
        for _ in range(count):
            self.record(requests, failed)
            self.minute += 1
        self.record()
        return self.budget.status

    def record(self, requests=0.0, failed=0.0):
        events = self.budget.record(requests, failed, at=START + 60 * self.minute)
        self.events += [(self.minute, event) for event in events]

    def happened(self, kind):
        return [
            (minute, getattr(event, "alert", event).name if kind is not PolicyChanged else event.after)
            for minute, event in self.events
            if isinstance(event, kind)
        ]


def test_a_new_budget_is_full():
    """Before the first request nothing is used, and nothing burns."""
    status = ErrorBudget(AVAILABILITY).status
    assert (status.used, status.remaining, status.remaining_share, status.policy) == (0, 43.2, 1.0, "normal")
    assert status.burn_rates == {"5m": 0.0, "30m": 0.0, "1h": 0.0, "6h": 0.0}
    assert ErrorBudget(SUCCESS).status.remaining_share == 1.0


def test_time_is_the_clock_s_where_none_is_given():
    """A minute that is over by the clock counts."""
    now = float(START)
    budget = ErrorBudget(AVAILABILITY, clock=lambda: now)
    budget.record(10, 10)
    assert budget.status.used == 0
    now += 60
    budget.record()
    assert budget.status.used == 1


def test_a_full_outage_of_ten_minutes_uses_ten_minutes():
    """Of 43.2 minutes 33.2 are left, which is 76.9 %."""
    service = Service(AVAILABILITY)
    service.minutes(10, failed=100)
    status = service.minutes(120)
    assert status.used == 10
    assert status.remaining == pytest.approx(33.2)
    assert status.remaining_share == pytest.approx(1 - 10 / 43.2)


def test_a_minute_is_down_to_the_share_that_failed():
    """Two hours with 5 % failing cost six minutes, however many requests a minute had."""
    service = Service(AVAILABILITY)
    service.minutes(60, requests=1000, failed=50)
    status = service.minutes(60, requests=20, failed=1)
    assert status.used == pytest.approx(6.0)


def test_a_minute_without_requests_was_up():
    """Nobody was turned away in it."""
    service = Service(AVAILABILITY)
    service.minutes(1, failed=100)
    assert service.minutes(59, requests=0).used == 1


def test_the_rate_of_success_counts_requests():
    """Of a full day with 1,440,000 requests at 99.5 %, 7,200 may fail; 1,800 did: 75 % are left."""
    service = Service(SLO("success", target=0.995, measure="requests", window=DAY))
    service.minutes(1080, requests=1000)
    status = service.minutes(360, requests=1000, failed=5)
    assert (status.requests, status.failed) == (1_440_000, 1_800)
    assert status.budget == pytest.approx(7_200)
    assert status.used == 1_800
    assert status.remaining_share == pytest.approx(0.75)


def test_what_was_before_the_first_minute_counts_as_good():
    """An hour with 1 % failing uses two 720ths of a month at 99.5 %, not all of it, right after a start."""
    status = Service(SUCCESS).minutes(60, requests=1000, failed=10)
    assert status.used / status.budget == pytest.approx(2 / 720)


def test_the_burn_rate_is_the_multiple_of_what_is_allowed():
    """2 % failing at 99.9 % for five minutes is 20 in 5 m, and what that is of the longer windows."""
    for slo in (AVAILABILITY, SLO("success", target=0.999, measure="requests")):
        service = Service(slo)
        service.minutes(360)
        status = service.minutes(5, failed=2)
        assert status.burn_rates == pytest.approx(
            {"5m": 20.0, "30m": 20 * 5 / 30, "1h": 20 * 5 / 60, "6h": 20 * 5 / 360}
        )


def test_a_burn_rate_of_one_spends_the_budget_in_the_window():
    """Exactly what is allowed, for the whole window, leaves nothing: freeze at its end and not before."""
    service = Service(SLO("a", target=0.99, window=DAY))
    status = service.minutes(1439, failed=1)
    assert status.burn_rates["6h"] == pytest.approx(1)
    assert status.policy == "slow_down"
    assert service.minutes(1, failed=1).policy == "freeze"
    assert service.budget.status.remaining_share == pytest.approx(0, abs=1e-9)


def test_the_policy_follows_what_is_used():
    """At 99 % of a day, 14.4 minutes: slow down at 7.2, freeze at 14.4, and back when they leave the window."""
    service = Service(SLO("a", target=0.99, window=DAY, alerts=()))
    service.minutes(7, failed=100)
    assert service.budget.status.policy == "normal"
    service.minutes(1, failed=20)
    assert service.budget.status.policy == "slow_down"
    service.minutes(8, failed=90)
    assert service.budget.status.policy == "freeze"
    service.minutes(1440)
    assert service.happened(PolicyChanged) == [
        (8, "slow_down"),
        (16, "freeze"),
        (1443, "slow_down"),  # buckets of two minutes: the first leaves when the window has moved past both
        (1451, "normal"),
    ]
    changed = service.events[0][1]
    assert (changed.slo, changed.before, changed.status.used) == (service.budget.slo, "normal", 7.2)


def test_a_bad_minute_stays_for_the_whole_window_and_one_bucket_at_most():
    """Of 30 days, kept by the hour: it is there for 30 days, and gone an hour later."""
    service = Service(AVAILABILITY)
    service.minutes(1, failed=100)
    for minute, used in ((30 * 1440, 1), (30 * 1440 + 60, 1), (30 * 1440 + 61, 0)):
        service.minute = minute
        service.record()
        assert service.budget.status.used == used


def test_an_overspent_budget_is_negative():
    """After twice the budget, a whole one is missing."""
    status = Service(SLO("a", target=0.99, window=DAY)).minutes(28, failed=100)
    assert status.remaining == pytest.approx(-13.6)
    assert status.remaining_share == pytest.approx(1 - 28 / 14.4)


# ------------------------------------------------------------------------------------------------------------- alerts


def test_a_fast_burn_alerts_and_ends_soon_after():
    """10 % failing at 99.9 % burns 100 times too fast: the hour is at 14.4 after nine minutes, the five minutes end it."""
    service = Service(AVAILABILITY)
    service.minutes(360)
    service.minutes(20, failed=10)
    service.minutes(60)
    assert service.happened(AlertStarted) == [(360 + 9, "1h")]
    assert service.happened(AlertEnded) == [(360 + 20 + 5, "1h")]


def test_a_slow_burn_alerts_on_six_hours():
    """1 % failing at 99.9 % burns 10 times too fast: never 14.4, but past 6 of six hours after 217 minutes."""
    service = Service(AVAILABILITY)
    service.minutes(360)
    service.minutes(300, failed=1)
    assert service.happened(AlertStarted) == [(360 + 217, "6h")]
    assert service.budget.status.alerts == ("6h",)
    service.minutes(30)
    assert service.happened(AlertEnded) == [(660 + 12, "6h")]


def test_a_spike_that_the_long_window_does_not_see_is_no_alert():
    """One minute with 50 % failing is 100 times too fast for five minutes, but 8.3 times for the hour."""
    service = Service(AVAILABILITY)
    service.minutes(60)
    status = service.minutes(1, failed=50)
    assert status.burn_rates["5m"] == pytest.approx(100)
    assert service.events == []


def test_trouble_that_is_over_is_no_alert():
    """An hour that burnt too fast does not alert when the last five minutes were good."""
    slo = SLO("a", target=0.999, min_failures=100, alerts=DEFAULT_ALERTS[:1])
    service = Service(slo)
    service.minutes(20, requests=4, failed=4)
    assert service.minutes(5, requests=100).burn_rates["1h"] > 14.4
    service.minutes(1, requests=30, failed=20)
    assert service.happened(AlertStarted) == [(26, "1h")]


def test_the_threshold_itself_is_no_alert():
    """The burn rate has to exceed the factor."""
    alert = BurnAlert(2, long=120, short=60)
    service = Service(SLO("a", target=0.5, measure="requests", alerts=(alert,), min_failures=0))
    service.minutes(4, failed=100)
    assert service.budget.status.burn_rates["5m"] == pytest.approx(2 * 4 / 5)
    assert service.events == []


@pytest.mark.parametrize(("least", "expected"), [(1, [(61, "1h")]), (2, [])])
def test_a_few_failures_in_a_quiet_night_are_no_alert(least, expected):
    """One failure as the only request of its minute burns 16.7 times too fast, and still wakes nobody."""
    service = Service(SLO("a", target=0.999, min_failures=least))
    service.minutes(60, requests=0)
    service.minutes(1, requests=1, failed=1)
    assert service.happened(AlertStarted) == expected


def test_an_outage_right_after_the_start_alerts_in_minutes():
    """Everything fails from the first minute on: that is past 14.4 of an hour as soon as it is over."""
    service = Service(SUCCESS)
    service.minutes(10, failed=100)
    assert service.happened(AlertStarted) == [(5, "1h")]


# --------------------------------------------------------------------------------------------------------- the clock


def test_requests_that_come_late_count_with_the_open_minute():
    """A clock that is set back a little loses nothing, and time does not run twice."""
    budget = ErrorBudget(AVAILABILITY)
    budget.record(50, 0, at=START + 120)
    assert budget.record(50, 50, at=START) == []
    budget.record(at=START + 180)
    assert (budget.status.requests, budget.status.used) == (100, 0.5)


def test_a_clock_that_is_set_back_far_begins_afresh():
    """Else nothing would be over until it has caught up."""
    budget = ErrorBudget(AVAILABILITY)
    budget.record(100, 100, at=START)
    budget.record(at=START + 60)
    assert budget.status.used == 1
    (event,) = budget.record(100, 100, at=START - 2 * 3600)
    assert event == BudgetReset(AVAILABILITY, "the clock was set back by more than an hour")
    assert budget.status.used == 0
    budget.record(at=START - 2 * 3600 + 60)
    assert budget.status.used == 1


def test_a_process_that_slept_for_long_begins_with_an_empty_window():
    """A gap longer than the window forgets everything, at once."""
    service = Service(AVAILABILITY)
    service.minutes(100, failed=100)
    service.minute += 10 * 365 * 1440
    service.record()
    assert (service.budget.status.used, service.budget.status.requests) == (0, 0)
    assert service.happened(PolicyChanged)[-1][1] == "normal"


def test_more_failures_than_requests_are_as_many():
    """Whoever counts wrong makes no minute worse than lost."""
    assert Service(AVAILABILITY).minutes(1, requests=5, failed=7).used == 1


# --------------------------------------------------------------------------------------------------------- the state


def test_a_state_continues_where_it_was_left():
    """Restored in the middle of a minute, a budget goes on as the one that was not interrupted."""
    for slo in (AVAILABILITY, SUCCESS, SLO("l", target=0.95, measure="latency", threshold_ms=500)):
        service = Service(slo)
        service.minutes(300)
        service.minutes(70, failed=30)
        service.record(10, 9)
        restored = ErrorBudget(slo, clock=lambda: START + 3600 * 24)
        restored.restore(service.budget.state())
        assert restored.status == service.budget.status
        assert restored.state() == service.budget.state()
        for budget in (restored, service.budget):
            budget.record(100, 0, at=START + 60 * 371)
        assert restored.status == service.budget.status


def test_a_restart_repeats_no_event():
    """Policy and alerts are what they were; only what changes afterwards is told."""
    service = Service(AVAILABILITY)
    service.minutes(60, failed=100)
    restored = ErrorBudget(AVAILABILITY, clock=lambda: START + 3600)
    restored.restore(service.budget.state())
    assert (restored.status.policy, restored.status.alerts) == ("freeze", ("1h", "6h"))
    assert restored.record(100, 100, at=START + 61 * 60) == []


def test_the_target_may_change_over_a_restart():
    """What was counted does not depend on it."""
    service = Service(AVAILABILITY)
    service.minutes(10, failed=100)
    stricter = ErrorBudget(SLO("availability", target=0.9999), clock=lambda: START + 600)
    stricter.restore(service.budget.state())
    assert (stricter.status.used, stricter.status.policy) == (10, "freeze")


def test_a_state_without_a_request_is_restored():
    """It is a full budget."""
    budget = ErrorBudget(AVAILABILITY)
    budget.restore(ErrorBudget(AVAILABILITY).state())
    assert budget.state()["window"] == []
    young = ErrorBudget(AVAILABILITY)
    young.record(10, 5, at=START)
    budget.restore(young.state())
    assert budget.record(at=START + 60) == []
    assert budget.status.used == 0.5


def test_states_are_small():
    """A month of bad minutes of three kinds fits into 100 KB."""
    import json

    service = Service(AVAILABILITY)
    for hour in range(24 * 30):
        service.minute = hour * 60
        service.record(123_456, 12_345)
    service.minutes(360, requests=123_456, failed=12_345)
    assert len(json.dumps(service.budget.state())) < 100_000


def broken(**changes):
    service = Service(AVAILABILITY)
    service.minutes(5, failed=1)
    return {**service.budget.state(), **changes}


ROW = [START // 60, 100.0, 1.0, 0.01]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, "TypeError"),
        ({}, "KeyError"),
        (broken(minute=START // 60 + 24 * 60), "it is from the future"),
        (broken(minute="5"), "expected a number"),
        (broken(minute=True), "expected a number"),
        (broken(minute=float("inf")), "expected a number"),
        (broken(open=[1e300, 0.0]), "expected a number"),
        (broken(since=-5), "expected a number"),
        (broken(since=START), "it can't be true"),
        (broken(open=[1.0, 2.0]), "it can't be true"),
        (broken(open=[1.0]), "not enough values"),
        (broken(open=7), "TypeError"),
        (broken(recent={}), "expected rows"),
        (broken(recent=[5]), "expected rows of four numbers"),
        (broken(recent=[[1, 2, 3]]), "expected rows of four numbers"),
        (broken(recent=[[*ROW[:3], None]]), "expected a number"),
        (broken(recent=[[*ROW[:3], math.nan]]), "expected a number"),
        (broken(recent=[[*ROW[:3], 1.5]]), "a row can't be true"),
        (broken(recent=[[ROW[0], 1.0, 2.0, 0.0]]), "a row can't be true"),
        (broken(recent=[[ROW[0] + 0.5, *ROW[1:]]]), "a row can't be true"),
        (broken(window=[[ROW[0] + 500, *ROW[1:]]]), "a row can't be true"),
        (broken(counted={}), "it was counted for another objective"),
    ],
)
def test_a_state_that_can_not_be_used_leaves_a_full_budget(state, reason):
    """Whatever it holds, the error says why, and the budget begins afresh."""
    budget = ErrorBudget(AVAILABILITY, clock=lambda: START + 600)
    with pytest.raises(ValueError, match=reason):
        budget.restore(state)
    assert budget.state() == ErrorBudget(AVAILABILITY).state()


@pytest.mark.parametrize(
    "other",
    [
        SUCCESS,
        SLO("availability", target=0.999, window=7 * DAY),
        SLO("availability", target=0.999, tags=("route:/checkout",)),
    ],
)
def test_what_was_counted_for_another_objective_is_not_taken(other):
    """Another measure, window or choice of requests: the old counts mean something else."""
    with pytest.raises(ValueError, match="another objective"):
        ErrorBudget(other, clock=lambda: START + 600).restore(broken())


def test_rows_that_are_too_old_are_left_out():
    """A file that promises more than the window keeps is cut to it."""
    budget = ErrorBudget(AVAILABILITY, clock=lambda: START + 600)
    budget.restore(broken(window=[ROW, [60, 100.0, 50.0, 0.5]]))
    assert budget.status.requests == 100
