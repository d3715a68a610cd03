"""How long log lines are kept: an index for each level, in the order in which Datadog asks them."""

from typing import Any, Final

from asgi_resilience.monitoring.config import MonitoringConfig

__all__ = ("log_indexes",)

# What Datadog calls the levels, worst first; a line goes into the first index whose filter it matches.
_STATUS: Final = {
    "ERROR": "status:(error OR critical OR alert OR emergency)",
    "WARN": "status:warn",
    "INFO": "status:(info OR notice OR ok)",
    "DEBUG": "status:debug",
}
_DEVELOPMENT: Final = frozenset(("dev", "development", "local", "test"))


def log_indexes(config: MonitoringConfig) -> dict[str, dict[str, Any]]:
    """The bodies that Datadog's API takes, by the name of the index, which is its identity."""
    return {
        _name(config, level): {
            "name": _name(config, level),
            "filter": {"query": f"service:{config.service} env:{config.environment} {status}"},
            "num_retention_days": config.retention[level],
            "exclusion_filters": _exclusions(level, config),
        }
        for level, status in _STATUS.items()
    }


def _name(config: MonitoringConfig, level: str) -> str:
    # The name of an index takes small letters, digits and hyphens.
    text = f"{config.service}-{config.environment}-{level}".lower()
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def _exclusions(level: str, config: MonitoringConfig) -> list[dict[str, Any]]:
    """Two ways to pay less: debug lines only where somebody debugs, and a switch to keep one access line in ten."""
    if level == "DEBUG":
        return [
            {
                "name": "debug lines outside of development",
                "is_enabled": config.environment not in _DEVELOPMENT,
                "filter": {"query": "*", "sample_rate": 1.0},
            }
        ]
    if level == "INFO":
        return [
            {
                "name": "nine of ten successful requests",
                "is_enabled": False,
                "filter": {"query": "@outcome:(ok OR redirect)", "sample_rate": 0.9},
            }
        ]
    return []
