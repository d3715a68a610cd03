"""What the service is there for: predictions, made within ten seconds, or at least the last one that was made."""

import logging
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from asgi_resilience import AppError, current_request
from asgi_resilience.client import Call
from asgi_resilience.telemetry.attributes import keep_trace, set_attributes
from examples.inference_service.cache import Cache
from examples.inference_service.database import Database
from examples.inference_service.errors import MatchNotFound, Refuse
from examples.inference_service.features import Features
from examples.inference_service.limits import Limits
from examples.inference_service.metrics import count_prediction
from examples.inference_service.model import Model
from examples.inference_service.provider import Provider
from examples.inference_service.stage import stage
from examples.inference_service.storage import MODEL, Storage
from examples.inference_service.tracing import span

__all__ = ("Predictions",)

logger = logging.getLogger("inference_service.predictions")

_WORTH_A_TRACE: Final = 0.1
"""Expected value per stake from which the trace is kept, whatever the rules of sampling say."""


class Predictions:
    """Finds matches, and says how they may end."""

    def __init__(
        self,
        *,
        database: Database,
        cache: Cache,
        provider: Provider,
        storage: Storage,
        model: Model,
        limits: Limits,
    ) -> None:
        self._database = database
        self._cache = cache
        self._provider = provider
        self._storage = storage
        self._model = model
        self._fresh = limits.fresh
        self._features = Features(database, limits)
        self._stage = stage(
            "prediction",
            seconds=limits.prediction,
            fallback=[
                Call(self._last_one),
                Refuse("PREDICTION_GENERATION_FAILED", "The model did not answer in time"),
            ],
        )

    async def match(self, match_id: str) -> dict[str, Any]:
        """A match.

        Raises:
            AppError: MATCH_NOT_FOUND, DATABASE_CONNECTION_FAILED.
        """
        match: dict[str, Any] | None = await self._cache.get(f"match:{match_id}")
        if match is None:
            match = await self._database.match(match_id)
            if match is None:
                raise MatchNotFound(details=f"There is no match {match_id}")
            await self._cache.put(f"match:{match_id}", match, seconds=60.0)
        return match

    async def match_with_odds(self, match_id: str) -> dict[str, Any]:
        """A match, and its odds if there are any at the moment."""
        match = await self.match(match_id)
        try:
            return {**match, "odds": await self._provider.odds(match_id)}
        except AppError as error:
            return {**match, "odds": None, "odds_error": error.error_code}

    async def newest(self, match_id: str) -> dict[str, Any]:
        """The newest prediction of a match, made now if there is no fresh one.

        Raises:
            AppError: As `make`.
        """
        match = await self.match(match_id)
        found = await self._cache.get(f"prediction:{match_id}")
        _tell(match_id=match_id, cache_hit=found is not None)
        if found is None:
            found = await self._database.newest_prediction(match_id, age=self._fresh)
        return await self._stage.call(self._make, match) if found is None else found

    async def make(self, match_id: str) -> dict[str, Any]:
        """A new prediction.

        Raises:
            AppError: MATCH_NOT_FOUND, ODDS_DATA_UNAVAILABLE, FEATURE_COMPUTATION_TIMEOUT, MODEL_LOADING_FAILED,
                PREDICTION_GENERATION_FAILED, DATABASE_CONNECTION_FAILED.
        """
        match = await self.match(match_id)
        _tell(match_id=match_id)
        return await self._stage.call(self._make, match)

    async def _make(self, match: dict[str, Any]) -> dict[str, Any]:
        with span("prediction.make", "Inference Service", match_id=match["id"]):
            odds = await self._provider.odds(match["id"])
            features = await self._features.of(match)
            with span("model.call", "Model Service Call"):
                model = await self._storage.model()
                _tell(model_id=model["version"])
                chances = await self._model.infer(model, features)
            prediction = _prediction(match, model["version"], chances, odds)
            await self._database.save(prediction)
            await self._cache.put(f"prediction:{match['id']}", prediction, seconds=self._fresh)
        count_prediction(prediction, league=match["league"])
        if (prediction["expected_value"] or 0.0) > _WORTH_A_TRACE:
            keep_trace()
        logger.info(
            "prediction generated", extra={"match_id": match["id"], "model_id": prediction["model_id"]}
        )
        return prediction

    async def _last_one(self, match: dict[str, Any]) -> dict[str, Any]:
        found = await self._database.newest_prediction(match["id"])
        if found is None:
            raise AppError(
                code="PREDICTION_GENERATION_FAILED",
                details="The model did not answer, and never has for this match",
            )
        return found


def _prediction(
    match: dict[str, Any], version: str, chances: dict[str, float], odds: dict[str, float] | None
) -> dict[str, Any]:
    best, value = None, None
    if odds:
        best = max(chances, key=lambda outcome: chances[outcome] * odds[outcome])
        value = round(chances[best] * odds[best] - 1, 4)
    return {
        "id": f"pred_{uuid4().hex[:12]}",
        "match_id": match["id"],
        "sport": match["sport"],
        "model": MODEL,
        "model_id": version,
        "chances": chances,
        "best_bet": best,
        "expected_value": value,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _tell(**facts: str | bool) -> None:
    """Put it on the log lines of this request, and on its span."""
    if record := current_request():
        record.bind(**facts)
    set_attributes(**facts)
