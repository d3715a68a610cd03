"""How long to wait before the next attempt, and what is made of backoff."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.client import BudgetPolicy, RetryPolicy
from asgi_resilience.client.classification import Rule, Verdict
from asgi_resilience.client.facts import Facts

POLICY = RetryPolicy()


def verdict(backoff="exponential", base=None, retry_after=None):
    """What was decided about a failure."""
    return Verdict(Rule("rule", 3, backoff=backoff, base=base), Facts(retry_after=retry_after))


def delays(found, retries, policy=POLICY, rnd=0.5):
    """The waits before so many retries, in milliseconds."""
    return [round(policy.delay(found, number, lambda: rnd) * 1000, 3) for number in range(retries)]


def test_the_specifications_timeline():
    """Without jitter 100, 200, 400 ms; with it 75–125, 150–250, 300–500 ms."""
    assert delays(verdict(), 3) == [100, 200, 400]
    assert delays(verdict(), 3, rnd=0.0) == [75, 150, 300]
    assert delays(verdict(), 3, rnd=1.0) == [125, 250, 500]


def test_the_cap_holds_with_jitter():
    """No wait of our own is longer than the cap, jitter included."""
    assert delays(verdict(), 9)[5:] == [3200, 5000, 5000, 5000]
    assert delays(verdict(), 9, rnd=1.0)[5:] == [4000, 5000, 5000, 5000]
    assert delays(verdict(), 9, rnd=0.0)[5:] == [2400, 3750, 3750, 3750]


def test_linear():
    """Linear waits grow by the base."""
    assert delays(verdict("linear"), 5) == [100, 200, 300, 400, 500]


def test_immediate():
    """Immediate retries don't wait."""
    assert delays(verdict("immediate"), 3, rnd=1.0) == [0, 0, 0]


def test_a_rule_may_have_its_own_base():
    """The base of the rule goes before that of the policy."""
    assert delays(verdict(base=1.0), 4) == [1000, 2000, 4000, 5000]
    assert delays(verdict(), 2, policy=RetryPolicy(base=0.01, jitter=0.0), rnd=0.0) == [10, 20]


def test_retry_after_is_never_undercut():
    """What the server asks for is waited in full and a little longer, also beyond the cap; jitter only adds."""
    assert delays(verdict(retry_after=7.0), 1, rnd=0.0) == [7005]
    assert delays(verdict(retry_after=7.0), 1, rnd=1.0) == [8755]
    assert delays(verdict("immediate", retry_after=7.0), 1, rnd=0.0) == [7005]


def test_our_own_schedule_is_the_floor():
    """A server that asks for less, or for nothing, gets our own wait."""
    assert delays(verdict(retry_after=0.0), 2) == [100, 200]
    assert delays(verdict(retry_after=0.01), 2) == [100, 200]


@given(
    st.integers(0, 10_000),
    st.floats(0.0, 1.0),
    st.one_of(st.none(), st.floats(0.0, 1e9)),
    st.sampled_from(("exponential", "linear", "immediate")),
)
def test_every_delay_is_sane(retried, chance, asked, backoff):
    """No delay is negative, infinite, or shorter than what was asked for; without being asked, none exceeds the cap."""
    delay = POLICY.delay(verdict(backoff, retry_after=asked), retried, lambda: chance)
    assert 0 <= delay < float("inf")
    assert delay >= (asked or 0.0)
    assert asked or delay <= POLICY.cap


def test_an_upper_bound_over_all_rules():
    """`max_retries` of the policy limits every rule, and raises none."""
    rule = Rule("rule", 3)
    assert [RetryPolicy(max_retries=bound).retries(rule) for bound in (None, 0, 2, 9)] == [3, 0, 2, 3]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_retries", -1),
        ("base", 0.0),
        ("cap", float("inf")),
        ("cap", float("nan")),
        ("jitter", 1.0),
        ("jitter", -0.1),
        ("max_retry_after", 0.0),
    ],
)
def test_values_out_of_range(option, value):
    """A policy names the value that it can't have."""
    with pytest.raises(ValueError, match=f"{option}="):
        RetryPolicy(**{option: value})


def test_policies_are_values():
    """Equal policies are equal, and can't be changed."""
    assert RetryPolicy() == RetryPolicy(budget=BudgetPolicy())
    with pytest.raises(AttributeError):
        POLICY.base = 1.0


PROGRAM = """
import asyncio, inspect, warnings
import asgi_resilience
{change}
import asgi_resilience.client as client

async def main():
    errors = iter([ConnectionError(), None] + [OSError()] * 5)

    async def call():
        error = next(errors, None)
        if error is not None:
            raise error
        return "value"

    policy = client.BreakerPolicy(open_for=0.01)
    dependency = client.Dependency("db", retry=client.RetryPolicy(base=0.001), breaker=policy)
    print(await dependency.call(call))
    for expected in [OSError] * 5 + [client.CircuitOpen]:
        try:
            await dependency.call(call)
        except expected as error:
            assert type(error) is expected
    await asyncio.sleep(0.02)
    for _ in range(3):
        await dependency.call(call)
    print(dependency.breaker.label)

asyncio.run(main())
"""
DEPRECATED = """
def iscoroutinefunction(func):
    warnings.warn("asyncio.iscoroutinefunction is deprecated", DeprecationWarning, stacklevel=2)
    return inspect.iscoroutinefunction(func)
asyncio.iscoroutinefunction = iscoroutinefunction
"""
REMOVED = "del asyncio.iscoroutinefunction"
CLOCKS = """
import datetime
class Now(datetime.datetime):
    @classmethod
    def utcnow(cls):
        raise DeprecationWarning("utcnow")
datetime.datetime = Now
"""


@pytest.mark.parametrize(
    "change", ["", DEPRECATED, REMOVED, CLOCKS], ids=["as it is", "3.14", "3.16", "3.12"]
)
def test_later_pythons(change):
    """What Python deprecates or removes of what backoff and aiobreaker use is not missed, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(change=change)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "value\nclosed\n"), done.stderr


def test_a_fork_of_backoff_is_noticed():
    """A package that calls itself backoff, and is another version, is warned about."""
    program = "import backoff; backoff.__version__ = '3.0.0'; import asgi_resilience.client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "backoff is 3.0.0 instead of 2.2.1; retries were tested with the latter"
