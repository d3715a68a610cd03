"""`configure_logging`: every line of the process is ours, exactly once, and everything can be put back."""

import importlib
import io
import json
import logging
import logging.config
import subprocess
import sys
import warnings
from dataclasses import dataclass
from textwrap import dedent

import pytest
from uvicorn.config import LOGGING_CONFIG

from asgi_resilience import Settings
from asgi_resilience.context import LOGGED_MARK, mark_logged
from asgi_resilience.logs.redaction import MARK, Redactor
from asgi_resilience.logs.setup import SinkHandler, configure_logging
from asgi_resilience.logs.sink import LogSink, default_sink, drop_report


@dataclass(frozen=True)
class Few:
    """Settings with what logging needs and nothing else."""

    service: str = "shop"
    environment: str = ""
    version: str = ""
    log_level: str = "INFO"
    redactor: type[Redactor] = Redactor


@pytest.fixture
def out():
    """What is written to."""
    return io.BytesIO()


@pytest.fixture
def configured(out):
    """Logging at TRACE, undone at the end."""
    with configure_logging(Few(log_level="TRACE"), stream=out) as handle:
        yield handle


def lines(out, handle):
    """The lines so far, parsed."""
    assert handle.sink.flush(10)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def ours():
    """The handlers of the root logger that are ours."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, SinkHandler)]


def test_records_become_lines(out, configured):
    """What the application logs leaves in the schema, through the sink."""
    logging.getLogger("app").warning("low on %s", "stock", extra={"sku": 7})
    (line,) = lines(out, configured)
    assert (line["level"], line["service"], line["message"]) == ("WARN", "shop", "low on stock")
    assert line["context"] == {"sku": 7}
    assert line["logger"] == {"name": "app"}


def test_the_level_of_the_settings_holds(out):
    """Records below `log_level` are not written."""
    with configure_logging(Few(log_level="WARN"), stream=out) as handle:
        logging.getLogger("app").info("no")
        logging.getLogger("app").warning("yes")
        assert [line["message"] for line in lines(out, handle)] == ["yes"]


def test_a_level_that_is_none_is_refused():
    """A wrong level is a ValueError that says which there are, and changes nothing."""
    with pytest.raises(
        ValueError, match="log_level='LOUD': expected one of CRITICAL, ERROR, WARN, INFO, DEBUG, TRACE"
    ):
        configure_logging(Few(log_level="LOUD"))
    assert ours() == []


def test_the_settings_of_the_stack_fit(out):
    """`Settings` has what is read, and its redaction holds."""
    settings = Settings(redact_keys=("iban",), redact_patterns=(r"cust-\d+",), redact_email="domain")
    with configure_logging(settings, stream=out) as handle:
        logging.getLogger("app").info("iban=DE1 cust-77 a@b.com password=x")
        assert [line["message"] for line in lines(out, handle)] == [
            f"iban={MARK} {MARK} a@******.com password={MARK}"
        ]


def test_errors_are_urgent(configured):
    """Records at ERROR and above use the room that is kept for them."""
    written = []
    configured.sink.write = lambda line, *, urgent=False: written.append(urgent)
    for level in (logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("app").log(level, "x")
    assert written == [False, True, True]


def test_configuring_twice_gives_one_line(out, configured):
    """The second call replaces the first; lines are not doubled (99)."""
    assert len(ours()) == 1
    second = io.BytesIO()
    with configure_logging(Few(), stream=second) as handle:
        logging.getLogger("app").info("once")
        assert len(ours()) == 1
        assert [line["message"] for line in lines(second, handle)] == ["once"]
        assert out.getvalue() == b""
    configured.close()
    assert ours() == []


def test_everything_is_put_back(out):
    """`close` restores handlers, levels, propagation, warnings and the default sink, however often it is called."""
    root, server = logging.getLogger(), logging.getLogger("uvicorn.access")
    mine = logging.StreamHandler(sys.stderr)
    root.addHandler(mine)
    server.addHandler(own := logging.NullHandler())
    try:
        state = (list(root.handlers), root.level, list(server.handlers), server.propagate)
        sink, show = default_sink(), warnings.showwarning
        handle = configure_logging(Few(), stream=out)
        assert mine not in root.handlers
        assert server.handlers == []
        assert default_sink() is handle.sink
        handle.close()
        handle.close()
        assert (root.handlers, root.level, server.handlers, server.propagate) == state
        assert default_sink() is sink
        assert warnings.showwarning is show
        assert handle.sink.report is drop_report
    finally:
        root.removeHandler(mine)
        server.removeHandler(own)


def test_handlers_that_do_not_write_to_the_console_stay(out, tmp_path):
    """Files, and what an error tracker has added, go on as before."""
    kept = [
        logging.FileHandler(tmp_path / "log"),
        logging.StreamHandler(io.StringIO()),
        logging.NullHandler(),
    ]
    root = logging.getLogger()
    for handler in kept:
        root.addHandler(handler)
    try:
        with configure_logging(Few(), stream=out):
            assert [handler for handler in root.handlers if handler in kept] == kept
    finally:
        for handler in kept:
            root.removeHandler(handler)
            handler.close()


def test_a_sink_that_is_given_is_used_and_left_open(out):
    """With `sink`, lines go there, drops are reported in the schema, and `close` leaves it open."""
    sink = LogSink(out)
    with configure_logging(Few(), sink=sink) as handle:
        assert handle.sink is sink is default_sink()
        assert json.loads(sink.report({"INFO": 1}))["service"] == "shop"
    sink.write(b"{}\n")
    assert sink.flush(10)
    assert out.getvalue() == b"{}\n"


def test_without_a_stream_the_default_sink_is_used():
    """With neither stream nor sink, lines go where those of the access log go."""
    with configure_logging(Few()) as handle:
        assert handle.sink is default_sink()


def test_the_logging_of_uvicorn_is_taken_over(out):
    """Its own handlers go, its error logger speaks in the schema, its access log is silent (99)."""
    names = ("uvicorn", "uvicorn.error", "uvicorn.access")
    before = {
        name: (list((each := logging.getLogger(name)).handlers), each.level, each.propagate) for name in names
    }
    logging.config.dictConfig({**LOGGING_CONFIG, "disable_existing_loggers": False})
    try:
        with configure_logging(Few(), stream=out) as handle:
            logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
            logging.getLogger("uvicorn.access").info("GET / 200")
            assert not logging.getLogger("uvicorn.access").hasHandlers()
            assert [line["message"] for line in lines(out, handle)] == ["started"]
            assert "context" not in lines(out, handle)[0]
    finally:
        for name, (handlers, level, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@pytest.mark.parametrize("name", ["uvicorn.error", "gunicorn.error", "hypercorn.error"])
def test_a_servers_duplicate_of_an_exception_is_dropped(out, configured, name):
    """What one of our lines has told of is not told again by the server; its mark is used up by that."""
    server, error = logging.getLogger(name), ValueError("x")
    mark_logged(error)
    server.error("Exception in ASGI application", exc_info=error)
    assert not hasattr(error, LOGGED_MARK)
    server.error("Exception in ASGI application", exc_info=error)
    server.error("something else")
    server.error("no exception", exc_info=True)
    assert [line["message"] for line in lines(out, configured)] == [
        "Exception in ASGI application",
        "something else",
        "no exception",
    ]


def test_a_group_is_a_duplicate_when_all_its_members_are(out, configured):
    """A task group around the stack wraps the exception: the leaves decide."""
    server = logging.getLogger("uvicorn.error")
    told, new = ValueError("told"), ValueError("new")
    mark_logged(told)
    server.error("both", exc_info=ExceptionGroup("g", [told, new]))
    assert not hasattr(told, LOGGED_MARK)
    mark_logged(told)
    server.error("one", exc_info=ExceptionGroup("g", [ExceptionGroup("h", [told])]))
    assert [line["message"] for line in lines(out, configured)] == ["both"]


def test_the_application_may_log_what_was_logged(out, configured):
    """Only servers repeat themselves: a line that the application asks for is written."""
    error = ValueError("x")
    mark_logged(error)
    logging.getLogger("app").error("again", exc_info=error)
    assert [line["message"] for line in lines(out, configured)] == ["again"]


def test_warnings_become_lines(out, configured):
    """`warnings.warn` is a record of the logger `py.warnings`."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old API", DeprecationWarning, stacklevel=1)
    (line,) = lines(out, configured)
    assert "DeprecationWarning: old API" in line["message"]
    assert (line["level"], line["logger"]["name"]) == ("WARN", "py.warnings")


