"""S3 as moto serves it: a model that is not there, and the one before."""

import logging

import pytest

from asgi_resilience.client import Previous, RetryPolicy
from asgi_resilience.client.nested_retries import warn_of_nested_retries

aiobotocore = pytest.importorskip("aiobotocore.session", reason="aiobotocore is not installed")
moto = pytest.importorskip("moto.server", reason="moto is not installed")

from aiobotocore.config import AioConfig  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*"),
]


@pytest.fixture
def address(monkeypatch):
    """A server that speaks S3, and somebody's credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def s3(address):
    """A client without retries of its own, and a bucket with one model."""
    config = AioConfig(retries={"total_max_attempts": 1})
    session = aiobotocore.get_session()
    async with session.create_client(
        "s3", region_name="us-east-1", endpoint_url=address, config=config
    ) as client:
        await client.create_bucket(Bucket="models")
        await client.put_object(Bucket="models", Key="price/v1", Body=b"model one")
        yield client


async def test_the_previous_model(s3, make, events):
    """A new version that is not there is no reason to be without a model: the previous one goes on."""
    storage = make("s3", timeout=10.0, fallback=Previous(key=lambda name, version: name))

    @storage
    async def load(name, version):
        found = await s3.get_object(Bucket="models", Key=f"{name}/{version}")
        async with found["Body"] as body:
            return await body.read()

    assert await load("price", "v1") == b"model one"
    assert await load("price", "v2") == b"model one"
    assert [each.rule for each in events if hasattr(each, "rule")] == ["client error"]
    assert events[-1].fallback == "Previous"
    with pytest.raises(ClientError, match="NoSuchKey"):
        await load("rain", "v1")
    await s3.put_object(Bucket="models", Key="price/v2", Body=b"model two")
    assert await load("price", "v2") == b"model two"


async def test_a_storage_that_is_down(s3, make, address):
    """A connection that is refused is repeated; then the previous model goes on."""
    storage = make("s3", retry=RetryPolicy(base=0.01), fallback=Previous(key=lambda name: name))
    session = aiobotocore.get_session()
    config = AioConfig(retries={"total_max_attempts": 1}, connect_timeout=1)
    async with session.create_client(
        "s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:9", config=config
    ) as down:
        up = [s3, down]

        async def load(name):
            client = up[0]
            found = await client.get_object(Bucket="models", Key=f"{name}/v1")
            async with found["Body"] as body:
                return await body.read()

        assert await storage.call(load, "price") == b"model one"
        up.pop(0)
        assert await storage.call(load, "price") == b"model one"


async def test_its_own_retries(address, caplog):
    """A client of botocore retries by itself, which is warned about; one with a single attempt does not."""
    session = aiobotocore.get_session()
    for config, warned in (
        (None, True),
        (AioConfig(retries={"max_attempts": 2}), True),
        (AioConfig(retries={"total_max_attempts": 1}), False),
    ):
        caplog.clear()
        async with session.create_client(
            "s3", region_name="us-east-1", endpoint_url=address, config=config
        ) as client:
            with caplog.at_level(logging.WARNING, "asgi_resilience.client"):
                warn_of_nested_retries("s3", client.get_object)
        assert ("by itself; pass Config(retries={'total_max_attempts': 1})" in caplog.text) == warned
