"""The sports data provider: what it can't give now is queued and asked for later; the last odds are used meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from asgi_resilience.client import (
    DEFAULT_RULES,
    BreakerPolicy,
    Cached,
    Deferred,
    DeferredCall,
    DeferredQueue,
    Dependency,
    Entry,
    MemoryStore,
    ResilientClient,
    RetryPolicy,
    Rule,
)
from asgi_resilience.context import request_scope
from examples.inference_service.errors import Refuse
from examples.inference_service.limits import Limits

__all__ = ("Provider",)

logger = logging.getLogger("inference_service.provider")

_NOT_WHILE_SOMEBODY_WAITS = Rule(
    "provider is slow", max_retries=0, errors=(TimeoutError, "httpx2.TimeoutException")
)


class Provider:
    """Gives odds."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._store = MemoryStore()
        self._storing: set[asyncio.Task[None]] = set()
        queue = DeferredQueue(max_size=200, interval=0.1, delay=1.0, on_result=self._arrived)
        self.calls = Dependency(
            "sports-provider",
            timeout=limits.provider_in_request,
            retry=RetryPolicy(rules=(_NOT_WHILE_SOMEBODY_WAITS, *DEFAULT_RULES), max_retry_after=0.1),
            breaker=BreakerPolicy(open_for=limits.breaker_open),
            fallback=(
                Deferred(queue),
                Cached(self._store, ttl=limits.odds_fresh, stale_for=3600.0, key=_url),
                Refuse("ODDS_DATA_UNAVAILABLE"),
            ),
        )
        self._client = ResilientClient(base_url=url, dependency=self.calls)
        patient = self.calls.using(timeout=limits.provider, fallback=None)
        self._ingest = ResilientClient(base_url=url, dependency=patient)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, limits: Limits) -> AsyncIterator["Provider"]:
        """A client, and everybody's odds fetched once in the background."""
        provider = cls(url, limits)
        async with provider._client, provider._ingest, asyncio.TaskGroup() as group:
            ingestion = group.create_task(provider.ingest())
            yield provider
            ingestion.cancel()

    async def odds(self, match_id: str) -> dict[str, float] | None:
        """The odds of a match; None when the provider has none for it.

        Raises:
            AppError: ODDS_DATA_UNAVAILABLE.
        """
        response = await self._client.get(f"/odds/{match_id}")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return None
        odds: dict[str, float] = response.raise_for_status().json()["odds"]
        return odds

    async def health(self) -> str:
        """What the circuit breaker knows: asking would cost a part of the quota."""
        return await self.calls.health()

    async def ingest(self) -> None:
        """Fetch the odds of all matches, so that there is something to fall back on from the start."""
        with request_scope(None):
            try:
                everything = (await self._ingest.get("/odds")).raise_for_status().json()
            except httpx2.HTTPError as error:
                logger.warning("No odds at the start: %s", type(error).__qualname__)
                return
        for match_id, odds in everything.items():
            url = self._client.base_url.join(f"/odds/{match_id}")
            await self._keep(str(url), httpx2.Response(200, json={"odds": odds}))

    def _arrived(self, call: DeferredCall, response: httpx2.Response | None, error: Exception | None) -> None:
        """What was queued has been asked for at last."""
        if response is None:
            logger.warning("Queued request given up: %s", type(error).__qualname__)
            return
        task = asyncio.create_task(self._keep(_url(*call.args), response))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _keep(self, url: str, response: httpx2.Response) -> None:
        await self._store.set(url, Entry(response, asyncio.get_running_loop().time()))


def _url(request: httpx2.Request) -> str:
    return str(request.url)
