"""The sink: who logs never waits, nothing is lost without being counted, and errors come out first."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_resilience.logs import sink as module
from asgi_resilience.logs.sink import LogSink, default_sink, drop_report, set_default_sink

INFO = b'{"level":"INFO","n":%d}\n'
ERROR = b'{"level":"ERROR","n":%d}\n'


class Gate(io.BytesIO):
    """A stream that waits while it is shut: the thread of a sink hangs in it, as in a pipe that nobody reads."""

    def __init__(self):
        super().__init__()
        self.opened = threading.Event()
        self.entered = threading.Event()

    def write(self, data):
        self.entered.set()
        assert self.opened.wait(10)
        return super().write(data)

    @property
    def lines(self):
        """What came through, parsed."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def gate():
    """A gate that opens at the end, so that no thread hangs."""
    made = Gate()
    yield made
    made.opened.set()


def stalled(gate, **options):
    """A sink whose thread hangs in the gate with one line."""
    sink = LogSink(gate, flush_interval=0, **options)
    sink.write(INFO % -1)
    assert gate.entered.wait(10)
    return sink


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_lines": 0}, "max_lines=0: expected at least 1"),
        ({"max_bytes": 0}, "max_bytes=0: expected at least 1"),
        ({"reserve": 1}, "reserve=1: expected a share, 0 or more and below 1"),
        ({"flush_interval": -1}, "flush_interval=-1: expected seconds, 0 to 1"),
        ({"flush_interval": float("nan")}, "flush_interval=nan: expected seconds, 0 to 1"),
    ],
)
def test_options_are_validated(options, message):
    """A wrong option is a ValueError that names it, its value and the range."""
    with pytest.raises(ValueError, match=re.escape(message)):
        LogSink(io.BytesIO(), **options)


def test_lines_come_out_in_order():
    """Without drops, lines leave in the order of the calls, urgent ones among them."""
    out = io.BytesIO()
    sink = LogSink(out)
    expected = [(ERROR if n % 7 == 0 else INFO) % n for n in range(2000)]
    for n, line in enumerate(expected):
        sink.write(line, urgent=n % 7 == 0)
    assert sink.flush(10)
    assert out.getvalue() == b"".join(expected)
    assert sink.dropped == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=300), st.integers(1, 200))
def test_any_mixture_keeps_its_order(urgency, batch):
    """Urgent and usual lines keep their order whatever the batches are cut to."""
    out = io.BytesIO()
    sink = LogSink(out, flush_interval=0)
    sink._output.batch = batch
    lines = [INFO % n for n in range(len(urgency))]
    for line, urgent in zip(lines, urgency, strict=True):
        sink.write(line, urgent=urgent)
    assert sink.flush(10)
    sink.close()
    assert out.getvalue() == b"".join(lines)


def test_lines_of_several_threads_all_arrive():
    """Threads may write at the same time; each one's lines stay in order."""
    out = io.BytesIO()
    sink = LogSink(out, max_lines=100_000)

    def write(thread):
        for n in range(500):
            sink.write(b'{"t":%d,"n":%d}\n' % (thread, n), urgent=n % 5 == 0)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.flush(10)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    for thread in range(8):
        assert [line["n"] for line in found if line["t"] == thread] == list(range(500))
    assert (sink._bytes, sink._count) == (0, 0)


def test_a_stalled_pipe_holds_nobody_up():
    """With a pipe that nobody reads, lines are taken up to the bound; a reader then gets errors first, and the count."""
    reader, writer = os.pipe()
    try:
        sink = LogSink(writer, max_lines=100, flush_interval=0)
        filler = b'{"level":"INFO","x":"%s"}\n' % (b"x" * 70_000)  # more than a pipe holds
        sink.write(filler)
        sink.flush(0.05)  # the thread has taken the filler, and hangs in it
        for n in range(300):
            sink.write(INFO % n)
        for n in range(5):
            sink.write(ERROR % n, urgent=True)
        assert sink.dropped > 0
        dropped = sink.dropped
        received = []

        def read():
            with os.fdopen(reader, "rb") as file:
                received.extend(json.loads(line) for line in file)

        thread = threading.Thread(target=read)
        thread.start()
        assert sink.flush(10)
    finally:
        os.close(writer)
    thread.join()
    levels = [line["level"] for line in received[1:]]
    assert levels[:5] == ["ERROR"] * 5
    assert [line["n"] for line in received[1:6]] == list(range(5))
    reports = [line for line in received if "dropped" in line.get("context", {})]
    assert [line["context"]["dropped"] for line in reports] == [{"INFO": dropped}]
    assert levels.count("INFO") + dropped == 300
    sink.close()


def test_usual_lines_leave_the_reserve_alone(gate):
    """INFO lines fill nine tenths of the buffer at most, by lines and by bytes; urgent ones may fill it all."""
    sink = stalled(gate, max_lines=100)
    for n in range(200):
        sink.write(INFO % n)
    assert sink.dropped == 110
    for n in range(20):
        sink.write(ERROR % n, urgent=True)
    assert sink.dropped == 120
    gate.opened.set()
    assert sink.flush(10)
    report = next(line for line in gate.lines if "context" in line)
    assert report["context"] == {"dropped": {"INFO": 110, "ERROR": 10}}
    assert [line["n"] for line in gate.lines if line["level"] == "ERROR"] == list(range(10))


