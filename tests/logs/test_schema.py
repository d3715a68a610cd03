"""The schema of a line: which fields stand where, that every line is JSON, and that making one never raises."""

import json
import logging
import queue
import re
import sys
import threading
from logging.handlers import QueueHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.context import RequestContext, request_scope
from asgi_resilience.errors import AppError
from asgi_resilience.logs import encoding
from asgi_resilience.logs.encoding import encode, timestamps
from asgi_resilience.logs.exception import describe
from asgi_resilience.logs.redaction import MARK, Redactor
from asgi_resilience.logs.schema import LEVELS, TRACE, LineFormatter

NOW = 1_763_934_000.123
formatter = LineFormatter(service="shop", environment="test", version="1.2.3", clock=lambda: NOW)
redactor = Redactor()


def finished(**facts):
    """The record of a request that took 1.5 ms, with these facts."""
    scope = {
        "type": facts.pop("kind", "http"),
        "method": facts.pop("method", "GET"),
        "path": facts.pop("path", "/items/7"),
    }
    record = RequestContext(scope, clock=lambda: 0.0)
    record.status, record.outcome, record.ended_at, record.first_byte_at = 200, "ok", 0.0015, 0.001
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def raised(error):
    """An exception with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def log_record(msg="hello", *args, level=logging.INFO, **facts):
    """A record as `logging` makes it."""
    record = logging.LogRecord("app.orders", level, __file__, 1, msg, args, facts.pop("exc_info", None))
    record.created = NOW
    record.__dict__.update(facts)
    return record


def line_of(record):
    """The line of a logging record, parsed."""
    line = formatter.record(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def request_line(record, *args, **options):
    """The line of a request, parsed."""
    line = formatter.request(record, *args, **options)
    assert line.count(b"\n") == 1
    return json.loads(line)


# ---------------------------------------------------------------------------------------------------------- requests


def test_the_line_of_a_request_is_complete():
    """A request's line has the schema's fields and Datadog's standard attributes, in the order people read."""
    record = finished(
        request_id="req_1",
        user_id="user_7",
        route="/items/{id}",
        bytes_sent=42,
        trace_id="ab" * 16,
        span_id="0" * 15 + "1",
        log_tags={"dd.service": "shop"},
    )
    line = request_line(record, "INFO", "203.0.113.7", b"curl/8", query=b"a=1&token=x", sample_rate=0.5)
    assert line == {
        "timestamp": "2025-11-23T21:40:00.123Z",
        "level": "INFO",
        "service": "shop",
        "version": "1.2.3",
        "environment": "test",
        "logger": {"name": "asgi_resilience.access"},
        "request_id": "req_1",
        "user_id": "user_7",
        "message": "GET /items/7 200",
        "outcome": "ok",
        "duration_ms": 1.5,
        "duration": 1_500_000,
        "ttfb_ms": 1.0,
        "http": {
            "method": "GET",
            "status_code": 200,
            "route": "/items/{id}",
            "url_details": {"path": "/items/7", "queryString": f"a=1&token={MARK}"},
            "useragent": "curl/8",
        },
        "network": {"client": {"ip": "203.0.113.7"}, "bytes_written": 42},
        "dd.service": "shop",
        "dd.trace_id": "ab" * 16,
        "dd.span_id": "1",
        "sample_rate": 0.5,
    }
    assert list(line)[:5] == ["timestamp", "level", "service", "version", "environment"]


def test_what_has_no_value_is_absent():
    """A field without a value does not stand in the line, not even as null."""
    line = json.loads(
        LineFormatter().request(finished(status=None, first_byte_at=None, outcome="aborted_by_client"))
    )
    assert line.keys() == {
        *("timestamp", "level", "logger", "message", "outcome", "duration_ms", "duration", "http", "network")
    }
    assert line["http"] == {"method": "GET", "url_details": {"path": "/items/7"}}
    assert line["network"] == {"bytes_written": 0}
    assert line["message"] == "GET /items/7 aborted_by_client"


