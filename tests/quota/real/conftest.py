"""A real Redis, real time, asyncio."""

import pytest

from tests.real_servers import RedisServer


@pytest.fixture
def anyio_backend():
    """Asyncio, in real time: that is what redis-py runs on."""
    return "asyncio", {}


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: redis-py looks up its version in the file system when it connects."""


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """A Redis of our own that keeps running."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mortal(tmp_path):
    """A Redis of our own that may be stopped."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
