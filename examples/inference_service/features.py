"""What the model wants to know of a match, gathered within three seconds."""

from typing import Any

from asgi_resilience.telemetry.application import features_computation_duration
from examples.inference_service.database import Database
from examples.inference_service.errors import Refuse
from examples.inference_service.limits import Limits
from examples.inference_service.stage import stage
from examples.inference_service.tracing import span

__all__ = ("Features",)


class Features:
    """Gathers features."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        too_late = Refuse(
            "FEATURE_COMPUTATION_TIMEOUT", f"Features were not complete after {limits.features:g} seconds"
        )
        self._stage = stage("features", seconds=limits.features, fallback=[too_late])

    async def of(self, match: dict[str, Any]) -> dict[str, float]:
        """The features of a match.

        Raises:
            AppError: FEATURE_COMPUTATION_TIMEOUT, DATABASE_CONNECTION_FAILED.
        """
        with span("features.call", "Feature Service Call", match_id=match["id"], feature_version="v1.0"):
            return await self._stage.call(self._gather, match)

    async def _gather(self, match: dict[str, Any]) -> dict[str, float]:
        with features_computation_duration.timed(feature="match"):
            teams = await self._database.team_stats([match["home"], match["away"]])
            with span("features.compute", "Feature Computation"):
                return _compare(teams[match["home"]], teams[match["away"]])


def _compare(home: dict[str, float], away: dict[str, float]) -> dict[str, float]:
    return {
        "elo": (home["elo"] - away["elo"]) / 400,
        "form": home["form"] - away["form"],
        "attack": home["goals_for"] - away["goals_for"],
        "defence": away["goals_against"] - home["goals_against"],
    }
