"""Gets lines out of the process without ever making the code that logs wait.

`write` puts a line into memory; one thread per process writes what has gathered there. When the reader of the pipe
stops reading, the thread waits and the service goes on: the buffer fills up to its bounds, further lines are dropped
and counted, and the count is reported in a line of its own once there is room.

    nothing was dropped     lines leave in the order in which they came
    lines were dropped      the urgent ones (ERROR and above) leave first, and the report goes between the others

Urgent lines have room of their own, so a flood of INFO can't push them out.
"""

import atexit
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakSet

import orjson

from asgi_resilience.logs.output import output
from asgi_resilience.process_life import in_forked_children, when_child_ends

__all__ = ("DropReport", "LogSink", "default_sink", "drop_report", "flush_all", "set_default_sink")

DropReport = Callable[[Mapping[str, int]], bytes]

_EXIT_TIMEOUT: Final = 2.0


def drop_report(dropped: Mapping[str, int]) -> bytes:
    """The line that tells how many lines were dropped, by level."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = f"{sum(dropped.values())} log lines were dropped: the output did not take them in time"
    line = {"timestamp": now, "level": "WARN", "message": message, "context": {"dropped": dict(dropped)}}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class LogSink:
    """A bounded buffer of lines, and the thread that writes them.

    Args:
        target: A file descriptor, an object with a `fileno()` or a `write()`. None: standard output.
        max_lines: How many lines wait at most.
        max_bytes: How many bytes they have at most.
        reserve: The share of both bounds that is kept for urgent lines.
        flush_interval: Seconds for which lines gather before they are written, up to 1.
        report: Makes the line about dropped lines.

    Attributes:
        dropped: How many lines were lost so far, for want of room or because the output failed.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        target: Any = None,
        *,
        max_lines: int = 10_000,
        max_bytes: int = 8 * 1024 * 1024,
        reserve: float = 0.1,
        flush_interval: float = 0.02,
        report: DropReport = drop_report,
    ) -> None:
        if max_lines < 1:
            raise ValueError(f"max_lines={max_lines!r}: expected at least 1")
        if max_bytes < 1:
            raise ValueError(f"max_bytes={max_bytes!r}: expected at least 1")
        if not 0 <= reserve < 1:
            raise ValueError(f"reserve={reserve!r}: expected a share, 0 or more and below 1")
        if not 0 <= flush_interval <= 1:
            raise ValueError(f"flush_interval={flush_interval!r}: expected seconds, 0 to 1")
        self.report = report
        self._output = output(target)
        self._interval = flush_interval
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._usual_lines = max(1, int(max_lines * (1 - reserve)))
        self._usual_bytes = max(1, int(max_bytes * (1 - reserve)))
        self._closed = False
        self.begin()
        _sinks.add(self)

    def begin(self) -> None:
        """Forget what was written so far: for a forked child, whose parent has the lines and the thread."""
        # Reentrant: a signal handler or a finalizer may log while this very thread is inside `write`.
        self._lock = threading.RLock()
        self._asleep = threading.Lock()  # held by nobody but the thread, which waits for its release
        self._asleep.acquire()
        self._thread: threading.Thread | None = None
        self._idle = True
        self._waiting: list[threading.Event] = []
        self._lines: deque[bytes] = deque()
        self._urgent: deque[tuple[int, bytes]] = deque()  # with how many usual lines had come before
        self._left = 0  # how many usual lines have gone
        self._bytes = self._count = 0
        self._drops: Counter[str] = Counter()
        self._reporting: Counter[str] | None = None
        self._failing = False
        self.dropped = 0

    # ------------------------------------------------------------------------------------------------ who logs calls

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Take a line, which ends in a newline. Never waits, never raises; without room the line is dropped.

        Args:
            line: The line.
            urgent: It may use the reserve, and goes first when lines were dropped.
        """
        with self._lock:
            size = self._bytes + len(line)
            if urgent or self._closed or size > self._usual_bytes or self._count >= self._usual_lines:
                if not urgent or self._closed or size > self._max_bytes or self._count >= self._max_lines:
                    self._drop(line)
                    return
                self._urgent.append((self._left + len(self._lines), line))
            else:
                self._lines.append(line)
            self._bytes += len(line)
            self._count += 1
            if self._idle:
                self._wake()

    @property
    def running(self) -> bool:
        """Whether the thread has been started in this process."""
        return self._thread is not None

    def flush(self, timeout: float = _EXIT_TIMEOUT) -> bool:
        """Wait until all lines so far are written; False when that takes more than `timeout` seconds. It blocks."""
        done = threading.Event()
        with self._lock:
            if self._idle and not self._bytes:
                return True
            self._waiting.append(done)
            if self._idle:
                self._wake()
            if self._thread is None:
                return False
        return done.wait(timeout)

    def close(self, timeout: float = _EXIT_TIMEOUT) -> None:
        """Flush, and end the thread unless it hangs in the output. Lines that come later are dropped."""
        flushed = self.flush(timeout)
        with self._lock:
            self._closed = True
            thread = self._thread
            if thread is not None and self._idle:
                self._wake()
        if thread is not None and flushed:
            thread.join(timeout)

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="asgi-resilience-logs", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the lines wait for the next write, or the flush at exit
                return
            self._thread = thread
            when_child_ends(flush_all)
        self._idle = False
        self._asleep.release()

    def _drop(self, line: bytes) -> None:
        self.dropped += 1
        self._drops[_level(line)] += 1

    # ---------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._closed:
            self._asleep.acquire()
            time.sleep(self._interval)
            self.drain()

    def drain(self) -> None:
        """Write all lines: for the thread, and at exit where none can be started any more."""
        while batch := self._take():
            try:
                self._output.write(b"".join(batch))
            except OSError:
                self._lose(batch)
            else:
                self._failing = False
                self._reporting = None

    def _take(self) -> list[bytes]:
        """The lines to write next. Without any the thread may sleep, and those who wait for that are told."""
        lines, urgent = self._lines, self._urgent
        batch: list[bytes] = []
        room = self._output.batch
        with self._lock:
            if self._drops and not self._failing and not urgent and len(lines) <= self._usual_lines // 2:
                batch.append(self._make_report())
                room -= len(batch[0])
            if lines and not urgent and not batch and self._bytes <= room:  # usually: all, without a loop
                self._bytes = self._count = 0
                self._lines = deque()
                self._left += len(lines)
                return [*lines]
            while lines or urgent:
                first = urgent and (not lines or urgent[0][0] <= self._left or self._drops)
                line = urgent[0][1] if first else lines[0]
                room -= len(line)
                if room < 0 and batch:
                    break
                batch.append(line)
                if first:
                    urgent.popleft()
                else:
                    lines.popleft()
                    self._left += 1
                self._bytes -= len(line)
                self._count -= 1
            if not batch:
                self._bytes = self._count = 0  # exact again, should a signal handler have logged in between
                self._idle = True
                for done in self._waiting:
                    done.set()
                self._waiting.clear()
        return batch

    def _make_report(self) -> bytes:
        self._reporting, self._drops = self._drops, Counter()
        try:
            return self.report(self._reporting)
        except Exception:  # noqa: BLE001 - the report is the application's to replace, the counts are ours to tell
            return drop_report(self._reporting)

    def _lose(self, batch: list[bytes]) -> None:
        with self._lock:
            self._failing = True  # until something gets through, there is nobody to report to
            if self._reporting is not None:
                self._drops += self._reporting
                self._reporting = None
                batch = batch[1:]
            for line in batch:
                self._drop(line)


def _level(line: bytes) -> str:
    _, found, rest = line.partition(b'"level":"')
    return rest.partition(b'"')[0].decode("ascii", "replace") if found else "UNKNOWN"


# ------------------------------------------------------------------------------------------- the sinks of this process

_sinks: WeakSet[LogSink] = WeakSet()
_default: LogSink | None = None


def default_sink() -> LogSink:
    """The sink of everything that was not given another: standard output, unless `set_default_sink` has said else."""
    global _default  # noqa: PLW0603 - one per process, made when it is first needed
    if _default is None:
        _default = LogSink()
    return _default


def set_default_sink(sink: LogSink | None) -> LogSink | None:
    """Make `sink` the default; returns the one before. None: a new one is made when it is needed."""
    global _default
    before, _default = _default, sink
    return before


def flush_all() -> None:
    """At exit. A pipe that nobody reads holds it up for `_EXIT_TIMEOUT` seconds in all."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for sink in tuple(_sinks):
        if not sink.flush(max(0.0, deadline - time.monotonic())) and not sink.running:
            sink.drain()


def _after_fork() -> None:
    for sink in tuple(_sinks):
        sink.begin()


atexit.register(flush_all)
in_forked_children(_after_fork)
