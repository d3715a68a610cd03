"""Real servers: PostgreSQL, Redis and S3. One that this Python has no package for is a skip that says so."""

import pytest


@pytest.fixture
def anyio_backend():
    """asyncio, in real time."""
    return "asyncio", {}


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: the drivers read certificates and password files when they connect."""
