"""The algorithm of the rate limit: what it admits, what it says of the rest, and the forms in which a limit is written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.quota.gcra import RateLimit, decide

SECOND = 1_000_000_000
LIMITS = st.builds(
    RateLimit,
    limit=st.integers(1, 1000),
    per=st.sampled_from([0.25, 1.0, 7.0, 60.0, 86400.0]),
    burst=st.none() | st.integers(1, 50),
)
RULES = st.lists(LIMITS, min_size=1, max_size=3).map(tuple)
STARTS = st.integers(-(10**9), 10**18)
# Steps around one interval are where the decisions lie.
STEPS = st.lists(st.floats(0, 3), min_size=1, max_size=80)


def burst(rule):
    return rule.burst or rule.limit


@given(RULES, STARTS, STEPS)
def test_no_window_admits_more_than_the_burst_and_what_is_earned_in_it(rules, now, steps):
    """In any span of t seconds at most burst + rate × t requests are admitted, by each of the rules."""
    shortest = min(rule.interval for rule in rules)
    state = None
    admitted = []
    for step in steps:
        now += int(step * shortest)
        decision = decide(rules, state, now)
        state = decision.state
        if decision.allowed:
            admitted.append(now)
    for rule in rules:
        for first, begin in enumerate(admitted):
            for last in range(first, len(admitted)):
                span = admitted[last] - begin
                assert last - first + 1 <= burst(rule) + span * rule.limit / (rule.per * SECOND)


@given(RULES, STARTS, STEPS)
def test_retry_after_is_exact(rules, now, steps):
    """A refused request is admitted after `wait` nanoseconds, and not one nanosecond sooner."""
    state = None
    for step in steps:
        now += int(step * rules[0].interval / 4)
        decision = decide(rules, state, now)
        state = decision.state
        assert decision.allowed == (decision.wait == 0)
        if decision.wait:
            assert not decide(rules, state, now + decision.wait - 1).allowed
            assert decide(rules, state, now + decision.wait).allowed
            assert decision.retry_after == decision.wait / SECOND


@given(RULES, STARTS, STEPS)
def test_what_remains_is_exact(rules, now, steps):
    """After any decision, exactly `remaining` more requests are admitted at the same moment."""
    state = None
    for step in steps:
        now += int(step * rules[0].interval)
        decision = decide(rules, state, now)
        state = decision.state
    more = state
    for _ in range(min(decision.remaining, 60)):
        following = decide(rules, more, now)
        assert following.allowed
        more = following.state
    if decision.remaining <= 60:
        assert not decide(rules, more, now).allowed


@given(RULES, STARTS, STEPS)
def test_a_client_at_rest_gets_everything_back(rules, now, steps):
    """After `reset_after` seconds of silence every rule has its whole burst again, and not a nanosecond sooner."""
    state = None
    for step in steps:
        now += int(step * rules[0].interval / 2)
        decision = decide(rules, state, now)
        state = decision.state
    full = max(state)
    assert decision.reset_after == (full - now) / SECOND
    rested = decide(rules, state, full)
    assert [rested.remaining_of(index) for index in range(len(rules))] == [burst(rule) - 1 for rule in rules]
    early = decide(rules, state, full - 1)
    assert not early.allowed or early.state != tuple(full - 1 + rule.interval for rule in rules)


@given(RULES, STARTS, STEPS, st.integers(0, 10**15))
def test_a_clock_that_goes_back_is_harmless(rules, now, steps, back):
    """After a step back a client waits at most one interval of a rule, and gains nothing but what had not been spent."""
    state = None
    for step in steps:
        now += int(step * rules[0].interval / 4)
        decision = decide(rules, state, now)
        state = decision.state
    left = decision.remaining
    now -= back
    decision = decide(rules, state, now)
    assert decision.wait <= max(rule.interval for rule in rules)
    assert decision.remaining <= left
    if decision.wait:
        assert decide(rules, decision.state, now + decision.wait).allowed


@given(RULES, STARTS, STEPS)
def test_a_refusal_spends_nothing(rules, now, steps):
    """A request that one rule refuses is charged to none of them (83)."""
    state = None
    for step in steps:
        now += int(step * rules[0].interval / 8)
        before = None if state is None else decide(rules, state, now)
        decision = decide(rules, state, now)
        if not decision.allowed:
            charged = [max(tat, now) for tat in state]
            assert list(decision.state) == charged
            assert before is not None
        state = decision.state


@given(st.integers(1, 200), STARTS)
def test_the_whole_burst_is_admitted_at_once(limit, now):
    """All of the burst may come at one moment: the last of it is not lost to rounding."""
    rules = (RateLimit(limit, 7.0),)
    state = None
    for left in reversed(range(limit)):
        decision = decide(rules, state, now)
        state = decision.state
        assert decision.allowed
        assert decision.remaining == left
    assert not decide(rules, state, now).allowed


@given(RULES, STARTS, st.integers(2, 50))
def test_a_cost_counts_as_that_many_requests(rules, now, cost):
    """A request that costs n is admitted when n of cost 1 would be, and leaves the same state."""
    if cost > min(map(burst, rules)):
        with pytest.raises(ValueError, match=rf"cost={cost}: expected 1 to {min(map(burst, rules))}"):
            decide(rules, None, now, cost)
        return
    state = None
    for _ in range(cost):
        state = decide(rules, state, now).state
    assert decide(rules, None, now, cost).state == state
    again = decide(rules, state, now, cost)
    if not again.allowed:
        assert again.state == state
        assert decide(rules, state, now + again.wait, cost).allowed
        assert not decide(rules, state, now + again.wait - 1, cost).allowed


@pytest.mark.parametrize("cost", [0, -1])
def test_a_cost_is_at_least_one(cost):
    """A request can't be free, nor give anything back."""
    with pytest.raises(ValueError, match=f"cost={cost}"):
        decide((RateLimit(1, 1),), None, 0, cost)