def test_a_program_that_captures_warnings_itself_goes_on_doing_so(out):
    """When warnings are captured already, `close` leaves them so."""
    logging.captureWarnings(capture=True)
    captured = warnings.showwarning
    try:
        configure_logging(Few(), stream=out).close()
        assert warnings.showwarning is captured
    finally:
        logging.captureWarnings(capture=False)


def test_a_whole_program_logs_in_the_schema_until_its_end():
    """In a program of its own, the last lines arrive, in order, and nothing else is on standard output."""
    code = """
        import logging, warnings
        from asgi_resilience.logs.setup import configure_logging
        from asgi_resilience import Settings
        logging.basicConfig()
        configure_logging(Settings(service="shop"))
        log = logging.getLogger("app")
        for n in range(2000):
            log.info("line %d", n)
        warnings.warn("careful")
        log.error("end")
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["message"] for line in found[:2000]] == [f"line {n}" for n in range(2000)]
    assert "careful" in found[2000]["message"]
    assert found[2001]["level"] == "ERROR"
    assert done.stderr == ""


def test_the_handler_needs_no_lock(out, configured, monkeypatch):
    """Records become lines, those of a handler's filter too, where `logging.Handler.handle` takes the lock (Python 3.13)."""

    def locking(handler, record):
        with handler.lock:
            handler.emit(record)

    monkeypatch.setattr(logging.Handler, "handle", locking)
    (handler,) = ours()
    handler.addFilter(lambda record: record.msg != "no")
    logging.getLogger("app").warning("yes")
    logging.getLogger("app").warning("no")
    assert [line["message"] for line in lines(out, configured)] == ["yes"]


def test_the_handler_leaves_flushing_to_the_sink(configured):
    """`logging.shutdown` may flush the handler at any time; it holds no lock and keeps nothing back."""
    (handler,) = ours()
    handler.flush()
    assert handler.lock is None
    assert configured.formatter is handler._lines


def test_at_the_end_of_the_process_each_line_is_waited_for(monkeypatch):
    """The flush at exit is over then, and nothing comes after it."""
    monkeypatch.setattr("asgi_resilience.logs.setup._ending", False)
    out = io.BytesIO()
    with configure_logging(Settings(), stream=out):
        importlib.import_module("asgi_resilience.logs.setup")._end()
        logging.getLogger("late").error("the last word")
        assert b"the last word" in out.getvalue()
