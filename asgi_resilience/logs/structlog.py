"""structlog in front of our lines: what it is given goes through `logging`, so it is the same line with the same redaction.

structlog.get_logger().info("sold", sku="A-1")  ──▶  processors()  ──▶  logging  ──▶  the handler of configure_logging
"""

import logging
from collections.abc import MutableMapping
from inspect import currentframe
from typing import Any, Final

import structlog
from structlog.typing import Processor

from asgi_resilience.logs.logger import ResilienceLogger, get_logger

__all__ = ("configure_structlog", "logger_factory", "processors", "to_record")

_KEYWORDS: Final = ("exc_info", "stack_info", "stacklevel")


def configure_structlog() -> None:
    """Have structlog log into `logging`. Call it beside `configure_logging`, in either order, before the first log line.

    For a configuration of your own: `processors()`, `logger_factory` and `structlog.stdlib.BoundLogger`.
    """
    structlog.configure(
        processors=processors(),
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=logger_factory,
        cache_logger_on_first_use=True,
    )


def processors() -> list[Processor]:
    """The chain: what is bound to the context, only levels that are on, `%s` arguments, and at last `to_record`.

    Processors of your own go before the last one. None that renders, and no time stamp: the line has one.
    """
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        to_record,
    ]


def to_record(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor: an event as the keywords of a `logging` method, all else in `extra`."""
    keywords = {name: event.pop(name) for name in _KEYWORDS if name in event}
    return {"msg": event.pop("event", ""), **keywords, "extra": event}


def logger_factory(*names: str) -> ResilienceLogger:
    """The logger of that name, else of the module that asks."""
    return get_logger(names[0] if names else _caller())


def _caller() -> str:
    frame = currentframe()
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] != "structlog":
            return name
        frame = frame.f_back
    return logging.root.name
