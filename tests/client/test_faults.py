"""Faults in the place of a dependency's calls."""

import pytest

from asgi_resilience.client import (
    AttemptFailed,
    AttemptTimedOut,
    CircuitOpen,
    StateChanged,
    inject_faults,
)
from asgi_resilience.client.faults import injected
from asgi_resilience.context import request_scope
from asgi_resilience.faults import (
    Abort,
    ErrorStatus,
    Fault,
    FaultPlan,
    InjectedFault,
    Latency,
    Raise,
    SlowBody,
    Truncate,
)
from asgi_resilience.testing import FailingDependency
from tests.client.calls import now, only

pytestmark = pytest.mark.anyio
pytest_plugins = ["asgi_resilience.testing.fixtures"]


async def test_only_inside_of_the_block(make):
    """Faults are made while the block lasts, for every variant of the dependency, and for no other."""
    db, other = make(retry=None), make("other", retry=None)
    works = FailingDependency("ok")
    with inject_faults(db, [Fault(Raise(KeyError))]) as plan:
        for variant in (db, db.using(timeout=1.0)):
            with pytest.raises(KeyError):
                await variant.call(works)
        assert await other.call(works) == "ok"
        plan.replace()
        assert await db.call(works) == "ok"
    assert await db.call(works) == "ok"
    assert injected == {}


async def test_a_latency_meets_the_timeout(make):
    """The attempt's own timeout ends it."""
    db = make(retry=None, timeout=2.0)
    with inject_faults("db", [Fault(Latency(5.0))]), pytest.raises(AttemptTimedOut):
        await db.call(FailingDependency("ok"))
    assert now() == 2.0
    with inject_faults("db", [Fault(Latency(1.0))]):
        assert await db.call(FailingDependency("ok")) == "ok"
    assert now() == 3.0


async def test_an_error_status_is_classified(make, events):
    """The matrix sees a status as it would see a real one: a 503 is retried, and what it asks for is heard."""
    with inject_faults("db", [Fault(ErrorStatus(503))]), pytest.raises(InjectedFault) as raised:
        await make().call(FailingDependency("ok"))
    assert raised.value.status == 503
    assert len(only(events, AttemptFailed)) == 4


async def test_aborts_open_the_circuit(make, events):
    """A dependency whose connections are cut ends with an open circuit."""
    db = make(retry=None)
    with inject_faults(db, [Fault(Abort())]):
        for _ in range(5):
            with pytest.raises(ConnectionResetError):
                await db.call(FailingDependency("ok"))
        with pytest.raises(CircuitOpen):
            await db.call(FailingDependency("ok"))
    assert only(events, StateChanged)[0].new == "open"


async def test_conditions_are_about_the_request(make, record):
    """Path, id and header are those of the request that the call is made for."""
    db = make(retry=None)
    record.path, record.request_id = "/items/1", "req_1"
    record.scope = {"headers": [(b"x-chaos", b"yes")]}
    faults = [Fault(Raise(KeyError), path="/items", request_id="req_1", header="X-Chaos: yes")]
    works = FailingDependency("ok")
    with inject_faults(db, faults):
        assert await db.call(works) == "ok"
        with request_scope(record), pytest.raises(KeyError):
            await db.call(works)
        record.scope = None  # the request has ended, and a task of it goes on
        with request_scope(record):
            assert await db.call(works) == "ok"
    assert record.fields == {"injected_faults": ("db:exception",)}


async def test_every_fault_is_logged(make, caplog):
    """Also outside of a request there is a trace of it."""
    caplog.set_level("INFO", "asgi_resilience.faults")
    with inject_faults("db", [Fault(Latency(1.0))]) as plan:
        await make().call(FailingDependency("ok"))
    assert caplog.messages[-1] == "db: injected latency"
    assert plan.injected == {"latency": 1}


@pytest.mark.parametrize("effect", [Truncate(5), SlowBody(10.0)])
async def test_a_call_has_no_body(make, effect):
    """Faults of a body are refused, with the place where they can be made; a plan that gets them later makes none."""
    with pytest.raises(ValueError, match=r"of db: a call has no body; .* FaultyTransport"):
        inject_faults("db", [Fault(effect)]).__enter__()
    with inject_faults("db", FaultPlan()) as plan:
        plan.replace(Fault(effect))
        assert await make().call(FailingDependency("ok")) == "ok"


def test_one_plan_at_a_time():
    """A second plan for a dependency would leave open which of them holds."""
    with (
        inject_faults("db", []),
        pytest.raises(ValueError, match="'db': has a plan already"),
        inject_faults("db", []),
    ):
        pass
    assert injected == {}


async def test_the_fixture(make, inject_faults_into):
    """The fixture makes faults until the test ends."""
    plan = inject_faults_into("db", Fault(Raise(KeyError)))
    with pytest.raises(KeyError):
        await make(retry=None).call(FailingDependency("ok"))
    assert injected == {"db": plan}


def test_the_fixture_cleans_up():
    """What the test before has injected is gone."""
    assert injected == {}
