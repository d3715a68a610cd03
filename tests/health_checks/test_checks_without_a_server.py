"""Checks that ask nobody, and what is told of errors."""

import asyncio
import threading

import pytest

from asgi_resilience import context
from asgi_resilience.client import Call, Dependency
from asgi_resilience.health_check import HealthCheck
from asgi_resilience.health_checks import Outage, dependency_check, flag_check
from asgi_resilience.health_checks.measurement import Measurement
from asgi_resilience.health_checks.outage import asked_safely

pytestmark = pytest.mark.anyio


async def test_a_model_that_is_not_loaded_yet(report):
    """Unhealthy until the flag is set, whether it is an event or a function."""
    models = {}
    events = asyncio.Event(), threading.Event()
    checks = [flag_check(str(number), each) for number, each in enumerate(events)]
    checks.append(flag_check("model", lambda: models.get("price")))
    assert await report(*checks) == ("unhealthy", dict.fromkeys(("0", "1", "model"), "unhealthy"))
    for each in events:
        each.set()
    models["price"] = object()
    assert await report(*checks) == ("healthy", dict.fromkeys(("0", "1", "model"), "healthy"))


def test_a_flag_that_is_none():
    """A value in place of a function is an error when the check is made: it would never change."""
    with pytest.raises(TypeError, match="flag=True of model: expected an event or a function"):
        flag_check("model", True)


async def test_a_dependency_by_name(report):
    """Its breaker rules: unhealthy while it rejects, degraded with a fallback; it may be made after the check."""
    check = dependency_check("search")
    assert await report(check) == ("unhealthy", {"search": "unhealthy"})
    with pytest.raises(Outage, match="no Dependency of this process is called 'search'"):
        await check.check()
    search = Dependency("search")
    assert await report(check) == ("healthy", {"search": "healthy"})
    search.breaker.force_open()
    assert await report(check) == ("unhealthy", {"search": "unhealthy"})
    search.breaker.close()
    cached = Dependency("search", fallback=Call(asyncio.sleep))
    cached.breaker.force_open()
    assert await report(check) == ("degraded", {"search": "degraded"})
    search.breaker.force_open()
    assert await report(check) == ("unhealthy", {"search": "unhealthy"})


async def test_a_dependency_itself(report):
    """A dependency that is given is asked itself, whoever else has its name."""
    search, other = Dependency("geo"), Dependency("geo")
    other.breaker.force_open()
    check = dependency_check(search, critical=False)
    assert await report(check) == ("healthy", {"geo": "healthy"})
    search.breaker.force_open()
    assert await report(check) == ("degraded", {"geo": "unhealthy"})


class Silent(Exception):
    """Can't say what it is."""

    def __str__(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError("could not connect to postgresql://app:hunter2@db/main"),
            "could not connect to postgresql://",
        ),
        (OSError("host=db password=hunter2 user=app"), "host=db password="),
        (OSError("refused\nDETAIL: hunter2"), "OSError: refused"),
        (OSError("x" * 500), "OSError: " + "x" * 200),
        (OSError(), "OSError"),
        (Silent(), "Silent"),
    ],
)
async def test_what_is_told_of_an_error(error, told):
    """The class and the first line, cut and without secrets; the error itself stays out of reach."""

    async def fail():
        raise error

    with pytest.raises(Outage) as raised:
        await asked_safely(fail)()
    assert told in str(raised.value)
    assert len(str(raised.value)) <= 209
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None


async def test_a_measurement(numbers, monkeypatch):
    """Measured at once, then every 15 s; one that hangs is given up, and one that fails is reported once."""
    monkeypatch.setattr(context, "failures", {})
    now, outcomes = [0.0], [None, asyncio.sleep(60), OSError()]

    async def measure(sink, tags):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            await outcome
        sink.gauge("redis.memory_usage", 1, tags)

    measurement = Measurement("redis", measure, clock=lambda: now[0])
    for now[0] in (0.0, 14.9, 15.0, 29.9, 30.0):
        await measurement.take()
    assert numbers.all == [("gauge", "redis.memory_usage", 1, ("dependency:redis",))]
    assert outcomes == []
    assert list(context.failures.values()) == [1]


async def test_a_measurement_that_would_take_too_long(numbers, report):
    """A check that has been answered is healthy, although there was no time left to measure."""

    async def hang(sink, tags):
        await asyncio.sleep(60)

    measurement = Measurement("redis", hang)

    async def slow():
        await asyncio.sleep(0.05)
        await measurement.take()

    assert await report(HealthCheck("redis", slow, timeout=0.15)) == ("healthy", {"redis": "healthy"})


async def test_nobody_listens():
    """Without a sink a dependency is not asked for numbers."""
    asked = []
    await Measurement("redis", asked.append).take()
    assert asked == []
