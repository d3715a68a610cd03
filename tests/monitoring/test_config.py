"""For whom the monitoring is built."""

import pytest

from asgi_resilience.monitoring.config import Maintenance, MonitoringConfig


def test_tags_are_lowered():
    """Datadog lowers the tags, so queries ask for lower case."""
    config = MonitoringConfig(service="Shop", environment="Staging")
    assert (config.service, config.environment) == ("shop", "staging")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service", "my shop"),
        ("service", "shop}"),
        ("environment", ""),
        ("team", "1st"),
        ("email", "ann"),
        ("pagerduty", "on call"),
        ("pagerduty_push", ""),
        ("slack_account", "a b"),
        ("percentiles", "p95"),
        ("runbooks", "/"),
        ("retention", {"ERROR": 90}),
        ("retention", {"ERROR": 0, "WARN": 1, "INFO": 1, "DEBUG": 1}),
    ],
)
def test_what_datadog_does_not_take_is_refused(field, value):
    """The error names the field and the value."""
    with pytest.raises(ValueError, match=f"^{field}="):
        MonitoringConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("rrule", "weekly"), ("start", "2026-01-04T03:00:00Z"), ("duration", "2 hours")]
)
def test_a_maintenance_window_has_datadogs_form(field, value):
    """A rule, a local start and a duration in one unit."""
    fields = {"rrule": "FREQ=DAILY", "start": "2026-01-04T03:00:00", "duration": "30m", field: value}
    with pytest.raises(ValueError, match=f"^{field}="):
        Maintenance(**fields)


@pytest.mark.parametrize(
    ("runbooks", "page"),
    [
        ("docs/runbooks/", "docs/runbooks/high-error-rate.md"),
        ("https://shop.example/runbooks", "https://shop.example/runbooks/high-error-rate/"),
    ],
)
def test_runbooks_are_files_or_pages(runbooks, page):
    """In a repository a runbook is a file; on the site that is built from it, a page without a suffix."""
    assert MonitoringConfig(runbooks=runbooks).runbook("high-error-rate") == page


def test_the_index_of_a_site_is_the_directory():
    """The page of an index has no name of its own on a site."""
    assert MonitoringConfig(runbooks="https://shop.example/r").runbook("index") == "https://shop.example/r/"
    assert MonitoringConfig().runbook("index") == "docs/runbooks/index.md"