def test_an_error_without_an_exception_has_its_code():
    """The code of an answer that the application made itself stands in `error`."""
    line = request_line(finished(status=404, error_code="RESOURCE_NOT_FOUND"), "INFO")
    assert line["error"] == {"code": "RESOURCE_NOT_FOUND"}
    line = request_line(
        finished(status=504, error_code="REQUEST_TIMED_OUT", error_message="password=x"), "ERROR"
    )
    assert line["error"] == {"code": "REQUEST_TIMED_OUT", "message": f"password={MARK}"}


def test_an_exception_is_told_with_its_stack_trace_at_error_only():
    """`error` has code, kind and message; at ERROR the stack trace, too; the context of an `AppError` is in `context`."""
    error = raised(AppError("no model", code="MODEL_LOADING_FAILED", context={"model": "m1", "api_key": "k"}))
    record = finished(status=500, exception=error, error_code="MODEL_LOADING_FAILED", fields={"tenant": "t"})
    line = request_line(record, "ERROR")
    trace = line["error"].pop("stack_trace")
    assert trace.startswith("Traceback (most recent call last):")
    assert trace.endswith("no model")
    assert line["error"] == {
        "code": "MODEL_LOADING_FAILED",
        "kind": "asgi_resilience.errors.AppError",
        "message": "MODEL_LOADING_FAILED: no model",
    }
    assert line["context"] == {"model": "m1", "api_key": MARK, "tenant": "t"}
    assert "stack_trace" not in request_line(record, "INFO")["error"]


def test_what_was_bound_is_the_context():
    """Bound fields, fallbacks and the close code of a websocket stand in `context`."""
    record = finished(kind="websocket", method="WEBSOCKET", status=101, close_code=1011, degraded=("prices",))
    record.bind(order=7, card="4111111111111111")
    assert request_line(record)["context"] == {
        "order": 7,
        "card": MARK,
        "degraded": ["prices"],
        "close_code": 1011,
    }
    assert request_line(finished(close_code=1000))["context"] == {"close_code": 1000}
    assert request_line(finished(degraded=("a",)))["context"] == {"degraded": ["a"]}


def test_what_a_client_sends_is_bounded_and_redacted():
    """Method, path, user agent, query and user id have a length, and no secrets."""
    record = finished(method="M" * 500, path="/" + "p" * 9000, user_id="alice@example.com" + "u" * 900)
    line = request_line(
        record, "INFO", "c" * 900, b"alice@example.com " + b"a" * 9000, query=b"q=" + b"q" * 9000
    )
    assert line["http"]["method"] == "M" * 32
    assert len(line["http"]["url_details"]["path"]) == 2048
    assert len(line["http"]["url_details"]["queryString"]) == 2048
    assert line["http"]["useragent"].startswith("******@example.com aaa")
    assert len(line["http"]["useragent"]) < 520
    assert line["user_id"].startswith("******@example.com")
    assert len(line["user_id"]) < 260
    assert line["network"]["client"]["ip"] == "c" * 256
    assert request_line(finished(path="/reset/alice@example.com?password=x"))["message"] == (
        f"GET /reset/******@example.com?password={MARK} 200"
    )


def test_user_agents_are_remembered_within_bounds():
    """The same agent gives the same text; a flood of different or enormous ones costs no memory."""
    mine = LineFormatter()
    for number in range(5000):
        line = json.loads(mine.request(finished(), "INFO", None, b"agent %d" % number))
        assert line["http"]["useragent"] == f"agent {number}"
    mine.request(finished(), "INFO", None, b"x" * 600)
    assert 0 < len(mine._user_agent._known) <= 1024
    assert max(map(len, mine._user_agent._known)) <= 512


@given(st.text(), st.binary(), st.text(), st.text(), st.binary())
def test_a_request_line_is_json_whatever_the_client_sends(path, agent, method, client, query):
    """Newlines, quotes, control characters and halves of surrogate pairs can't break out of a line (94)."""
    record = finished(path=path, method=method, request_id=client, route=path)
    line = request_line(record, "INFO", client, agent, query=query)
    assert line["outcome"] == "ok"
    assert "\\n" not in json.dumps(sorted(line))


