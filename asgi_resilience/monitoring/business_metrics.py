"""The business's own numbers, which the library does not emit: a service that has them sends them under these names."""

from typing import Final

from asgi_resilience.metric_names import Metric

__all__ = ("PREDICTIONS_BY_SPORT", "PREDICTIONS_HIGH_EV_COUNT", "USERS_ACTIVE_DAILY", "USERS_ACTIVE_MONTHLY")

USERS_ACTIVE_DAILY: Final = Metric(
    "users.active_daily", "gauge", "user", (), "Different users of the last 24 hours."
)
USERS_ACTIVE_MONTHLY: Final = Metric(
    "users.active_monthly", "gauge", "user", (), "Different users of the last 30 days."
)
PREDICTIONS_BY_SPORT: Final = Metric(
    "predictions.by_sport", "counter", "item", ("sport", "league"), "Predictions of each sport and league."
)
PREDICTIONS_HIGH_EV_COUNT: Final = Metric(
    "predictions.high_ev_count", "counter", "item", (), "Predictions with an expected value above 5 %."
)
