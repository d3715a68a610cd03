"""Which faults are made, how often and for whom."""

import pytest

from asgi_resilience.context import failures
from asgi_resilience.faults import Abort, Fault, FaultPlan, Latency
from asgi_resilience.faults.plan import IN_PRODUCTION
from asgi_resilience.metric_names import FAULTS_INJECTED

ABORT = Fault(Abort())


def drawn(plan, path="/", request_id=None, **headers):
    """The names of what is made for one request."""
    found = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return [each.name for each in plan.draw(path, request_id, found.get)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effect": "latency"}, "effect='latency': expected one of "),
        ({"rate": 1.5}, "rate=1.5: expected 0 to 1"),
        ({"path": "items"}, "path='items': expected a path that starts with '/'"),
        ({"header": ": yes"}, "header=': yes': expected 'Name' or 'Name: value'"),
    ],
)
def test_a_wrong_option(options, message):
    """A fault that could never be made is refused at once."""
    with pytest.raises(ValueError) as raised:
        Fault(**{"effect": Abort(), **options})
    assert str(raised.value).startswith(message)


def test_conditions():
    """Every condition that is given must hold: the path or below it, the header or its value, the id."""
    plan = FaultPlan(Fault(Abort(), path="/items/"))
    assert drawn(plan, "/items") == drawn(plan, "/items/1") == ["abort"]
    assert drawn(plan, "/items-old") == drawn(plan, "/") == []
    plan.replace(Fault(Abort(), path="/"))
    assert drawn(plan, "/anything") == ["abort"]
    plan.replace(Fault(Abort(), header="X-Chaos"))
    assert drawn(plan, x_chaos="") == ["abort"]
    assert drawn(plan) == []
    plan.replace(Fault(Abort(), header="X-Chaos: stall"))
    assert drawn(plan, x_chaos="stall") == ["abort"]
    assert drawn(plan, x_chaos="cut") == []
    plan.replace(Fault(Abort(), request_id="req_1", path="/a"))
    assert drawn(plan, "/a", "req_1") == ["abort"]
    assert drawn(plan, "/b", "req_1") == drawn(plan, "/a", "req_2") == []


def test_the_same_seed_makes_the_same_faults():
    """A seed repeats a run; the share that is met is about the rate."""
    first, second = (FaultPlan(Fault(Abort(), rate=0.3), seed=7) for _ in range(2))
    run = [drawn(first) for _ in range(1000)]
    assert run == [drawn(second) for _ in range(1000)]
    assert 250 < run.count(["abort"]) < 350
    assert first.random() == second.random()


def test_no_rate_no_fault():
    """A rate of 0 never meets anybody, a rate of 1 everybody."""
    plan = FaultPlan(Fault(Abort(), rate=0.0), Fault(Latency(1), rate=1.0))
    assert all(drawn(plan) == ["latency"] for _ in range(1000))


def test_a_plan_can_be_changed():
    """`replace` is for good, `active` for a block; an empty plan is false."""
    plan = FaultPlan()
    assert not plan
    with plan.active(ABORT):
        assert plan.faults == (ABORT,)
        with plan.active(Fault(Latency(1))):
            assert drawn(plan) == ["abort", "latency"]
    assert plan.faults == ()
    plan.replace(ABORT)
    assert plan
    assert FaultPlan.of(plan) is plan
    assert FaultPlan.of([ABORT]).faults == (ABORT,)


@pytest.mark.parametrize("name", ["production", "PROD", "eu-prod", "prod_2", "live", "prd.eu"])
def test_no_faults_in_production(name):
    """Production is refused wherever it is named, until an option and a variable both allow it."""
    for make in (
        lambda **options: FaultPlan(environment=name, environ={}, **options),
        lambda **options: FaultPlan(environ={"DD_ENV": name}, **options),
        lambda **options: FaultPlan(
            environment="staging", environ={"ASGI_RESILIENCE_ENVIRONMENT": name}, **options
        ),
        lambda **options: FaultPlan.of(FaultPlan(environ={}, **options), environment=name),
        lambda **options: FaultPlan(
            environment=name, allow_in_production=True, environ={IN_PRODUCTION: "no"}
        ),
        lambda **options: FaultPlan(environment=name, environ={IN_PRODUCTION: "yes"}),
    ):
        with pytest.raises(
            ValueError, match=f"^environment='{name}': no faults in production, unless allow_in"
        ):
            make()
    twice = {"environ": {IN_PRODUCTION: "YES"}, "allow_in_production": True}
    assert not FaultPlan(environment=name, **twice)
    assert FaultPlan.of(FaultPlan(ABORT, **twice), environment=name)


@pytest.mark.parametrize("name", ["", "staging", "pre-prod", "non-production", "reproduction", "delivery"])
def test_elsewhere_they_are_made(name):
    """What only sounds like production is none."""
    assert FaultPlan(ABORT, environment=name, environ={}).faults == (ABORT,)


def test_a_mark_counts():
    """Every effect is counted, in the plan and in the sink; a sink that fails changes nothing."""

    class Sink:
        def increment(self, *arguments):
            seen.append(arguments)
            raise OSError

    seen = []
    plan = FaultPlan(metrics=Sink())
    plan.mark(Abort(), None, "postgres")
    assert plan.injected == {"abort": 1}
    assert seen == [("faults.injected", 1, ("fault:abort", "target:postgres"))]
    assert FAULTS_INJECTED.tags == ("fault", "target")
    assert failures.pop(f"{Sink.increment.__qualname__}") == 1