@pytest.mark.parametrize("path", ["/\ud800", "/\n\x1b[31m", '/"},"level":"ERROR', "/\u2028"])
def test_a_hostile_path_stays_inside_its_field(path):
    """What a path says never becomes a field of the line."""
    line = request_line(finished(path=path))
    assert line["level"] == "INFO"
    assert line["http"]["url_details"]["path"] in (path, "/\\ud800")


def test_a_record_that_can_not_be_read_gives_a_line_all_the_same():
    """When what a handler has set fails, the line says that, and at which request."""

    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    line = request_line(finished(user_id=Broken(), request_id="req_1"))
    assert line["message"] == "[a log line could not be made: RuntimeError]"
    assert line["request_id"] == "req_1"
    assert line["service"] == "shop"
    assert (
        request_line(finished(trace_id="ab" * 16, span_id="1", log_tags={"x": object()}))["x"]
        == "[unserialisable object]"
    )


# ---------------------------------------------------------------------------------------------------- logging records


def test_the_line_of_a_record_is_complete():
    """A record's line has the schema's fields; `extra` is its context."""
    assert line_of(log_record("hello %s", "you", order=7, token="t")) == {
        "timestamp": "2025-11-23T21:40:00.123Z",
        "level": "INFO",
        "service": "shop",
        "version": "1.2.3",
        "environment": "test",
        "message": "hello you",
        "context": {"order": 7, "token": MARK},
        "logger": {"name": "app.orders"},
    }


@pytest.mark.parametrize(
    ("number", "name"),
    [
        *((0, "TRACE"), (5, "TRACE"), (9, "TRACE"), (10, "DEBUG"), (20, "INFO"), (25, "INFO"), (30, "WARN")),
        *((40, "ERROR"), (50, "CRITICAL"), (99, "CRITICAL")),
    ],
)
def test_levels_have_the_names_of_the_schema(number, name):
    """WARNING is WARN; a number between two levels has the name of the lower one."""
    assert line_of(log_record(level=number))["level"] == name
    assert LEVELS["TRACE"] == TRACE == 5


def test_a_record_belongs_to_its_request():
    """While a request is served, its id, user, trace and bound fields stand on every line (54)."""
    request = finished(
        request_id="req_1",
        user_id=42,
        trace_id="ab" * 16,
        span_id="1",
        log_tags={},
        fields={"tenant": "t", "n": 1},
    )
    with request_scope(request):
        line = line_of(log_record(n=2))
    assert (line["request_id"], line["user_id"], line["dd.trace_id"]) == ("req_1", "42", "ab" * 16)
    assert line["context"] == {"tenant": "t", "n": 2}
    with request_scope(finished()):
        assert {"request_id", "user_id", "context"}.isdisjoint(line_of(log_record()))


def test_some_extras_stand_at_the_top():
    """`request_id`, `user_id`, `duration_ms` and `error_code` in `extra` are the schema's own fields."""
    line = line_of(
        log_record(request_id="req_2", user_id="u", duration_ms=3.5, error_code="CACHE_READ_FAILED")
    )
    assert (line["request_id"], line["user_id"], line["duration_ms"]) == ("req_2", "u", 3.5)
    assert line["error"] == {"code": "CACHE_READ_FAILED"}
    assert "context" not in line


def test_the_fields_that_ddtrace_adds_stay_at_the_top():
    """`dd.*` attributes of a record are kept, unless they say that there is no span; the request's own come first."""
    tags = {"dd.service": "s", "dd.env": "e", "dd.version": "1"}
    line = line_of(log_record(**{"dd.trace_id": "1", "dd.span_id": "2", **tags}))
    assert (line["dd.trace_id"], line["dd.span_id"], line["dd.env"]) == ("1", "2", "e")
    none = {"dd.trace_id": "0", "dd.span_id": "0", **tags}
    line = line_of(log_record(**none))
    assert "dd.trace_id" not in line
    assert "dd.span_id" not in line
    with request_scope(finished(trace_id="ab" * 16, span_id="1", log_tags={})):
        assert line_of(log_record(**none))["dd.trace_id"] == "ab" * 16


def test_messages_and_arguments_are_redacted():
    """Secrets go from the message, wherever they came into it (104)."""
    assert line_of(log_record("login %s", {"password": "x"}))["message"] == "login {'password': '[redacted]'}"
    assert line_of(log_record("password=%s", "x"))["message"] == f"password={MARK}"
    assert (
        line_of(log_record("Exception in ASGI application\n"))["message"] == "Exception in ASGI application"
    )


