"""What a process decides without the shared store."""

import pytest

from asgi_resilience.quota.alone import Alone, scaled, seen_as
from asgi_resilience.quota.gcra import Decision, RateLimit
from tests.quota.shared_store import Clock

RULES = (RateLimit(100, 60.0), RateLimit(1000, 3600.0, burst=10))


def test_a_share_of_a_rule_is_at_least_one_request():
    """Limit and burst are divided, the name and the time stay."""
    assert scaled(RULES, 0.25) == (RateLimit(25, 60.0), RateLimit(250, 3600.0, burst=3))
    assert scaled((RateLimit(2, 1.0, burst=1, name="a"),), 0.1) == (RateLimit(1, 1.0, burst=1, name="a"),)


def test_a_share_of_the_limit_holds():
    """Four processes with a quarter each admit together what is allowed, and tell the client what is left."""
    clock = Clock()
    alone = Alone("local", 0.25, clock=clock)
    rules = RULES[:1]
    decisions = [alone.take("a", rules) for _ in range(26)]
    assert [each.allowed for each in decisions] == [True] * 25 + [False]
    assert [each.remaining for each in decisions] == [*range(24, -1, -1), 0]
    assert decisions[-1].retry_after == pytest.approx(2.4)
    assert decisions[-1].rules is rules
    clock.now += 2.4
    assert alone.take("a", rules).allowed


def test_a_cost_above_the_share_takes_all_of_it():
    """A request that the whole limit admits is never impossible."""
    alone = Alone("local", 0.25, clock=Clock())
    assert alone.take("a", RULES, 8).allowed
    assert not alone.take("a", RULES, 1).allowed


def test_open_admits_everything():
    """Whatever was asked before, everybody has all but this request left."""
    alone = Alone("open", 0.25)
    assert {alone.take("a", RULES).remaining for _ in range(20)} == {9}


def test_closed_refuses_for_a_second():
    """Nothing is left, and it may be asked again in a second."""
    refused = Alone("closed", 0.25).take("a", RULES)
    assert (refused.allowed, refused.retry_after, refused.remaining) == (False, 1.0, 0)


def test_seen_as_keeps_time_and_wait():
    """Only what is left is told in terms of the whole rules."""
    part = scaled(RULES[:1], 0.5)
    seen = seen_as(RULES[:1], Decision(part, (7 * part[0].interval,), 0, 5))
    assert (seen.remaining, seen.now, seen.wait) == (43, 0, 5)


def test_options_are_checked():
    """A value out of its range is refused with the name that it has in the shared store."""
    with pytest.raises(ValueError, match="when_lost='never': expected 'local', 'open' or 'closed'"):
        Alone("never", 0.5)
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=f"local_share={share}: expected above 0, at most 1"):
            Alone("local", share)
