"""The service, put together: `uvicorn --factory examples.inference_service.app:create`."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette

from asgi_resilience import HealthCheck, Settings, wrap
from asgi_resilience.client import aclose_all
from asgi_resilience.context import ASGIApp
from asgi_resilience.slo import DEFAULT_SLOS
from examples.inference_service.auth import Auth
from examples.inference_service.cache import Cache
from examples.inference_service.config import Config
from examples.inference_service.database import Database
from examples.inference_service.model import Model
from examples.inference_service.predictions import Predictions
from examples.inference_service.provider import Provider
from examples.inference_service.routes import ROUTES
from examples.inference_service.storage import Storage

__all__ = ("create",)


class Service:
    """What lives from the start of the process to its end."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.checks = (
            HealthCheck("database", partial(self._health, "database")),
            HealthCheck("redis", partial(self._health, "cache"), critical=False),
            HealthCheck("s3", partial(self._health, "storage"), critical=False),
            HealthCheck("model_service", partial(self._health, "model"), critical=False),
            HealthCheck("sports_provider", partial(self._health, "provider"), critical=False),
        )

    async def _health(self, part: str) -> str | None:
        """Ask a part that is opened later than this check is made."""
        status: str | None = await getattr(self, part).health()
        return status

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Open everything, and close it in the reverse order."""
        config, limits = self.config, self.config.limits
        async with AsyncExitStack() as opened:
            self.database = await opened.enter_async_context(Database.open(config.database_url, limits))
            self.cache = await opened.enter_async_context(Cache.open(config.redis_url, limits))
            self.storage = await opened.enter_async_context(
                Storage.open(config.s3_url, config.model_versions, limits)
            )
            self.provider = await opened.enter_async_context(Provider.open(config.provider_url, limits))
            self.model = await opened.enter_async_context(Model.open(config.model_url, limits))
            opened.push_async_callback(aclose_all)  # first of all: nobody waits for a retry any more
            yield {
                "auth": Auth(config.token_secret, self.cache, limits),
                "predictions": Predictions(
                    database=self.database,
                    cache=self.cache,
                    provider=self.provider,
                    storage=self.storage,
                    model=self.model,
                    limits=limits,
                ),
            }


def create(config: Config | None = None) -> ASGIApp:
    """The service inside of the whole stack."""
    config = Config.from_env() if config is None else config
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each request would be the second one
    service = Service(config)
    settings = Settings.from_env(
        service="inference-service",
        version="v1.2.3",
        timeout=config.limits.request,
        rate_limit="6000/minute",
        docs_url="https://docs.senzu-ai.com/errors",
        health_checks=service.checks,
        slos=DEFAULT_SLOS,
    )
    return wrap(Starlette(routes=ROUTES, lifespan=service.lifespan), settings)
