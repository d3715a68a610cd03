"""The numbers of the business, under the names that the dashboards read; the technical ones come ready-made."""

from typing import Any, Final

from asgi_resilience.monitoring import business_metrics as names
from asgi_resilience.telemetry.application import predictions_generated
from asgi_resilience.telemetry.instruments import Counter, Gauge

__all__ = ("HIGH_EV", "active_daily", "active_monthly", "count_prediction")

HIGH_EV: Final = 0.05
"""Expected value per stake from which a prediction is worth a look."""

active_daily = Gauge(names.USERS_ACTIVE_DAILY.name)
active_monthly = Gauge(names.USERS_ACTIVE_MONTHLY.name)
_by_sport = Counter(names.PREDICTIONS_BY_SPORT.name, tags=names.PREDICTIONS_BY_SPORT.tags)
_high_ev = Counter(names.PREDICTIONS_HIGH_EV_COUNT.name)


def count_prediction(prediction: dict[str, Any], *, league: str) -> None:
    """Count a prediction that was made just now."""
    sport = prediction["sport"]
    predictions_generated.add(sport=sport, model=prediction["model_id"])
    _by_sport.add(sport=sport, league=league)
    if (prediction["expected_value"] or 0.0) > HIGH_EV:
        _high_ev.add()
