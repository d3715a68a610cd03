"""What every test gets: virtual time on asyncio and on trio, and a guard against blocking the event loop."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster

from asgi_resilience.logs.sink import set_default_sink
from asgi_resilience.metric_sink import NULL
from asgi_resilience.telemetry.pipeline import set_pipeline
from asgi_resilience.telemetry.process_sink import set_process_sink
from asgi_resilience.testing import CapturedLogs, virtual_time

# Nothing is sent to an agent that may run here, except by the tests that are about it; subprocesses inherit this.
os.environ["DD_DOGSTATSD_DISABLE"] = "true"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "real_time: run this anyio test on the real clock (threads and sockets are involved, and timers armed).",
    )


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both backends, on virtual time unless the test is marked `real_time`.

    One backend only: `@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)`.
    """
    if request.node.get_closest_marker("real_time"):
        return request.param, {}
    return virtual_time(request.param)


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[None]:
    """A blocking call that asgi_resilience makes inside a running event loop is an error."""
    guard = BlockBuster("asgi_resilience")
    guard.functions["os.stat"].can_block_in("<frozen linecache>", {"checkcache", "updatecache"})
    guard.functions["os.stat"].can_block_in("linecache.py", {"checkcache", "updatecache"})
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@pytest.fixture(autouse=True)
def own_metrics() -> Iterator[None]:
    """No test finds the numbers, or the sink, of another."""
    pipeline, sink = set_pipeline(None), set_process_sink(NULL)
    yield
    set_process_sink(sink)
    mine = set_pipeline(pipeline)
    if mine is not None:
        mine.measure_runtime(None)
        mine.close()


@pytest.fixture(autouse=True)
def no_tracer() -> Iterator[None]:
    """A test that loads ddtrace does so in a process of its own: the others here count on its absence."""
    yield
    assert "ddtrace" not in sys.modules


@pytest.fixture
def kept_lines() -> Iterator[CapturedLogs]:
    """The lines of the stack stay in memory, and off the terminal."""
    kept = CapturedLogs()
    before = set_default_sink(kept)
    yield kept
    set_default_sink(before)