def test_arguments_that_do_not_fit_are_left_out():
    """A message that can't be formatted, or an argument that can't be shown, is said so in its line (108)."""

    class Broken:
        def __str__(self):
            raise RuntimeError("no")

        __repr__ = __str__

    assert line_of(log_record("%d", "x"))["message"] == "'%d' [arguments left out: TypeError]"
    assert line_of(log_record("%s", Broken()))["message"] == "'%s' [arguments left out: RuntimeError]"
    assert line_of(log_record(broken=Broken()))["context"] == {"broken": "[unserialisable Broken]"}
    assert line_of(log_record(Broken()))["message"] == "[a log line could not be made: RuntimeError]"


def test_an_exception_is_described():
    """`exc_info` gives kind, message and stack trace; the code of an `AppError`, or `error_code`, comes with it."""
    error = raised(ValueError("token=x"))
    described = line_of(log_record(level=40, exc_info=(ValueError, error, error.__traceback__)))["error"]
    assert described["kind"] == "ValueError"
    assert described["message"] == f"token={MARK}"
    assert described["stack_trace"].endswith(f"ValueError: token={MARK}")
    described = line_of(log_record(exc_info=(ValueError, error, None), error_code="A_B_C"))["error"]
    assert described["code"] == "A_B_C"
    error = AppError(code="MODEL_LOADING_FAILED", context={"model": "m"})
    line = line_of(log_record(exc_info=(AppError, error, None)))
    assert line["error"]["code"] == "MODEL_LOADING_FAILED"
    assert line["context"] == {"model": "m"}
    assert "error" not in line_of(log_record(exc_info=(None, None, None)))
    assert "error" not in line_of(log_record(exc_info=True))


def test_causes_and_groups_are_in_the_stack_trace():
    """Chained exceptions and every member of a group are told, and redacted (104)."""

    def chained():
        try:
            raise KeyError("password='inner'")
        except KeyError as inner:
            raise RuntimeError("outer") from inner

    with pytest.raises(RuntimeError) as caught:
        chained()
    group = ExceptionGroup("several", [raised(ValueError("api_key=one")), caught.value])
    trace = describe(group, redactor)["stack_trace"]
    assert "several (2 sub-exceptions)" in trace
    assert "direct cause of the following exception" in trace
    assert trace.count(MARK) >= 2
    assert "password='[redacted]'" in trace
    assert f"api_key={MARK}" in trace


def test_a_stack_trace_from_elsewhere_is_kept():
    """A record that was formatted before, as by a queue handler, keeps its text, redacted; so does `stack_info`."""
    line = line_of(log_record(exc_text="Traceback: token=x", stack_info="Stack: password=y"))
    assert line["error"] == {"stack_trace": f"Traceback: token={MARK}"}
    assert line["context"] == {"stack_info": f"Stack: password={MARK}"}


def test_a_queue_handler_in_between_loses_nothing():
    """A record that went through a `QueueHandler`, which puts the trace into the message, has both and its extras (102)."""
    passed = queue.SimpleQueue()
    handler = QueueHandler(passed)
    error = raised(ValueError("no"))
    handler.handle(log_record("x %s", 1, exc_info=(ValueError, error, error.__traceback__), order=7))
    line = line_of(passed.get_nowait())
    assert line["context"] == {"order": 7}
    assert line["message"].startswith("x 1\nTraceback")
    assert line["message"].endswith("ValueError: no")


def test_other_threads_are_named():
    """The name of a thread stands in `logger`, unless it is the main one."""
    lines = []
    thread = threading.Thread(target=lambda: lines.append(line_of(log_record())), name="worker-1")
    thread.start()
    thread.join()
    assert lines[0]["logger"] == {"name": "app.orders", "thread_name": "worker-1"}


def test_the_servers_own_attributes_are_left_out():
    """The message and the websocket object of uvicorn don't go into the context."""
    assert "context" not in line_of(
        log_record(color_message="\x1b[1mhello", websocket=object(), taskName="Task-1")
    )


