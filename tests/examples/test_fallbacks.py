"""What each part of the reference system does when it can't do its work, seen from inside."""

import asyncio
import json
import logging

import pytest

pytest.importorskip("asyncpg", reason="asyncpg is not installed")
pytest.importorskip("aiobotocore", reason="aiobotocore is not installed")
pytest.importorskip("redis", reason="redis is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

import httpx2

from asgi_resilience import AppError
from asgi_resilience.client import Dependency
from examples.inference_service.errors import Refuse
from examples.inference_service.features import Features
from examples.inference_service.limits import REHEARSAL, Limits
from examples.inference_service.parts.process import free_port
from examples.inference_service.parts.seed import AWS_KEYS
from examples.inference_service.provider import Provider
from examples.inference_service.stage import stage
from examples.inference_service.storage import Storage

pytestmark = pytest.mark.anyio

MATCH = {"id": "match_ars_tot", "home": "Arsenal", "away": "Tottenham Hotspur"}


@pytest.fixture
def aws_keys(monkeypatch):
    """What a client of S3 does not work without."""
    for name, value in AWS_KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.real_time
@pytest.mark.usefixtures("aws_keys")
async def test_a_model_that_was_never_loaded(system, caplog):
    """A process whose live model is not there begins with the version before it, and somebody is alerted."""
    async with Storage.open(system.urls["S3_ENDPOINT_URL"], ("v9.9", "v2.2"), REHEARSAL) as storage:
        assert (await storage.model())["version"] == "v2.2"
    (alert,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert alert.error_code == "MODEL_LOADING_FAILED"
    assert alert.s3_path == "s3://models/match-outcome/v9.9.json"
    assert alert.exception == "botocore.errorfactory.NoSuchKey"


@pytest.mark.real_time
@pytest.mark.usefixtures("aws_keys")
async def test_no_model_at_all(system):
    """Where no version can be loaded, there is a code for that."""
    async with Storage.open(system.urls["S3_ENDPOINT_URL"], ("v9.9", "v9.8"), REHEARSAL) as storage:
        with pytest.raises(AppError) as refused:
            await storage.model()
    assert refused.value.error_code == "MODEL_LOADING_FAILED"


@pytest.mark.real_time
async def test_no_odds_at_all():
    """A provider that was never there leaves nothing to fall back on; what was asked is asked again later."""
    async with Provider.open(f"http://127.0.0.1:{free_port()}", REHEARSAL) as provider:
        with pytest.raises(AppError) as refused:
            await provider.odds("match_ars_tot")
        assert refused.value.error_code == "ODDS_DATA_UNAVAILABLE"
        assert refused.value.retry_after > 0
        await provider.calls.aclose()


@pytest.mark.real_time
async def test_queued_odds(system):
    """What the provider refuses is queued, and fetched when the provider allows it: the next user has it fresh."""

    def fault(**options):
        httpx2.post(f"{system.urls['PROVIDER_URL']}/admin/faults", json=options).raise_for_status()

    fault(mode="limit", per_second=0, retry_after=1)
    try:
        async with Provider.open(system.urls["PROVIDER_URL"], Limits()) as provider:
            await asyncio.sleep(0.2)  # the ingestion is refused, too
            with pytest.raises(AppError):
                await provider.odds("match_ars_tot")
            fault(mode="ok")
            key = f"{system.urls['PROVIDER_URL']}/odds/match_ars_tot"
            async with asyncio.timeout(10.0):
                while await provider._store.get(key) is None:  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(0.1)
            fault(mode="stall")
            assert await provider.odds("match_ars_tot") == {"home": 1.62, "draw": 3.66, "away": 6.21}
            await provider.calls.aclose()
    finally:
        fault(mode="ok")


class SlowDatabase:
    """Takes its time."""

    async def team_stats(self, teams):
        await asyncio.sleep(60.0)


async def test_features_that_take_too_long():
    """After three seconds there is an answer, which says what was too slow."""
    with pytest.raises(AppError) as refused:
        await Features(SlowDatabase(), Limits()).of(MATCH)
    assert refused.value.error_code == "FEATURE_COMPUTATION_TIMEOUT"
    assert refused.value.details == "Features were not complete after 3 seconds"
    assert asyncio.get_running_loop().time() == 3.0


async def test_a_refusal_names_its_cause_in_the_log_alone():
    """The client gets the code; the class of the exception is for the log."""
    search = Dependency("search", retry=None, fallback=Refuse("ODDS_DATA_UNAVAILABLE", "none"))

    @search
    async def refused():
        raise ConnectionRefusedError("postgres://user:secret@db")

    with pytest.raises(AppError) as error:
        await refused()
    assert error.value.context == {"dependency": "search", "exception": "ConnectionRefusedError"}
    assert "secret" not in json.dumps([error.value.details, error.value.context])


async def test_a_refusal_hides_no_mistake():
    """A mistake in the program stays what it is."""
    search = Dependency("search", retry=None, fallback=Refuse("ODDS_DATA_UNAVAILABLE"))
    with pytest.raises(TypeError):
        await stage("outer", seconds=1.0).call(search.call, divided)


async def divided():
    """A mistake."""
    raise TypeError
