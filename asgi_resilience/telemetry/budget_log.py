"""One log line for each thing that happens to an error budget."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from asgi_resilience.slo.budget import BudgetStatus
from asgi_resilience.slo.events import AlertEnded, AlertStarted, BudgetEvent, BudgetReset, PolicyChanged
from asgi_resilience.slo.objective import SLO

__all__ = ("log_event", "status_fields")

_POLICY_LEVELS: Final = {"normal": logging.INFO, "slow_down": logging.WARNING, "freeze": logging.ERROR}
_DIGITS: Final = 4
_logger = logging.getLogger("asgi_resilience.slo")


def log_event(event: BudgetEvent) -> None:
    """Log an event: what ends well at INFO, what may wait at WARNING, an exhausted budget and an urgent alert at ERROR."""
    name = event.slo.name
    match event:
        case PolicyChanged(before=before, after=after, status=status):
            left = f"{status.remaining_share:.1%} left"
            _log(
                _POLICY_LEVELS[after],
                f"Error budget of {name}: {after}, {left}",
                event,
                {"policy": after, "before": before},
            )
        case AlertStarted(alert=alert, status=status):
            level = logging.ERROR if alert.urgent else logging.WARNING
            what = f"burns more than {alert.factor:g} times too fast"
            _log(level, f"Error budget of {name} {what}", event, {"alert": alert.name})
        case AlertEnded(alert=alert):
            what = f"no longer burns more than {alert.factor:g} times too fast"
            _log(logging.INFO, f"Error budget of {name} {what}", event, {"alert": alert.name})
        case _:
            _log(logging.WARNING, f"Error budget of {name} starts afresh: {event.reason}", event, {})


def status_fields(slo: SLO, status: BudgetStatus) -> dict[str, Any]:
    """A budget in plain JSON, rounded for people."""
    return {
        "target": slo.target,
        "policy": status.policy,
        "unit": "minutes" if slo.measure == "downtime" else "requests",
        "budget": round(status.budget, _DIGITS),
        "used": round(status.used, _DIGITS),
        "remaining_share": round(status.remaining_share, _DIGITS),
        "burn_rates": {window: round(rate, _DIGITS) for window, rate in status.burn_rates.items()},
        "alerts": list(status.alerts),
    }


def _log(level: int, message: str, event: BudgetEvent, facts: Mapping[str, Any]) -> None:
    extra: dict[str, Any] = {"slo": event.slo.name, **facts}
    if not isinstance(event, BudgetReset):
        extra["error_budget"] = status_fields(event.slo, event.status)
    _logger.log(level, "%s", message, extra=extra)
