"""Finding retries below ours. Each level multiplies: three of ours around ten of redis-py's are forty-four attempts."""

import logging
from typing import Any, Final

__all__ = ("warn_of_nested_retries",)

_logger: Final = logging.getLogger("asgi_resilience.client")


def warn_of_nested_retries(name: str, target: object) -> None:
    """Log a warning when what a dependency calls is known to retry by itself.

    Args:
        name: Of the dependency.
        target: A client object, a transport, or a bound method of one.
    """
    owner = getattr(target, "__self__", target)
    for found, cure in (
        (_redis(owner), "pass retry=Retry(NoBackoff(), 0) to the redis client"),
        (_botocore(owner), "pass Config(retries={'total_max_attempts': 1}) to the boto client"),
        (_sdk(owner), "pass max_retries=0 to the SDK's client"),
        (_httpcore(owner), "pass retries=0 to the HTTP transport"),
    ):
        if found:
            _logger.warning(
                "%s: %s retries %d times by itself; %s", name, type(owner).__qualname__, found, cure
            )


def _redis(owner: Any) -> int:
    try:
        retries = owner.connection_pool.connection_kwargs["retry"].get_retries()
    except (AttributeError, KeyError, TypeError):
        return 0
    return retries if isinstance(retries, int) and retries > 0 else 0


def _botocore(owner: Any) -> int:
    try:
        options: Any = owner.meta.config.retries or {}
    except AttributeError:
        return 0
    total: int = options.get("total_max_attempts", options.get("max_attempts", 4) + 1)
    return max(0, total - 1)


def _sdk(owner: Any) -> int:
    for holder in (owner, getattr(owner, "_client", None)):
        found = getattr(holder, "max_retries", 0)
        ours = type(holder).__module__.partition(".")[0] in ("openai", "anthropic")
        if ours and isinstance(found, int) and found > 0:
            return found
    return 0


def _httpcore(owner: Any) -> int:
    found = getattr(getattr(owner, "_pool", None), "_retries", 0)
    return found if isinstance(found, int) else 0
