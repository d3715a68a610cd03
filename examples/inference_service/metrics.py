"""The service's own numbers: the library's ready-made metrics of a prediction service, and three of the business."""

from typing import Any, Final

from asgi_resilience.telemetry.application import predictions_generated
from asgi_resilience.telemetry.instruments import Counter

__all__ = ("HIGH_EV", "count_prediction")

HIGH_EV: Final = 0.05
"""Expected value per stake from which a prediction is worth a look."""

_by_sport = Counter("predictions.by_sport", tags=("sport",))
_high_ev = Counter("predictions.high_ev_count", tags=("sport",))


def count_prediction(prediction: dict[str, Any]) -> None:
    """Count a prediction that was made just now."""
    sport = prediction["sport"]
    predictions_generated.add(sport=sport, model=prediction["model_id"])
    _by_sport.add(sport=sport)
    if (prediction["expected_value"] or 0.0) > HIGH_EV:
        _high_ev.add(sport=sport)
