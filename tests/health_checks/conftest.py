"""Real servers, real time, asyncio."""

import pytest

from asgi_resilience.health_check import HealthChecks
from asgi_resilience.telemetry.process_sink import set_process_sink
from tests.real_servers import PostgresServer, RedisServer
from tests.telemetry.kept_numbers import KeptNumbers


@pytest.fixture
def anyio_backend():
    """Asyncio, in real time: that is what the drivers run on."""
    return "asyncio", {}


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: the drivers read certificates and password files when they connect."""


@pytest.fixture
def numbers():
    """What was measured, as the process's sink."""
    kept = KeptNumbers()
    before = set_process_sink(kept)
    yield kept
    set_process_sink(before)


@pytest.fixture
def report():
    """Asks checks anew, as the health layer does; returns the whole status and each one's."""

    async def asked(*checks):
        return await HealthChecks(checks, timeout=5.0, ttl=0.0, clock=lambda: 0.0).ask()

    return asked


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A PostgreSQL of our own, running."""
    server = PostgresServer(tmp_path_factory)
    yield server
    server.delete()


@pytest.fixture
def redis_server(tmp_path):
    """A Redis of our own, running, with a memory limit and a password."""
    server = RedisServer(tmp_path, "--maxmemory", "50mb", "--requirepass", "hunter2secret")
    server.start()
    yield server
    server.stop()
