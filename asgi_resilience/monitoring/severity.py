"""How bad an alert is, and whom it reaches how."""

from enum import Enum
from typing import Literal

from asgi_resilience.monitoring.config import MonitoringConfig

__all__ = ("Channel", "Severity", "handles")

Channel = Literal["alerts", "database-team", "ml-team"]
"""The Slack channel of those who know the part that fails."""


class Severity(Enum):
    """How soon somebody has to look.

    Attributes:
        priority: Datadog's, from 1.
        respond: In which time somebody responds.
        renotify: Minutes after which an alert that is still open is told again; 0: never.
    """

    CRITICAL = ("critical", 1, "immediately", 15)
    HIGH = ("high", 2, "within 15 minutes", 60)
    MEDIUM = ("medium", 3, "within 1 hour", 0)
    LOW = ("low", 4, "within 4 hours", 0)

    def __init__(self, label: str, priority: int, respond: str, renotify: int) -> None:
        self.label = label
        self.priority = priority
        self.respond = respond
        self.renotify = renotify


def handles(severity: Severity, channel: Channel, config: MonitoringConfig) -> tuple[str, ...]:
    """Who is notified, as Datadog's handles.

    Critical wakes the on-call engineer up; high is a push notification, a message and a mail; medium is a message; low is
    a mail that can wait for the morning.
    """
    slack = f"@slack-{config.slack_account}-{channel}" if config.slack_account else f"@slack-{channel}"
    match severity:
        case Severity.CRITICAL:
            return (f"@pagerduty-{config.pagerduty}",)
        case Severity.HIGH:
            return (slack, f"@{config.email}", f"@pagerduty-{config.pagerduty_push}")
        case Severity.MEDIUM:
            return (slack,)
        case _:
            return (f"@{config.email}",)
