"""S3: whether the bucket is there and may be used."""

from typing import Any

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.health_checks.outage import asked_safely, refuse_blocking

__all__ = ("s3_check",)


def s3_check(
    client: Any, bucket: str, *, name: str = "s3", critical: bool = True, timeout: float | None = 0.7
) -> HealthCheck:
    """Healthy when `HeadBucket` says that the bucket is there and may be used; nothing is listed or read.

    Args:
        client: An S3 client of aiobotocore. Its own retries take longer than a probe: `total_max_attempts` of 1 is best.
        bucket: Its name.
        name: As for `HealthCheck`.
        critical: As for `HealthCheck`.
        timeout: Seconds; None: as the layer says.

    Raises:
        TypeError: `client` is nothing of the kind, or one of boto3, which blocks.
        ValueError: As for `HealthCheck`.
    """
    refuse_blocking(client, "head_bucket", "an S3 client of aiobotocore")

    async def ask() -> None:
        await client.head_bucket(Bucket=bucket)

    return HealthCheck(name, asked_safely(ask), critical=critical, timeout=timeout)