def test_bytes_are_bounded_as_well(gate):
    """A few enormous lines are as much as many small ones."""
    sink = stalled(gate, max_bytes=1000)
    sink.write(b"x" * 901)
    sink.write(b"x" * 101, urgent=True)
    assert sink.dropped == 1
    sink.write(b"x" * 900, urgent=True)
    assert sink.dropped == 2
    gate.opened.set()
    assert sink.flush(10)
    assert b'"UNKNOWN":2' in gate.getvalue()


def test_drops_are_told_again_after_the_next_stall(gate):
    """A report tells of what was dropped since the one before; after it, order holds again."""
    sink = stalled(gate, max_lines=10)
    for n in range(20):
        sink.write(INFO % n)
    gate.opened.set()
    assert sink.flush(10)
    gate.opened.clear()
    gate.entered.clear()
    sink.write(INFO % 0)
    assert gate.entered.wait(10)
    for n in range(10):
        sink.write(INFO % n)
    gate.opened.set()
    assert sink.flush(10)
    assert [line["context"]["dropped"]["INFO"] for line in gate.lines if "context" in line] == [11, 1]


def test_a_report_that_fails_is_replaced(gate):
    """When the report can't be made, the built-in one tells of the drops."""

    def report(_):
        raise RuntimeError("no")

    sink = stalled(gate, max_lines=1, report=report)
    for n in range(3):
        sink.write(INFO % n)
    gate.opened.set()
    assert sink.flush(10)
    assert [line["message"] for line in gate.lines if "message" in line] == [
        "2 log lines were dropped: the output did not take them in time"
    ]


