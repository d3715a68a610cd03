"""Maintenance windows: what is known to be off for a while wakes nobody up."""

from typing import Any

from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.identity import MANAGED_BY, marker

__all__ = ("downtimes",)

_KEY = "maintenance"


def downtimes(config: MonitoringConfig) -> dict[str, dict[str, Any]]:
    """The attributes that Datadog's API takes, by their key; none without a maintenance window."""
    window = config.maintenance
    if window is None:
        return {}
    return {
        _KEY: {
            "message": f"Maintenance of {config.service}.\n{marker(config, _KEY)}",
            "scope": "*",  # all groups of the monitors below
            "monitor_identifier": {
                "monitor_tags": [MANAGED_BY, f"service:{config.service}", f"env:{config.environment}"]
            },
            "mute_first_recovery_notification": True,
            "notify_end_states": ["alert", "no data"],
            "notify_end_types": ["expired"],
            "display_timezone": window.timezone,
            "schedule": {
                "timezone": window.timezone,
                "recurrences": [{"duration": window.duration, "rrule": window.rrule, "start": window.start}],
            },
        }
    }
