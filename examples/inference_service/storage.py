"""S3: the model's weights. When the live version can't be loaded, the one before it goes on, and somebody is alerted."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from asgi_resilience.client import BreakerPolicy, Cached, Call, Dependency, Event, FallbackUsed, Previous
from asgi_resilience.client.fallback import not_a_bug
from asgi_resilience.health_checks import s3_check
from examples.inference_service.errors import Refuse
from examples.inference_service.limits import Limits
from examples.inference_service.tracing import span

__all__ = ("BUCKET", "MODEL", "Storage", "model_key")

logger = logging.getLogger("inference_service.storage")

BUCKET: Final = "models"
MODEL: Final = "match-outcome"


def model_key(name: str, version: str) -> str:
    """The name of a model's object in the bucket."""
    return f"{name}/{version}.json"


class Storage:
    """Loads models."""

    def __init__(self, s3: Any, versions: tuple[str, ...], limits: Limits) -> None:
        self._s3 = s3
        self._check = s3_check(s3, BUCKET)
        self._live, *self._older = versions
        self.calls = Dependency(
            "s3",
            timeout=limits.s3,
            breaker=BreakerPolicy(open_for=limits.breaker_open),
            fallback=(
                Cached(ttl=60.0),
                Previous(key=lambda name, _version: name),
                Call(self._older_version, when=not_a_bug),
                Refuse("MODEL_LOADING_FAILED", when=not_a_bug),
            ),
            listeners=[self._alert],
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, versions: tuple[str, ...], limits: Limits) -> AsyncIterator["Storage"]:
        """A client without retries of its own."""
        config = AioConfig(
            retries={"total_max_attempts": 1}, connect_timeout=limits.s3, read_timeout=limits.s3
        )
        async with get_session().create_client(
            "s3", region_name="eu-central-1", endpoint_url=url or None, config=config
        ) as s3:
            yield cls(s3, versions, limits)

    async def model(self) -> dict[str, Any]:
        """The live model, or the best that there is in its place."""
        with span("storage.load", "Load Model from Cache"):
            return await self.calls.call(self._load, MODEL, self._live)

    async def health(self) -> None:
        """Raise when the bucket can't be reached."""
        await self._check.check()

    async def _load(self, name: str, version: str) -> dict[str, Any]:
        found = await self._s3.get_object(Bucket=BUCKET, Key=model_key(name, version))
        async with found["Body"] as body:
            model: dict[str, Any] = json.loads(await body.read())
            return model

    async def _older_version(self, name: str, _version: str) -> dict[str, Any]:
        """For a process that has just started, and has loaded none yet."""
        error: Exception = LookupError("no older version is known")
        for version in self._older:
            try:
                return await self.calls.using(fallback=None).call(self._load, name, version)
            except Exception as failed:  # noqa: BLE001 - the last one is raised
                error = failed
        raise error

    def _alert(self, event: Event) -> None:
        match event:
            case FallbackUsed(error=Exception() as error):
                logger.error(
                    "Failed to load model artifact: an older one is in use",
                    extra={
                        "error_code": "MODEL_LOADING_FAILED",
                        "model_id": f"{MODEL}-{self._live}",
                        "s3_path": f"s3://{BUCKET}/{model_key(MODEL, self._live)}",
                        "exception": f"{type(error).__module__}.{type(error).__qualname__}",
                    },
                )
