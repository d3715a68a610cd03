"""Make every log line of the process one of ours: the application's, the server's, warnings, ddtrace's."""

import atexit
import logging
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast

from asgi_resilience.context import was_logged
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.logs.schema import LEVELS, LineFormatter
from asgi_resilience.logs.sink import LogSink, default_sink, flush_all, set_default_sink

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ("Logging", "LoggingSettings", "SinkHandler", "configure_logging")

_SILENCED: Final = ("uvicorn.access", "gunicorn.access", "hypercorn.access")
_SERVERS: Final = ("uvicorn.error", "gunicorn.error", "hypercorn.error")
_WITH_HANDLERS: Final = ("uvicorn", *_SERVERS, "ddtrace", "py.warnings")
"""Loggers that come with handlers of their own."""
_COPIED: Final = "gunicorn.error"


class LoggingSettings(Protocol):
    """What `configure_logging` reads of the settings: `Settings` has it."""

    @property
    def service(self) -> str:
        """Of every line, as are the next two."""
        ...

    @property
    def environment(self) -> str:
        """Such as `production`."""
        ...

    @property
    def version(self) -> str:
        """Of the service."""
        ...

    @property
    def log_level(self) -> str:
        """A name in `LEVELS`: records below it are not written."""
        ...

    def redactor(self) -> Redactor:
        """What takes the secrets out."""
        ...


class SinkHandler(logging.Handler):
    """Hands the lines of records to a sink. It has no lock: neither the formatter nor the sink needs one."""

    def __init__(self, formatter: LineFormatter, sink: LogSink) -> None:
        super().__init__()
        self._lines = formatter
        self._sink = sink

    def createLock(self) -> None:  # noqa: D102, N802 - as in logging.Handler
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter a record, and write it. The standard one insists on a lock since Python 3.13."""
        kept = cast("bool | logging.LogRecord", self.filter(record))  # the latter since Python 3.12
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._sink.write(self._lines.record(record), urgent=record.levelno >= logging.ERROR)
        if _ending:
            flush_all()

    def flush(self) -> None:
        """Do nothing: `logging.shutdown` calls this at exit, where the sink flushes by itself."""


class _ToRoot(logging.Handler):
    """Hands records on to the root logger: propagation for those who copy handlers.

    uvicorn's worker for gunicorn gives uvicorn's loggers the handlers of gunicorn's, and keeps them from propagating.
    """

    def createLock(self) -> None:  # noqa: N802 - as in logging.Handler
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        logging.getLogger().handle(record)
        return True


class Logging:
    """What `configure_logging` has set up. Also a context manager that undoes it.

    Attributes:
        sink: Where the lines go.
        formatter: What makes them.
    """

    def __init__(self, sink: LogSink, formatter: LineFormatter) -> None:
        self.sink = sink
        self.formatter = formatter
        self._undo: list[Callable[[], object]] = []

    def close(self) -> None:
        """Flush, and put everything back as it was before; calling it again does nothing."""
        global _active  # noqa: PLW0603 - one setup per process
        if _active is self:
            _active = None
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.close()

    def install(self, level: int) -> None:
        """Take over the root logger, the servers' loggers and warnings."""
        root = logging.getLogger()
        handler = SinkHandler(self.formatter, self.sink)
        self._remember(root)
        root.handlers = [each for each in root.handlers if not _writes_to_console(each)]
        root.addHandler(handler)
        root.setLevel(level)
        for name in _WITH_HANDLERS:
            logger = logging.getLogger(name)
            self._remember(logger)
            logger.handlers = [_ToRoot()] if name == _COPIED else []
            logger.propagate = name != _COPIED
        for name in _SILENCED:
            logger = logging.getLogger(name)
            self._remember(logger)
            logger.handlers = []
            logger.propagate = False
        for name in _SERVERS:
            logger = logging.getLogger(name)
            logger.addFilter(_not_logged_yet)
            self._undo.append(partial(logger.removeFilter, _not_logged_yet))
        self._capture_warnings()

    def use_sink(self) -> None:
        """Make the sink the default one, and let it report drops in our schema."""
        before, report = set_default_sink(self.sink), self.sink.report
        self.sink.report = self.formatter.dropped

        def undo() -> None:
            set_default_sink(before)
            self.sink.flush()
            self.sink.report = report

        self._undo.append(undo)

    def own_sink(self) -> None:
        """Close the sink at the end."""
        self._undo.insert(0, self.sink.close)

    def _remember(self, logger: logging.Logger) -> None:
        handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate

        def undo() -> None:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)

        self._undo.append(undo)

    def _capture_warnings(self) -> None:
        before = warnings.showwarning
        logging.captureWarnings(capture=True)
        if warnings.showwarning is not before:
            self._undo.append(lambda: logging.captureWarnings(capture=False))


_active: Logging | None = None
_ending = False


def _end() -> None:
    """Who has come before us leaves after us, and may have something to say then: from now on each line is waited for."""
    global _ending  # noqa: PLW0603 - a process ends once
    _ending = True


atexit.register(_end)


def configure_logging(
    settings: LoggingSettings, *, stream: Any = None, sink: LogSink | None = None
) -> Logging:
    """Write all logging of this process as lines of our schema.

    The root logger's handlers for the console are replaced; other handlers stay. The loggers of uvicorn, gunicorn,
    hypercorn and ddtrace lose their own handlers, the servers' access logs are silenced, warnings become records, and a
    server's report of an exception that one of our lines has told of is dropped. Calling it again replaces the setup.

    Args:
        settings: `Settings`, or anything with the same attributes.
        stream: A file descriptor or a stream to write to. None: standard output.
        sink: In the place of one on `stream`; it becomes the default sink, and is not closed.

    Returns:
        A handle, whose `close` puts everything back.

    Raises:
        ValueError: `log_level` is not a name in `LEVELS`.
    """
    global _active  # noqa: PLW0603 - one setup per process
    if settings.log_level not in LEVELS:
        raise ValueError(f"log_level={settings.log_level!r}: expected one of {', '.join(LEVELS)}")
    formatter = LineFormatter(
        service=settings.service,
        environment=settings.environment,
        version=settings.version,
        redactor=settings.redactor(),
    )
    if _active is not None:
        _active.close()
    own = sink is None and stream is not None
    active = Logging(LogSink(stream) if own else sink or default_sink(), formatter)
    if own:
        active.own_sink()
    active.use_sink()
    active.install(LEVELS[settings.log_level])
    _active = active
    return active


def _writes_to_console(handler: logging.Handler) -> bool:
    stream: object = getattr(handler, "stream", None)
    consoles = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, SinkHandler) or any(stream is each for each in consoles if each is not None)


def _not_logged_yet(record: logging.LogRecord) -> bool:
    """Whether a server's record tells of something that no line of ours has told of."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return error is None or not _was_logged(error)


def _was_logged(error: BaseException) -> bool:
    if was_logged(error):
        return True
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        told = [_was_logged(each) for each in group.exceptions]  # of each one, so that no mark stays behind
        return all(told)
    return False
