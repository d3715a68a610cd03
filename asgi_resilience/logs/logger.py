"""A logger that has the level TRACE, and that an unlucky name in `extra` does not turn into an exception."""

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

from asgi_resilience.logs.schema import TRACE

__all__ = ("ResilienceLogger", "get_logger")

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None
)
_TAKEN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

logging.addLevelName(TRACE, "TRACE")


class ResilienceLogger(logging.Logger):
    """A standard logger with `trace`; `extra={"name": …}` arrives as `extra_name` in place of raising KeyError."""

    def trace(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at TRACE, the level below DEBUG; takes what `Logger.debug` takes."""
        if self.isEnabledFor(TRACE):
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self._log(TRACE, msg, args, **kwargs)

    def makeRecord(  # noqa: D102, N802 - as in logging.Logger
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: _ExcInfo,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        if extra and not _TAKEN.isdisjoint(extra):
            extra = {f"extra_{key}" if key in _TAKEN else key: value for key, value in extra.items()}
        return super().makeRecord(name, level, fn, lno, msg, args, exc_info, func, extra, sinfo)


def get_logger(name: str) -> ResilienceLogger:
    """The logger of this name, with what `ResilienceLogger` adds. It is the one that `logging.getLogger` gives."""
    logger = logging.getLogger(name)
    kind = type(logger)
    if not issubclass(kind, ResilienceLogger):
        # The logger may be in use already, or of another library's class: it stays the object that it is.
        better = (
            ResilienceLogger if kind is logging.Logger else type(kind.__name__, (ResilienceLogger, kind), {})
        )
        logger.__class__ = better
    return cast("ResilienceLogger", logger)