def test_a_decision_says_what_it_is():
    """The representation names the outcome, what is left and the wait."""
    rules = (RateLimit(1, 60),)
    first = decide(rules, None, 0)
    assert repr(first) == "<Decision allowed remaining=0 retry_after=0.0>"
    assert repr(decide(rules, first.state, 0)) == "<Decision refused remaining=0 retry_after=60.0>"


@pytest.mark.parametrize(
    ("text", "limit", "per", "name"),
    [
        ("10/second", 10, 1, "second"),
        ("10/seconds", 10, 1, "second"),
        ("10/s", 10, 1, "second"),
        ("100/minute", 100, 60, "minute"),
        ("100/Minutes", 100, 60, "minute"),
        (" 100 / m ", 100, 60, "minute"),
        ("5/hour", 5, 3600, "hour"),
        ("5/hours", 5, 3600, "hour"),
        ("5/H", 5, 3600, "hour"),
        ("1/day", 1, 86400, "day"),
        ("1/days", 1, 86400, "day"),
        ("1/d", 1, 86400, "day"),
    ],
)
def test_a_limit_is_written_in_words(text, limit, per, name):
    """`N/unit`, with the unit in full, in the plural or as its letter, in any case and spacing."""
    rule = RateLimit.parse(text)
    assert (rule.limit, rule.per, rule.burst, rule.name) == (limit, per, None, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/minute",
        "100/",
        "100/fortnight",
        "100/min",
        "-1/second",
        "1.5/second",
        "1e3/s",
        "١٠/second",
        "1/s/s",
        "9" * 400 + "/s",
    ],
)
def test_another_form_is_refused(text):
    """What is not of that form raises a ValueError that names the text and the form."""
    with pytest.raises(ValueError, match="expected 'N/second', 'N/minute', 'N/hour' or 'N/day'") as caught:
        RateLimit.parse(text)
    assert repr(text) in str(caught.value)


def test_a_number_out_of_range_is_named_with_its_text():
    """The error of a number out of range names the text that it stood in."""
    with pytest.raises(ValueError, match=r"rate limit '0/second': limit=0: expected a whole number from 1"):
        RateLimit.parse("0/second")


def test_several_limits_are_separated_by_commas():
    """`parse_many` reads limits that hold together, in their order."""
    assert RateLimit.parse_many("10/second, 100/minute") == (RateLimit(10, 1), RateLimit(100, 60))
    with pytest.raises(ValueError, match="rate limit ' '"):
        RateLimit.parse_many("10/second, ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "limit=0: expected a whole number from 1 to 1000000000"),
        ({"limit": True}, "limit=True"),
        ({"limit": 1.5}, "limit=1.5"),
        ({"limit": 10**9 + 1, "per": 86400.0}, "limit=1000000001"),
        ({"limit": 1_000_001}, "limit=1000001 per 1.0 s: expected at most 1000000 a second"),
        ({"per": 0.0}, r"per=0.0: expected 0.001 to 31622400 seconds"),
        ({"per": math.inf}, "per=inf"),
        ({"per": math.nan}, "per=nan"),
        ({"per": 4e7}, "per=40000000.0"),
        ({"burst": 0}, "burst=0"),
        ({"burst": "2"}, "burst='2'"),
        ({"name": ""}, "name=''"),
    ],
)
def test_a_value_out_of_range_is_refused(values, message):
    """A `RateLimit` checks itself; the error names the attribute, the value and the range."""
    with pytest.raises(ValueError, match=message):
        RateLimit(**{"limit": 1, "per": 1.0, **values})


def test_a_limit_has_a_name():
    """Without a name of its own a limit is called by its unit, or by its seconds."""
    assert [RateLimit(1, per).name for per in (1, 60, 3600, 86400, 90, 0.5)] == [
        "second",
        "minute",
        "hour",
        "day",
        "90s",
        "0.5s",
    ]
    assert RateLimit(1, 60, name="sign-in").name == "sign-in"


def test_the_interval_is_never_shorter_than_the_rate_says():
    """Rounding to whole nanoseconds makes a limit a little stricter, never laxer."""
    rule = RateLimit(7, 1.0, burst=3)
    assert rule.interval == 142_857_143
    assert rule.tolerance == 3 * 142_857_143
