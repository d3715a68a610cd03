"""Which objects in a Datadog account are ours: for each kind, where they are listed and how they are known again."""

from collections.abc import Iterator

from asgi_resilience.monitoring.account import Account
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.identity import MANAGED_BY, key_in_tags, key_in_text
from asgi_resilience.monitoring.log_indexes import log_indexes
from asgi_resilience.monitoring.log_pipeline import log_pipelines
from asgi_resilience.monitoring.plan import Found

__all__ = ("listing",)


def listing(account: Account, config: MonitoringConfig) -> list[Found]:
    """The objects of this service and environment that were made by us."""
    return [
        *_monitors(account, config),
        *_slos(account, config),
        *_dashboards(account, config),
        *_log_indexes(account, config),
        *_log_pipelines(account, config),
        *_downtimes(account, config),
    ]


def _monitors(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    ours = f"{MANAGED_BY},service:{config.service},env:{config.environment}"
    for each in account.pages("monitor", "page", "page_size", step=1, monitor_tags=ours):
        key = key_in_tags(config, each["tags"])
        if key is not None:
            yield Found("monitor", key, each["id"], each)


def _slos(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    for each in account.pages("slo", "offset", "limit", field="data", tags_query=MANAGED_BY):
        key = key_in_tags(config, each["tags"])
        if key is not None:
            yield Found("slo", key, each["id"], each)


def _dashboards(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    for each in account.pages("dashboard", "start", "count", field="dashboards"):
        key = key_in_text(config, each.get("description") or "")
        if key is not None:
            identity = each["id"]
            yield Found("dashboard", key, identity, account.call("GET", f"dashboard/{identity}"))


def _log_indexes(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    ours = log_indexes(config).keys()
    for each in account.call("GET", "logs/config/indexes")["indexes"]:
        if each["name"] in ours:
            yield Found("log-index", each["name"], each["name"], each)


def _log_pipelines(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    ours = log_pipelines(config).keys()
    for each in account.call("GET", "logs/config/pipelines"):
        if each["name"] in ours:
            yield Found("log-pipeline", each["name"], each["id"], each)


def _downtimes(account: Account, config: MonitoringConfig) -> Iterator[Found]:
    for each in account.pages("downtime", "page[offset]", "page[limit]", field="data", version="v2"):
        attributes = each["attributes"]
        key = key_in_text(config, attributes.get("message") or "")
        # What was cancelled stays in the list for a while.
        if key is not None and attributes.get("status") in ("active", "scheduled"):
            yield Found("downtime", key, each["id"], attributes)
