"""How an object in Datadog is known again: by its tags, and by a line of text where Datadog allows no tags of ours."""

import re
from collections.abc import Iterable
from typing import Final

from asgi_resilience.monitoring.config import MonitoringConfig

__all__ = ("MANAGED_BY", "key_in_tags", "key_in_text", "marker", "tags")

MANAGED_BY: Final = "managed-by:asgi-resilience"
_KEY: Final = "asgi-resilience-key:"
_MARKER: Final = re.compile(r"\[asgi-resilience (\S+) (\S+) (\S+)\]\s*$").search


def tags(config: MonitoringConfig, key: str, *more: str) -> list[str]:
    """The tags of the object `key`, sorted as Datadog gives them back."""
    own = (MANAGED_BY, f"{_KEY}{key}", f"service:{config.service}", f"env:{config.environment}")
    return sorted((*own, f"team:{config.team}", *more))


def key_in_tags(config: MonitoringConfig, found: Iterable[str]) -> str | None:
    """The key of an object with these tags; None when it is not ours, or of another service or environment."""
    present = set(found)
    if not {MANAGED_BY, f"service:{config.service}", f"env:{config.environment}"} <= present:
        return None
    return next((tag.removeprefix(_KEY) for tag in present if tag.startswith(_KEY)), None)


def marker(config: MonitoringConfig, key: str) -> str:
    """The last line of the description of the object `key`."""
    return f"[asgi-resilience {config.service} {config.environment} {key}]"


def key_in_text(config: MonitoringConfig, text: str) -> str | None:
    """The key of an object with this description; None as above."""
    found = _MARKER(text)
    if found is None or found.groups()[:2] != (config.service, config.environment):
        return None
    return found[3]