def test_the_built_in_report_is_a_line_of_the_schema():
    """It has a timestamp in RFC 3339, the level WARN, and the counts."""
    line = json.loads(drop_report(Counter(INFO=2, ERROR=1)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert line["level"] == "WARN"
    assert line["context"] == {"dropped": {"INFO": 2, "ERROR": 1}}


def test_a_failing_output_loses_lines_and_counts_them():
    """While an output raises, lines are lost, and counted; once it works again it gets the report."""

    class Flaky(io.BytesIO):
        broken = True

        def write(self, data):
            if self.broken:
                raise OSError("no space left")
            return super().write(data)

    out = Flaky()
    sink = LogSink(out, flush_interval=0)
    sink.write(INFO % 0)
    sink.write(ERROR % 0, urgent=True)
    assert sink.flush(10)
    assert sink.dropped == 2
    out.broken = False
    sink.write(INFO % 1)
    assert sink.flush(10)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0]["n"] == 1
    assert lines[1]["context"]["dropped"] == {"INFO": 1, "ERROR": 1}


def test_a_lost_report_is_not_forgotten(gate):
    """When the report itself can't be written, its counts are in the next one."""
    sink = stalled(gate, max_lines=1)
    sink.write(INFO % 0)
    sink.write(INFO % 1)
    fails = iter([False, True])
    written = gate.write

    def write(data):
        if next(fails, False):
            raise OSError("no")
        return written(data)

    gate.write = write
    gate.opened.set()
    assert sink.flush(10)
    sink.write(INFO % 2)
    assert sink.flush(10)
    assert sink.dropped == 1
    reports = [line["context"]["dropped"] for line in gate.lines if "context" in line]
    assert reports == [{"INFO": 1}]


def test_a_reader_that_goes_away_loses_lines_only():
    """EPIPE is counted, never raised."""
    reader, writer = os.pipe()
    os.close(reader)
    sink = LogSink(writer, flush_interval=0)
    sink.write(INFO % 0)
    assert sink.flush(10)
    assert sink.dropped == 1
    sink.close()
    os.close(writer)


def test_a_flush_of_a_stalled_sink_gives_up(gate):
    """`flush` returns False after its timeout, True when there is nothing to write."""
    assert LogSink(io.BytesIO()).flush(0)
    sink = stalled(gate)
    assert not sink.flush(0.01)


def test_after_close_lines_are_counted_as_dropped(gate):
    """`close` writes what is there, ends the thread, and later lines are dropped; it can be called again."""
    out = io.BytesIO()
    sink = LogSink(out)
    sink.write(INFO % 0)
    thread = sink._thread
    sink.close()
    sink.close()
    assert not thread.is_alive()
    sink.write(INFO % 1)
    sink.write(ERROR % 1, urgent=True)
    assert out.getvalue() == INFO % 0
    assert sink.dropped == 2
    LogSink(out).close()
    sink = stalled(gate)
    sink.close(0.01)
    gate.opened.set()
    sink._thread.join(10)
    assert not sink._thread.is_alive()


def test_without_threads_lines_wait(monkeypatch):
    """When no thread can be started, lines stay in memory until one can."""
    out = io.BytesIO()
    sink = LogSink(out)

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        sink.write(INFO % 0)
        assert not sink.flush(0)
    sink.write(INFO % 1)
    assert sink.flush(10)
    assert out.getvalue() == INFO % 0 + INFO % 1


def test_a_signal_handler_may_log_while_a_line_is_written():
    """A handler that runs inside `write` can call `write`: the lock is reentrant."""
    out = io.BytesIO()
    sink = LogSink(out)

    class Line(bytes):
        """A line during whose measuring, inside the lock, a signal arrives."""

        def __len__(self):
            if signal.getsignal(signal.SIGUSR1) is handler:
                signal.signal(signal.SIGUSR1, once)
                signal.raise_signal(signal.SIGUSR1)
            return super().__len__()

    def handler(*_):
        raise AssertionError("stands here until the signal is raised")

    def once(*_):
        sink.write(ERROR % 0, urgent=True)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sink.write(Line(INFO % 0))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sink.flush(10)
    assert (ERROR % 0) in out.getvalue()
    assert (INFO % 0) in out.getvalue()
    assert (sink._bytes, sink._count) == (0, 0)


def test_the_default_sink_can_be_replaced():
    """There is one default per process, made when it is needed."""
    before = set_default_sink(None)
    try:
        made = default_sink()
        assert default_sink() is made
        other = LogSink(io.BytesIO())
        assert set_default_sink(other) is made
        assert default_sink() is other
    finally:
        set_default_sink(before)


# -------------------------------------------------------------------------------------------------------- processes


def run(code, **options):
    """A Python process that runs `code`."""
    return subprocess.run(
        [sys.executable, "-c", dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_lines_are_flushed_at_exit():
    """What was written right before the end of the program arrives."""
    done = run("""
        from asgi_resilience.logs.sink import default_sink
        for n in range(3000):
            default_sink().write(b'%d\\n' % n)
    """)
    assert done.stdout.split() == [str(n) for n in range(3000)]
    assert done.stderr == ""


def test_lines_are_written_at_exit_where_no_thread_can_be_started():
    """The first line of a program may come when it ends, where Python 3.12 and later start no thread."""
    done = run("""
        import threading
        from asgi_resilience.logs.sink import default_sink
        def start(_):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        threading.Thread.start = start
        default_sink().write(b'last words\\n')
    """)
    assert (done.stdout, done.stderr) == ("last words\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_lines_are_flushed_at_the_end_of_a_child(method, tmp_path):
    """What a child of `multiprocessing` writes right before its end arrives, also where it ends without `atexit`."""
    program = tmp_path / "program.py"
    program.write_text(
        dedent(f"""
        import multiprocessing
        from asgi_resilience.logs.sink import LogSink

        def child():
            sink = LogSink(flush_interval=1)
            sink.write(b'child\\n')

        if __name__ == "__main__":
            process = multiprocessing.get_context("{method}").Process(target=child)
            process.start()
            process.join()
        """)
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.stdout, done.stderr) == ("child\n", "")


def test_a_stalled_pipe_does_not_hang_the_exit():
    """A program whose output nobody reads ends all the same, with its own exit code."""
    reader, writer = os.pipe()
    code = "from asgi_resilience.logs import sink\nsink._EXIT_TIMEOUT = 0.1\n" + dedent("""
        sink.default_sink().write(b'x' * 1_000_000)
        raise SystemExit(3)
    """)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, timeout=60, check=False)
    os.close(reader)
    os.close(writer)
    assert done.returncode == 3


def test_a_closed_standard_output_does_not_matter():
    """A program without a standard output logs into nothing and ends well."""
    done = run("""
        import os
        os.close(1)
        from asgi_resilience.logs.sink import default_sink
        default_sink().write(b'x\\n')
        default_sink().flush()
        assert default_sink().dropped == 1
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_writes_its_own_lines_only():
    """Parent and child both deliver, nothing twice, also when a thread held the lock at the fork."""
    done = run("""
        import os, warnings
        from asgi_resilience.logs.sink import default_sink
        warnings.simplefilter("ignore")  # from 3.12 on, forking with threads is frowned upon
        sink = default_sink()
        sink.write(b'before\\n')
        sink._lock.acquire()
        child = os.fork()
        if not child:
            sink.write(b'child\\n')
            sink.flush()
            os._exit(0)
        sink._lock.release()
        sink.write(b'parent\\n')
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """)
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["before", "child", "parent"]


def test_every_sink_begins_anew_in_a_child():
    """The hook for forked children empties every sink of the process."""
    sink = LogSink(io.BytesIO(), flush_interval=1)
    sink.write(INFO % 0)
    lines = sink._lines
    with suppress(IndexError):
        lines.popleft()
    sinks, module._sinks = module._sinks, {sink}
    try:
        module._after_fork()
    finally:
        module._sinks = sinks
    assert sink._thread is None
    assert not sink._lines
    assert sink.flush(0)
