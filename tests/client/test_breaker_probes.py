"""The half-open circuit: few probes, and what they decide."""

import asyncio

import pytest

from asgi_resilience.client import BreakerPolicy
from asgi_resilience.client.breaker import CircuitOpen, PolicyBreaker
from tests.client.breakers import Gates, MissingError, NeutralError, failing, judge, succeed

pytestmark = pytest.mark.anyio


async def test_three_successes_close_it(breaker, emitted):
    """After thirty seconds the next calls are probes; the third success in a row closes the circuit."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    labels = []
    for _ in range(4):
        await breaker.call_async(succeed)
        labels.append(breaker.label)
    assert labels == ["half_open", "half_open", "closed", "closed"]
    assert breaker.last_error is None
    assert [(each.old, each.new, each.reason) for each in emitted[1:]] == [
        ("open", "half_open", "time for probes"),
        ("half_open", "closed", "3 successes in a row"),
    ]


async def test_one_failed_probe_opens_it_again(breaker):
    """A probe that fails opens the circuit for its whole time again; its caller sees its exception."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    await breaker.call_async(succeed)
    await failing(breaker, error=TimeoutError)
    assert (breaker.label, breaker.retry_after()) == ("open", 30.0)
    assert isinstance(breaker.last_error, TimeoutError)


@pytest.mark.parametrize(
    ("close_after", "outcomes", "label"),
    [
        (1, "S", "closed"),
        (1, "F", "open"),
        (2, "S", "half_open"),
        (2, "SS", "closed"),
        (2, "SF", "open"),
        (3, "SSS", "closed"),
        (3, "SSF", "open"),
        (3, "SNSAS", "closed"),
        (3, "NNNNAAAA", "half_open"),
        (3, "NSF", "open"),
        (5, "SSSS", "half_open"),
    ],
)
async def test_probes(clock, close_after, outcomes, label):
    """Thresholds and outcomes of probes, as other breakers publish them: success, failure, neutral, a mere answer."""
    policy = BreakerPolicy(close_after=close_after)
    breaker = PolicyBreaker("db", policy, judge=judge, clock=clock)
    breaker.half_open()
    for outcome in outcomes:
        if outcome == "S":
            await breaker.call_async(succeed)
        else:
            await failing(breaker, error={"F": OSError, "N": NeutralError, "A": MissingError}[outcome])
    assert breaker.label == label


async def test_closed_again_it_starts_from_nothing(breaker):
    """What happened before the circuit opened no longer counts when it is closed again."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    for _ in range(3):
        await breaker.call_async(succeed)
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_three_of_a_herd_get_through(breaker):
    """Of five hundred calls at the moment of half-open, three are probes and the others are rejected."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    herd = Gates(breaker)
    await herd.begin(500)
    assert herd.rejected == 497
    assert herd.tasks[3].exception().retry_after == 1.0
    for number in range(3):
        await herd.end(number)
    assert breaker.label == "closed"


async def test_probes_are_never_more_than_successes_needed(breaker):
    """A success takes its place for good: with one of three done, two may be in flight."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    herd = Gates(breaker)
    await herd.begin(10)
    assert herd.rejected == 8
    await herd.end(0)
    await herd.end(1)
    assert breaker.label == "closed"


async def test_a_cancelled_probe_gives_its_place_back(breaker):
    """Probes that are cancelled say nothing, and others may take their place."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    herd = Gates(breaker)
    await herd.begin(3)
    for task in herd.tasks:
        task.cancel()
    await asyncio.wait(herd.tasks)
    for _ in range(3):
        await breaker.call_async(succeed)
    assert breaker.label == "closed"


@pytest.mark.parametrize("error", [NeutralError, MissingError])
async def test_a_probe_that_says_nothing_gives_its_place_back(breaker, error):
    """A neutral error, or a mere answer, neither closes nor opens a half-open circuit."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await failing(breaker, 20, error)
    assert breaker.label == "half_open"
    for _ in range(3):
        await breaker.call_async(succeed)
    assert breaker.label == "closed"


async def test_probes_that_never_end(breaker):
    """Probes that hang for `half_open_for` seconds count as a failure: the circuit opens, and is probed again later."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    hanging = Gates(breaker)
    await hanging.begin(3)
    breaker.clock.now = 59.0
    with pytest.raises(CircuitOpen):
        await breaker.call_async(succeed)
    assert breaker.label == "half_open"
    breaker.clock.now = 60.0
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(succeed)
    assert (breaker.label, rejected.value.retry_after) == ("open", 30.0)
    breaker.clock.now = 90.0
    await breaker.call_async(succeed)
    for number in range(3):
        await hanging.end(number, OSError())
    assert breaker.label == "half_open"


async def test_a_late_success_does_not_close(breaker):
    """A probe of an earlier half-open state changes nothing when it ends in a later one."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    early = Gates(breaker)
    await early.begin(3)
    await early.end(0, OSError())
    assert breaker.label == "open"
    await early.end(1)
    assert (breaker.label, breaker.retry_after()) == ("open", 30.0)
    breaker.clock.now = 60.0
    await breaker.call_async(succeed)
    await breaker.call_async(succeed)
    await early.end(2)
    assert breaker.label == "half_open"
