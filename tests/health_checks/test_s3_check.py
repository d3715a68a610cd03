"""`HeadBucket` against S3 as moto serves it, stopped and started."""

import logging

import pytest

from asgi_resilience.health_checks import s3_check

aiobotocore = pytest.importorskip("aiobotocore.session", reason="aiobotocore is not installed")
moto = pytest.importorskip("moto.server", reason="moto is not installed")

from aiobotocore.config import AioConfig  # noqa: E402

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*"),
]


@pytest.fixture
def serve(monkeypatch):
    """Starts a server that speaks S3 on a port, any at first; the buckets outlive it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2secret")
    running = []

    def start(port=0):
        server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        running.append(server)
        return server

    yield start
    for each in running:
        each.stop()


async def test_stopped_and_started_again(serve, report, caplog):
    """Healthy when the bucket is there, unhealthy for one that is not, and while the storage is down."""
    server = serve()
    host, port = server.get_host_and_port()
    config = AioConfig(retries={"total_max_attempts": 1}, connect_timeout=1)
    async with aiobotocore.get_session().create_client(
        "s3", region_name="us-east-1", endpoint_url=f"http://{host}:{port}", config=config
    ) as s3:
        await s3.create_bucket(Bucket="models")
        there = s3_check(s3, "models", timeout=5.0)
        missing = s3_check(s3, "nowhere", name="backups", critical=False, timeout=5.0)
        with caplog.at_level(logging.WARNING, "asgi_resilience.health"):
            assert await report(there, missing) == ("degraded", {"s3": "healthy", "backups": "unhealthy"})
        assert "ClientError: An error occurred (404)" in caplog.text
        server.stop()
        with caplog.at_level(logging.WARNING, "asgi_resilience.health"):
            assert await report(there) == ("unhealthy", {"s3": "unhealthy"})
        assert "hunter2secret" not in caplog.text
        serve(port)
        await s3.create_bucket(Bucket="models")
        assert await report(there) == ("healthy", {"s3": "healthy"})


def test_what_is_no_async_client(monkeypatch):
    """A client of boto3 blocks, so it is an error when the check is made."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    with pytest.raises(TypeError, match="expected an S3 client of aiobotocore"):
        s3_check(boto3.client("s3", region_name="us-east-1"), "models")
