"""The RateLimit fields: draft-ietf-httpapi-ratelimit-headers-11, written as structured fields (RFC 9651)."""

import re
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.quota.fields import QuotaPolicy
from asgi_resilience.quota.gcra import RateLimit, decide

SECOND = 1_000_000_000
STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
ITEM = re.compile(rf"({STRING});(?:q=(\d{{1,15}});w=(\d{{1,15}})|r=(\d{{1,15}});t=(\d{{1,15}}))")
LIST = re.compile(rf"{ITEM.pattern}(?:, {ITEM.pattern})*")


def policy(*rules, part=""):
    return QuotaPolicy(
        tuple(RateLimit.parse(rule) if isinstance(rule, str) else rule for rule in rules), part
    )


def after(rules, requests, now=0):
    state = None
    for _ in range(requests):
        decision = decide(rules, state, now)
        state = decision.state
    return decision


def limits(policy, decision):
    """Name, requests left and window of every item of the RateLimit field."""
    name, value = policy.limits(decision)
    assert name == b"ratelimit"
    assert LIST.fullmatch(value.decode())
    return [(found[1], int(found[4]), int(found[5])) for found in ITEM.finditer(value.decode())]


def test_the_policy_is_advertised():
    """`RateLimit-Policy` names each rule with its quota and its window in seconds (80)."""
    assert policy("10/second", "100/minute", "5/day").advertised == (
        b"ratelimit-policy",
        b'"second";q=10;w=1, "minute";q=100;w=60, "day";q=5;w=86400',
    )


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (RateLimit(10, 0.5), b'"0.5s";q=20;w=1'),
        (RateLimit(3, 1.5), b'"1.5s";q=4;w=2'),
        (RateLimit(10, 90, burst=2), b'"90s";q=10;w=90'),
        (RateLimit(1, 0.001), b'"0.001s";q=1000;w=1'),
    ],
)
def test_a_window_is_a_whole_number_of_seconds(rule, value):
    """A rule in fractions of a second is told as its equal in the next whole number, since `w` knows no others."""
    assert policy(rule).advertised[1] == value


def test_the_rules_of_a_part_are_named_for_it():
    """The rules for a path carry its name, so that clients don't take them for those of the whole application (87)."""
    assert policy("10/second", part="/search").names == ("/search:second",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ('say "hi"', b'"say \\"hi\\""'),
        ("back\\slash", b'"back\\\\slash"'),
        ("naïve", b'"na%C3%AFve"'),
        ("a\r\nSet-Cookie: x", b'"a%0D%0ASet-Cookie: x"'),
        ("a\x7fb", b'"a%7Fb"'),
        ("\ud800", b'"?"'),
    ],
)
def test_a_name_becomes_a_string_of_the_standard(name, value):
    """Quotes and backslashes are escaped, everything outside of printable ASCII is percent-encoded."""
    advertised = policy(RateLimit(1, 1, name=name)).advertised[1]
    assert advertised == value + b";q=1;w=1"
    assert LIST.fullmatch(advertised.decode())


def test_two_rules_can_t_have_one_name():
    """Rules that a client could not tell apart are refused; the error says how to name them."""
    with pytest.raises(ValueError, match=r"two rules have the same name .* give one another `name`"):
        policy("10/minute", "20/minute")
    assert policy("10/minute", RateLimit(20, 60, name="more")).names == ("minute", "more")


def test_what_is_left_is_told_with_the_time_in_which_it_is_earned():
    """`r` over `t` is the rate of the rule, however much of the burst is left; `t` is never 0."""
    rule = policy("100/minute")
    assert [limits(rule, after(rule.rules, requests)) for requests in (1, 50, 99)] == [
        [('"minute"', 99, 60)],
        [('"minute"', 50, 30)],
        [('"minute"', 1, 1)],
    ]


def test_with_nothing_left_the_time_until_the_next_is_told():
    """When the last request was admitted, `t` is the time until another will be."""
    rule = policy("10/minute")
    assert limits(rule, after(rule.rules, 10)) == [('"minute"', 0, 6)]


def test_a_refusal_names_the_rules_that_refuse():
    """With a 429 only exhausted rules are told: the window of another could end after `Retry-After`."""
    rule = policy("2/second", "100/hour")
    decision = after(rule.rules, 3)
    assert rule.refusing(decision) == ["second"]
    assert limits(rule, decision) == [('"second"', 0, 1)]


def test_the_spelling_that_is_kept_is_bounded():
    """The most common values are spelled once; a rule with a huge burst does not fill the memory with them."""
    rule = policy(RateLimit(1_000_000, 60.0))
    state = None
    for _ in range(3000):
        decision = decide(rule.rules, state, 0)
        state = decision.state
        first = limits(rule, decision)
        assert first == limits(rule, decision)
    assert len(rule._terms[0][2]) == 1024


@given(
    st.lists(
        st.builds(RateLimit, st.integers(1, 500), st.sampled_from([0.5, 1.0, 60.0, 3600.0])),
        min_size=1,
        max_size=3,
        unique_by=lambda rule: rule.name,
    ),
    st.lists(st.floats(0, 2), min_size=1, max_size=40),
)
def test_the_fields_keep_their_promises(rules, steps):
    """Whatever happened: the fields parse, no ratio exceeds the rule, and no window outlasts the wait of a refusal."""
    rule = QuotaPolicy(tuple(rules))
    now, state = 0, None
    for step in steps:
        now += int(step * rules[0].interval / 3)
        decision = decide(rule.rules, state, now)
        state = decision.state
        by_name = {f'"{each.name}"': each for each in rules}
        for name, left, window in limits(rule, decision):
            each = by_name[name]
            assert window >= 1
            assert left * each.interval <= window * SECOND
            if decision.wait:
                assert left == 0
                assert window <= max(1, ceil(decision.retry_after))
