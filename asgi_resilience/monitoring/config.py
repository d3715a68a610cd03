"""For which service the monitoring is built, and whom it tells."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from asgi_resilience.slo import DEFAULT_SLOS, SLO

__all__ = ("PLACEHOLDER_EMAIL", "RETENTION", "Maintenance", "MonitoringConfig", "Percentiles")

Percentiles = Literal["histogram", "distribution"]
"""How durations arrive: as the Agent's histograms, or as distributions, whose percentiles hold over all hosts."""

PLACEHOLDER_EMAIL: Final = "oncall@example.com"
RETENTION: Final[Mapping[str, int]] = MappingProxyType({"ERROR": 90, "WARN": 30, "INFO": 14, "DEBUG": 3})
"""Days for which log lines of each level are kept."""

# What Datadog leaves as it is in the value of a tag; anything else would make a query that matches nothing.
_TAG: Final = re.compile(r"[a-z][a-z0-9_./-]*").fullmatch
_HANDLE: Final = re.compile(r"[A-Za-z0-9_.-]+").fullmatch
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+").fullmatch
_DURATION: Final = re.compile(r"[1-9][0-9]*[mhdw]").fullmatch
_START: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A window that comes again, in which nobody is notified.

    Attributes:
        rrule: When it comes, as in RFC 5545: `FREQ=WEEKLY;BYDAY=SU`.
        start: The first one, local time without an offset: `2026-01-04T03:00:00`.
        duration: A whole number of minutes, hours, days or weeks: `90m`, `2h`.
        timezone: By its name in the tz database.

    Raises:
        ValueError: A value does not have the form that is shown here.
    """

    rrule: str
    start: str
    duration: str = "2h"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not self.rrule.startswith("FREQ="):
            raise ValueError(f"rrule={self.rrule!r}: expected an RRULE such as FREQ=WEEKLY;BYDAY=SU")
        if not _START(self.start):
            raise ValueError(f"start={self.start!r}: expected local time such as 2026-01-04T03:00:00")
        if not _DURATION(self.duration):
            raise ValueError(
                f"duration={self.duration!r}: expected minutes, hours, days or weeks, such as 2h"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringConfig:
    """One service in one environment, and the people who look after it.

    Attributes:
        service: Value of the tag `service`, as in `DD_SERVICE`. Upper case is lowered, as Datadog does it.
        environment: Value of the tag `env`, as in `DD_ENV`.
        team: Value of the tag `team` on everything that is made.
        runbooks: Where the runbooks are: a directory of the repository, or the address of the site they are served from.
        email: Who gets high and low alerts by mail.
        pagerduty: PagerDuty service that wakes people up, as Datadog's integration knows it.
        pagerduty_push: The one that sends a push notification only.
        slack_account: Of Datadog's Slack integration; empty where it has one account only.
        percentiles: How durations are sent: `"histogram"`, or `"distribution"`.
        database: Name of the dependency that is the database.
        model: Name of the dependency that is the model service.
        slos: The objectives of the service.
        retention: Days for which log lines of each level are kept. Datadog takes those that the contract names.
        maintenance: When nobody is notified. None: never.

    Raises:
        ValueError: A value is not one that Datadog takes; it names the field, the value and what is expected.
    """

    service: str = "asgi-app"
    environment: str = "production"
    team: str = "backend"
    runbooks: str = "docs/runbooks"
    email: str = PLACEHOLDER_EMAIL
    pagerduty: str = "critical"
    pagerduty_push: str = "high"
    slack_account: str = ""
    percentiles: Percentiles = "histogram"
    database: str = "postgres"
    model: str = "model-service"
    slos: tuple[SLO, ...] = DEFAULT_SLOS
    retention: Mapping[str, int] = field(default_factory=lambda: RETENTION)
    maintenance: Maintenance | None = None

    def __post_init__(self) -> None:
        for name in ("service", "environment", "team", "database", "model"):
            value: str = getattr(self, name).lower()
            if not _TAG(value):
                raise ValueError(
                    f"{name}={value!r}: expected a tag value: a letter, then letters, digits, _ . / -"
                )
            object.__setattr__(self, name, value)
        for name in ("pagerduty", "pagerduty_push"):
            if not _HANDLE(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected letters, digits, _ . -")
        if self.slack_account and not _HANDLE(self.slack_account):
            raise ValueError(f"slack_account={self.slack_account!r}: expected letters, digits, _ . -")
        if not _EMAIL(self.email):
            raise ValueError(f"email={self.email!r}: expected an address")
        if self.percentiles not in ("histogram", "distribution"):
            raise ValueError(f"percentiles={self.percentiles!r}: expected 'histogram' or 'distribution'")
        if not self.runbooks.strip("/"):
            raise ValueError(f"runbooks={self.runbooks!r}: expected a directory or an address")
        if self.retention.keys() != RETENTION.keys() or min(self.retention.values()) < 1:
            raise ValueError(
                f"retention={dict(self.retention)!r}: expected days, 1 or more, for {', '.join(RETENTION)}"
            )

    def runbook(self, page: str) -> str:
        """Where a page of the runbooks is: a path, or its address on a site that leaves the suffix out."""
        base = self.runbooks.rstrip("/")
        if "://" not in base:
            return f"{base}/{page}.md"
        return f"{base}/" if page == "index" else f"{base}/{page}/"
