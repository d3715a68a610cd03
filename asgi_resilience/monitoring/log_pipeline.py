"""What Datadog makes of a log line: its date, status, service and trace, and its standard attributes."""

from typing import Any, Final

from asgi_resilience.monitoring.config import MonitoringConfig

__all__ = ("log_pipelines",)

_STANDARD: Final = {
    "error.stack_trace": "error.stack",
    "request_id": "http.request_id",
    "user_id": "usr.id",
}
"""Attributes of ours, and those for which Datadog has facets and views."""


def log_pipelines(config: MonitoringConfig) -> dict[str, dict[str, Any]]:
    """The bodies that Datadog's API takes, by the name of the pipeline, which is its identity."""
    name = f"asgi_resilience: {config.service} {config.environment}"
    return {
        name: {
            "name": name,
            "is_enabled": True,
            "filter": {"query": f"service:{config.service} env:{config.environment}"},
            "processors": [
                _reserved("date-remapper", "timestamp"),
                _reserved("status-remapper", "level"),
                _reserved("service-remapper", "service"),
                _reserved("message-remapper", "message"),
                _reserved("trace-id-remapper", "dd.trace_id"),
                _reserved("span-id-remapper", "dd.span_id"),
                *(_remapped(source, target) for source, target in _STANDARD.items()),
                _tag("environment", "env"),
                _tag("version", "version"),
                {
                    "type": "arithmetic-processor",
                    "name": "duration in nanoseconds",
                    "is_enabled": True,
                    "expression": "duration_ms * 1000000",
                    "target": "duration",
                    "is_replace_missing": False,
                },
                {
                    "type": "user-agent-parser",
                    "name": "http.useragent",
                    "is_enabled": True,
                    "sources": ["http.useragent"],
                    "target": "http.useragent_details",
                },
            ],
        }
    }


def _reserved(kind: str, source: str) -> dict[str, Any]:
    return {"type": kind, "name": source, "is_enabled": True, "sources": [source]}


def _remapped(source: str, target: str) -> dict[str, Any]:
    return {
        "type": "attribute-remapper",
        "name": f"{source} is {target}",
        "is_enabled": True,
        "sources": [source],
        "source_type": "attribute",
        "target": target,
        "target_type": "attribute",
        "preserve_source": True,
        "override_on_conflict": False,
    }


def _tag(source: str, target: str) -> dict[str, Any]:
    return {**_remapped(source, target), "target_type": "tag"}
