"""The model service: one retry, at once. What answers instead stands in `predictions.py`: the last prediction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asgi_resilience.client import (
    MODEL_RULES,
    BreakerPolicy,
    Dependency,
    ResilientClient,
    RetryPolicy,
    Rule,
)
from asgi_resilience.telemetry.application import models_inference_duration as inferences
from examples.inference_service.limits import Limits
from examples.inference_service.tracing import span

__all__ = ("Model",)

_INFERENCE_ERROR = Rule(
    "model inference error", max_retries=1, backoff="immediate", statuses=frozenset((500,))
)


class Model:
    """Infers the chances of a match from its features."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.calls = Dependency(
            "model-service",
            timeout=limits.model,
            retry=RetryPolicy(rules=(_INFERENCE_ERROR, *MODEL_RULES)),
            breaker=BreakerPolicy(open_for=limits.breaker_open),
        )
        # The key makes a POST one that may be repeated; an inference changes nothing.
        self._client = ResilientClient(base_url=url, dependency=self.calls, idempotency_key=True)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, limits: Limits) -> AsyncIterator["Model"]:
        """A client."""
        model = cls(url, limits)
        async with model._client:
            yield model

    async def infer(self, model: dict[str, Any], features: dict[str, float]) -> dict[str, float]:
        """The chances of `home`, `draw` and `away`.

        Raises:
            httpx2.HTTPError: The service did not answer, or answered with an error.
        """
        with span("model.infer", "Model Inference"), inferences.timed(model=model["version"]):
            response = await self._client.post(
                "/infer", json={"weights": model["weights"], "features": features}
            )
            chances: dict[str, float] = response.raise_for_status().json()["chances"]
        return chances

    async def health(self) -> str:
        """What the circuit breaker knows: asking would cost an inference."""
        return await self.calls.health()