@given(
    st.dictionaries(st.text(), st.text() | st.binary() | st.integers() | st.floats(), max_size=5), st.text()
)
def test_a_record_line_is_json_whatever_is_logged(extra, msg):
    """No message and no extra breaks a line."""
    facts = {name: value for name, value in extra.items() if name not in log_record().__dict__}
    assert line_of(log_record("%s", msg, **{"x": 1, **{f"_{name}": value for name, value in facts.items()}}))[
        "logger"
    ]


def test_drops_are_reported_in_the_schema():
    """The line about dropped lines has the service's tags and the counts by level."""
    line = json.loads(formatter.dropped({"INFO": 2, "ERROR": 1}))
    assert line["message"] == "3 log lines were dropped: the output did not take them in time"
    assert (line["level"], line["service"], line["context"]) == (
        "WARN",
        "shop",
        {"dropped": {"INFO": 2, "ERROR": 1}},
    )


# ---------------------------------------------------------------------------------------------------------- exceptions


def test_an_exception_that_can_not_speak_is_described():
    """An exception whose `str` fails has a line with its kind."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no")

    described = describe(raised(Mute()), redactor, code="A_B_C")
    assert described["message"] == "[Mute can't say what it is]"
    assert described["code"] == "A_B_C"
    assert described["kind"].endswith("Mute")
    assert "Mute" in described["stack_trace"]


def test_a_stack_trace_that_can_not_be_made_is_said_so(monkeypatch):
    """When the traceback module fails, the line says with what."""

    def fail(_):
        raise RecursionError

    monkeypatch.setattr("traceback.format_exception", fail)
    assert describe(ValueError("x"), redactor)["stack_trace"] == "[no stack trace: RecursionError]"


def test_a_long_stack_trace_keeps_both_its_ends():
    """Of a long trace the middle goes, at ends of lines: where it began and what went wrong stay."""
    error = ExceptionGroup("many", [ValueError(f"line {n}\n" * 400) for n in range(14)])
    trace = describe(error, redactor)["stack_trace"]
    assert len(trace) < 30_000
    assert trace.startswith("  | ExceptionGroup: many")
    assert re.search(r"\n  … \d+ characters left out …\n", trace)
    assert trace.endswith("------------------------------------")
    one_line = describe(ValueError("x" * 100_000), redactor)["stack_trace"]
    assert len(one_line) < 10_000


def test_a_deep_recursion_is_a_short_line():
    """The trace of an endless recursion is not written a thousand times."""

    def deeper():
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert len(describe(caught.value, redactor)["stack_trace"]) < 5_000


# ------------------------------------------------------------------------------------------------------------ encoding


def test_timestamps_are_rfc_3339():
    """UTC with milliseconds and `Z`, over the turn of a second and back."""
    timestamp = timestamps()
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1.0019) == "1970-01-01T00:00:01.001Z"
    assert timestamp(1.0019) == "1970-01-01T00:00:01.001Z"
    assert timestamp(1.9999) == "1970-01-01T00:00:01.999Z"
    assert timestamp(951_868_800.5) == "2000-03-01T00:00:00.500Z"


def test_an_enormous_line_loses_its_context():
    """A line that no log pipeline would take is written without its context, and says so."""
    line = json.loads(encode({"message": "m", "context": {"x": "y" * 600_000}}))
    assert line["context"].startswith("[left out: the line had 600")
    assert line["message"] == "m"
    assert len(encode({"message": "m" * 600_000})) > 600_000


def test_what_json_does_not_know_becomes_a_marker():
    """Surrogates are escaped and unknown objects are named, at any depth."""
    fields = {"a": ["\ud800", 2**70, ("x", None, True, 1.5)], 1: {"b": object()}}
    assert json.loads(encode(fields)) == {
        "a": ["\\ud800", "[unserialisable int]", ["x", None, True, 1.5]],
        "1": {"b": "[unserialisable object]"},
    }


def test_a_line_of_any_size_below_the_bound_is_whole():
    """The bound is far above what people log."""
    assert encoding._LONGEST_LINE > 100_000
    assert sys.getsizeof(encode({"context": "x" * 100_000})) > 100_000
