"""What would leave as log lines, parsed, in the order in which it was written."""

import io
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from asgi_resilience.logs.schema import TRACE, LineFormatter
from asgi_resilience.logs.sink import LogSink, set_default_sink

__all__ = ("CapturedLogs", "captured_logs")


class CapturedLogs(LogSink):
    """A sink that keeps its lines in memory, and needs no thread for it; give it to a layer, or use `captured_logs`."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self._kept: list[bytes] = []

    def write(self, line: bytes, *, urgent: bool = False) -> None:  # noqa: ARG002 - nothing is ever dropped here
        """Keep a line."""
        self._kept.append(line)

    @property
    def raw(self) -> bytes:
        """The lines as they would leave: what to search for a secret that must not be there."""
        return b"".join(self._kept)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines, parsed."""
        return [json.loads(line) for line in self._kept]

    def of_requests(self) -> list[dict[str, Any]]:
        """The lines that the access log has written."""
        return [line for line in self.lines if "outcome" in line]


@contextmanager
def captured_logs(*, level: int = TRACE) -> Generator[CapturedLogs]:
    """Inside the block, the default sink and the root logger write to the `CapturedLogs` that it gives.

    Layers that were given a sink of their own keep it.

    Args:
        level: Of the root logger inside the block; loggers with a level of their own keep it.
    """
    captured = CapturedLogs()
    handler = _Handler(captured)
    root = logging.getLogger()
    before = root.level
    sink = set_default_sink(captured)
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield captured
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        set_default_sink(sink)


class _Handler(logging.Handler):
    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self._sink = sink
        self._formatter = LineFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.write(self._formatter.record(record))
