"""What the tests of the client share: virtual time on asyncio, and a dependency whose events are kept."""

from collections.abc import Callable
from typing import Any

import pytest

from asgi_resilience.client import Dependency, Event
from asgi_resilience.client.breaker import PolicyBreaker
from asgi_resilience.context import RequestContext
from asgi_resilience.testing import virtual_time
from tests.client.breakers import judge


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """asyncio, on virtual time unless the test is marked `real_time`."""
    return ("asyncio", {}) if request.node.get_closest_marker("real_time") else virtual_time("asyncio")


@pytest.fixture
def events() -> list[Event]:
    """What has happened to the dependencies of `make`."""
    return []


@pytest.fixture
def make(events: list[Event]) -> Callable[..., Dependency]:
    """Makes dependencies without chance: every jitter is in the middle of its range."""

    def made(name: str = "db", **options: Any) -> Dependency:
        return Dependency(name, **{"rnd": lambda: 0.5, "listeners": [events.append], **options})

    return made


@pytest.fixture
def record() -> RequestContext:
    """The record of a request."""
    return RequestContext({"type": "http", "method": "GET", "path": "/", "headers": []})


@pytest.fixture
def clock() -> "Clock":
    """A clock that is set by hand."""
    return Clock()


class Clock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def emitted():
    """What the breaker has said."""
    return []


@pytest.fixture
def breaker(clock, emitted):
    """A breaker of the default policy."""
    return PolicyBreaker("db", judge=judge, emit=emitted.append, clock=clock)
