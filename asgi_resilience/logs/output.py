"""Where bytes leave the process: a file descriptor, an object with `write`, or whatever `sys.stdout` is at the moment.

An output may block, and raises OSError when what it was given is lost. Only the thread of a `LogSink` calls it.
"""

import os
import select
import stat
import sys
from typing import Any, Final, Protocol

__all__ = ("DescriptorOutput", "Output", "StandardOutput", "StreamOutput", "output")

_PIPE_BUF: Final[int] = getattr(select, "PIPE_BUF", 512)  # 512 is the least that POSIX allows
_LARGE: Final = 65_536


class Output(Protocol):
    """Takes bytes.

    Attributes:
        batch: How many bytes it should be given at once, unless one line is longer.
    """

    @property
    def batch(self) -> int:
        """See above."""
        ...

    def write(self, data: bytes) -> None:
        """Write all of `data`, or raise OSError."""


class DescriptorOutput:
    """A file descriptor.

    A pipe takes up to `PIPE_BUF` bytes in one piece (POSIX, write(2)), so the lines of several worker processes that
    share one do not get mixed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn = False
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            mode = 0
        self.batch = _PIPE_BUF if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else _LARGE

    def write(self, data: bytes) -> None:
        """Write all of `data`; also where somebody has made the descriptor non-blocking."""
        rest = memoryview(b"\n" + data if self._torn else data)  # half a line stands there: end it
        size = len(rest)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    self.wait()
        except OSError:
            self._torn = self._torn or len(rest) < size
            raise
        self._torn = False

    def wait(self) -> None:
        """Until the descriptor takes bytes again."""
        select.select((), (self._descriptor,), ())


class StreamOutput:
    """An object with `write` for text, or for bytes when it has no `encoding`."""

    batch = _LARGE

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write all of `data`, and flush."""
        _write(self._stream, data)


class StandardOutput:
    """The process's standard output; while something has replaced `sys.stdout`, as test runners do, that."""

    def __init__(self) -> None:
        self._descriptor = DescriptorOutput(1)
        self.batch = self._descriptor.batch

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        stream = sys.stdout
        if stream is sys.__stdout__ and stream is not None:  # None without a console
            self._descriptor.write(data)
        else:
            _write(stream, data)


def output(target: Any) -> Output:
    """The output for a file descriptor, for an object with a `fileno()` or a `write()`, or for None: standard output."""
    if target is None:
        return StandardOutput()
    if isinstance(target, int):
        return DescriptorOutput(target)
    try:
        return DescriptorOutput(target.fileno())
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return StreamOutput(target)


def _write(stream: Any, data: bytes) -> None:
    try:
        stream.write(data.decode("utf-8", "replace") if hasattr(stream, "encoding") else data)
        stream.flush()
    except OSError:
        raise
    except Exception as error:  # closed (ValueError), None (AttributeError), anything: the data is lost
        raise OSError(f"{type(stream).__qualname__} did not take a log line") from error
