"""Fixtures for pytest: name this module in `pytest_plugins`, or import the fixtures into a `conftest.py`.

pytest_plugins = ["asgi_resilience.testing.fixtures"]
"""

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from asgi_resilience.faults import Fault, FaultPlan

if TYPE_CHECKING:
    from asgi_resilience.client import Dependency

__all__ = ("InjectInto", "fault_plan", "inject_faults_into")


class InjectInto(Protocol):
    """What the fixture `inject_faults_into` is."""

    def __call__(self, dependency: "Dependency | str", /, *faults: Fault) -> FaultPlan:
        """Make these faults in the place of a dependency's calls until the test ends."""
        ...


@pytest.fixture
def fault_plan() -> Generator[FaultPlan]:
    """A plan for `FaultInjectionMiddleware` that makes none yet, with the same dice in every run; empty after the test."""
    plan = FaultPlan(seed=0)
    yield plan
    plan.replace()


@pytest.fixture
def inject_faults_into() -> Generator[InjectInto]:
    """Makes faults in the place of a dependency's calls: `inject_faults_into(postgres, Fault(Abort()))`."""
    from asgi_resilience.client import inject_faults  # noqa: PLC0415 - an optional part, only for those who ask

    with ExitStack() as until_the_end:

        def inject(dependency: "Dependency | str", /, *faults: Fault) -> FaultPlan:
            plan = FaultPlan(*faults, seed=0)
            return until_the_end.enter_context(inject_faults(dependency, plan))

        yield inject
