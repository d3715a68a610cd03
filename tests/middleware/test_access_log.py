"""The access log: exactly one line per request, whatever its end, with what an operator asks for and no secret."""

import gc
import io
import json
import os
import re
import threading
import weakref

import anyio
import pytest
from anyio import to_thread
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from asgi_resilience import context
from asgi_resilience.context import KEY, LOGGED_MARK, current_request
from asgi_resilience.logs.redaction import MARK
from asgi_resilience.logs.schema import LineFormatter
from asgi_resilience.logs.sink import LogSink, default_sink, set_default_sink
from asgi_resilience.middleware.access_log import AccessLogMiddleware
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio


class Lines(LogSink):
    """A sink that keeps what it is given."""

    def __init__(self):
        super().__init__(io.BytesIO())
        self.raw = []
        self.urgent = []

    def write(self, line, *, urgent=False):
        self.raw.append(line)
        self.urgent.append(urgent)

    @property
    def parsed(self):
        """The lines, parsed; each ends in its only newline."""
        assert all(line.index(b"\n") == len(line) - 1 for line in self.raw)
        return [json.loads(line) for line in self.raw]

    @property
    def only(self):
        """The one line that there is."""
        (line,) = self.parsed
        return line


@pytest.fixture
def lines():
    """Where the lines of a test go."""
    return Lines()


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """The failures that were reported in this test."""
    monkeypatch.setattr(context, "failures", {})
    return context.failures


def answering(status=200, *chunks, headers=(), before=None):
    """An app with this answer, that calls `before` with the record first."""

    async def app(scope, receive, send):
        if before is not None:
            before(scope[KEY])
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def raising(error, *, after_start=False):
    """An app that raises."""

    async def app(scope, receive, send):
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


class Clock:
    """A clock that moves by a step at every look."""

    def __init__(self, *steps):
        self.now = 0.0
        self.steps = list(steps)

    def __call__(self):
        self.now += self.steps.pop(0) if self.steps else 0.0
        return self.now


async def test_a_request_gives_one_line(lines):
    """Method, path, status, client, agent, bytes, times and outcome stand in one line, written at the end (97)."""
    app = AccessLogMiddleware(
        ASGILint(answering(200, b"hello ", b"world")),
        service="shop",
        environment="test",
        version="1",
        sink=lines,
        clock=Clock(0, 0.25, 0.5),
    )
    response = await asgi_request(ASGILint(app), path="/items/7?x=1", headers={"User-Agent": "curl/8"})
    assert response.body == b"hello world"
    line = lines.only
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "service": "shop",
        "environment": "test",
        "version": "1",
        "logger": {"name": "asgi_resilience.access"},
        "message": "GET /items/7 200",
        "outcome": "ok",
        "duration_ms": 750.0,
        "duration": 750_000_000,
        "ttfb_ms": 250.0,
        "http": {
            "method": "GET",
            "status_code": 200,
            "url_details": {"path": "/items/7"},
            "useragent": "curl/8",
        },
        "network": {"client": {"ip": "127.0.0.1"}, "bytes_written": 11},
    }


async def test_nested_layers_write_one_line(lines):
    """Of several layers around one app, the outermost writes the line (99)."""
    inner = Lines()
    await asgi_request(AccessLogMiddleware(AccessLogMiddleware(answering(), sink=inner), sink=lines))
    assert lines.only
    assert inner.raw == []


@pytest.mark.parametrize(
    ("status", "level", "outcome"),
    [
        (200, "INFO", "ok"),
        (304, "INFO", "redirect"),
        (404, "INFO", "client_error"),
        (429, "INFO", "rate_limited"),
        (408, "INFO", "timeout"),
        (500, "ERROR", "server_error"),
        (503, "ERROR", "server_error"),
        (504, "ERROR", "timeout"),
    ],
)
async def test_the_level_follows_the_status(lines, status, level, outcome):
    """5xx is ERROR and urgent, the rest INFO."""
    await asgi_request(AccessLogMiddleware(answering(status), sink=lines))
    line = lines.only
    assert (line["level"], line["outcome"], line["http"]["status_code"]) == (level, outcome, status)
    assert lines.urgent == [level == "ERROR"]


async def test_client_errors_can_be_warnings(lines):
    """`client_error_level="WARN"` moves 4xx and nothing else."""
    for status in (200, 404, 500):
        await asgi_request(AccessLogMiddleware(answering(status), client_error_level="WARN", sink=lines))
    assert [line["level"] for line in lines.parsed] == ["INFO", "WARN", "ERROR"]


async def test_lines_below_the_level_are_not_written(lines):
    """`level` holds for the lines of requests."""
    for status in (200, 404, 500):
        await asgi_request(AccessLogMiddleware(answering(status), level="ERROR", sink=lines))
    assert lines.only["http"]["status_code"] == 500


async def test_an_exception_stands_in_the_line(lines):
    """An exception before the response is an ERROR line with its stack trace, and goes on, marked (98)."""
    response = await asgi_request(AccessLogMiddleware(raising(ValueError("password=x")), sink=lines))
    assert isinstance(response.exception, ValueError)
    assert getattr(response.exception, LOGGED_MARK)
    line = lines.only
    assert (line["level"], line["outcome"]) == ("ERROR", "server_error")
    assert line["message"] == "GET / server_error"
    assert line["error"]["kind"] == "ValueError"
    assert line["error"]["message"] == f"password={MARK}"
    assert line["error"]["stack_trace"].startswith("Traceback")
    assert "status_code" not in line["http"]


async def test_a_truncated_response_is_an_error(lines):
    """An exception after the start leaves status 200 and the outcome `truncated` (1)."""
    await asgi_request(AccessLogMiddleware(raising(ValueError("x"), after_start=True), sink=lines))
    line = lines.only
    assert (line["level"], line["outcome"], line["http"]["status_code"]) == ("ERROR", "truncated", 200)
    assert line["error"]["kind"] == "ValueError"


async def test_a_client_that_leaves_is_a_line(lines):
    """A client that goes away gives a line at INFO that says so (98)."""

    async def app(scope, receive, send):
        await receive()
        await receive()

    await asgi_request(AccessLogMiddleware(app, sink=lines), disconnect_after=0)
    line = lines.only
    assert (line["level"], line["outcome"]) == ("INFO", "aborted_by_client")
    assert "ttfb_ms" not in line


async def test_a_cancelled_request_is_a_line(lines):
    """Cancellation passes on, and leaves one line."""

    async def app(scope, receive, send):
        await anyio.sleep_forever()

    with anyio.move_on_after(1):
        await asgi_request(AccessLogMiddleware(app, sink=lines))
    assert lines.only["outcome"] == "aborted_by_client"
    assert lines.only["level"] == "INFO"


async def test_a_known_error_has_its_code(lines):
    """What an inner layer has noted of an error stands in `error`; below ERROR without a stack trace."""

    def note(record):
        record.error_code = "RESOURCE_NOT_FOUND"
        record.exception = LookupError("no such order")
        record.error_message = "no such order"

    await asgi_request(AccessLogMiddleware(answering(404, before=note), sink=lines))
    assert lines.only["error"] == {
        "code": "RESOURCE_NOT_FOUND",
        "kind": "LookupError",
        "message": "no such order",
    }


async def test_what_the_handler_binds_stands_in_the_line(lines):
    """`bind` and `user_id` reach the line, without secrets."""

    def bind(record):
        assert current_request() is record
        record.user_id = "user_7"
        record.bind(order=7, nested={"token": "t"})

    await asgi_request(AccessLogMiddleware(answering(before=bind), sink=lines))
    assert lines.only["user_id"] == "user_7"
    assert lines.only["context"] == {"order": 7, "nested": {"token": MARK}}


@pytest.mark.parametrize(("path", "route"), [("/a/items/7", "/a/items/{id}"), ("/nope", None)])
async def test_the_route_is_a_template(lines, path, route):
    """Used alone, the layer finds the template of the route, through mounts; there is none for a 404 (113)."""
    inner = [Route("/items/{id:int}", lambda request: PlainTextResponse("x"))]
    app = AccessLogMiddleware(Starlette(routes=[Mount("/a", routes=inner)]), sink=lines)
    await asgi_request(app, path=path)
    assert lines.only["http"].get("route") == route


# ------------------------------------------------------------------------------------------------- which lines are kept


async def test_successes_can_be_sampled(lines):
    """Of successful requests the share `sample_rate` is kept, and its lines say the rate; errors are all kept."""
    draws = iter([0.1, 0.2, 0.9, 0.19, 0.5])
    app = AccessLogMiddleware(answering(200), sample_rate=0.2, sink=lines, random=lambda: next(draws))
    for _ in range(5):
        await asgi_request(app)
    assert [line["sample_rate"] for line in lines.parsed] == [0.2, 0.2]
    for status in (404, 500):
        await asgi_request(AccessLogMiddleware(answering(status), sample_rate=0, sink=lines))
    assert [line.get("sample_rate") for line in lines.parsed[2:]] == [None, None]


async def test_slow_requests_are_kept(lines):
    """A successful request that took `slow` seconds is kept whatever the sampling and the exclusions say."""
    for step in (0.9, 1.0):
        app = AccessLogMiddleware(
            answering(), sample_rate=0, exclude_paths=["/"], slow=1.0, sink=lines, clock=Clock(0, 0, step)
        )
        await asgi_request(app)
    assert lines.only["duration_ms"] == 1000.0
    assert "sample_rate" not in lines.only


async def test_excluded_paths_are_silent_when_they_succeed(lines):
    """Probes below an excluded path leave no line, unless they fail (100)."""
    for path, status in [("/health", 200), ("/health/live", 204), ("/healthy", 200), ("/health", 503)]:
        app = AccessLogMiddleware(answering(status), exclude_paths=("/health",), sink=lines)
        await asgi_request(app, path=path)
    assert [line["message"] for line in lines.parsed] == ["GET /healthy 200", "GET /health 503"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "LOUD"}, "level='LOUD': expected one of CRITICAL, ERROR, WARN, INFO, DEBUG, TRACE"),
        ({"client_error_level": "ERROR"}, "client_error_level='ERROR': expected 'INFO' or 'WARN'"),
        ({"sample_rate": 1.1}, "sample_rate=1.1: expected a share, 0 to 1"),
        ({"sample_rate": float("nan")}, "sample_rate=nan: expected a share, 0 to 1"),
        ({"slow": -1}, "slow=-1: expected seconds, 0 or more"),
        ({"exclude_paths": ["health"]}, "exclude_paths: 'health'"),
        ({"trusted_proxies": ["x"]}, "trusted_proxies: 'x'"),
    ],
)
def test_options_are_validated(options, message):
    """A wrong option is a ValueError that names it, its value and what is expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        AccessLogMiddleware(answering(), **options)


# -------------------------------------------------------------------------------------------------------- who is asking


async def test_the_client_is_told_by_trusted_proxies_only(lines):
    """A forwarded address counts from a trusted peer; the record remembers what was found out."""
    headers = {"X-Forwarded-For": "203.0.113.7"}
    seen = []
    for proxies in ((), ("127.0.0.1",)):
        app = AccessLogMiddleware(answering(before=seen.append), trusted_proxies=proxies, sink=lines)
        await asgi_request(app, headers=headers)
    assert [line["network"]["client"]["ip"] for line in lines.parsed] == ["127.0.0.1", "203.0.113.7"]
    assert [record.client_address for record in seen] == ["127.0.0.1", "203.0.113.7"]


async def test_an_address_that_is_known_is_used(lines):
    """What an inner layer has found out is not looked for again."""

    def found(record):
        record.client_address = "198.51.100.1"

    await asgi_request(AccessLogMiddleware(answering(before=found), sink=lines))
    assert lines.only["network"]["client"] == {"ip": "198.51.100.1"}


async def test_a_client_without_an_address_is_no_failure(lines):
    """Behind a unix socket there is no client, and without a user agent none is said."""
    await asgi_request(AccessLogMiddleware(answering(), sink=lines), client=None)
    assert lines.only["network"] == {"bytes_written": 0}
    assert "useragent" not in lines.only["http"]


async def test_the_query_is_left_out_by_default(lines):
    """Query strings are only logged when asked for, and then without secrets (106)."""
    for query in (False, True):
        await asgi_request(
            AccessLogMiddleware(answering(), query=query, sink=lines), path="/?page=2&api_key=k"
        )
    plain, asked = (line["http"]["url_details"] for line in lines.parsed)
    assert plain == {"path": "/"}
    assert asked == {"path": "/", "queryString": f"page=2&api_key={MARK}"}


async def test_no_secret_of_a_request_is_in_its_line(lines):
    """Headers, cookies and bodies are not logged at all, and paths lose what looks like a secret (104, 107)."""
    headers = {
        "Authorization": "Bearer s3cr3t",
        "Cookie": "sid=s3cr3t",
        "X-API-Key": "s3cr3t",
        "User-Agent": "a token=s3cr3t",
    }
    app = AccessLogMiddleware(answering(200, b"s3cr3t"), query=True, sink=lines)
    await asgi_request(app, "POST", "/reset/token=s3cr3t?password=s3cr3t", headers=headers, body=b"s3cr3t")
    assert b"s3cr3t" not in lines.raw[0]


async def test_a_path_can_not_write_a_line_of_its_own(lines):
    """A newline in the path stays inside its string (94)."""
    await asgi_request(
        AccessLogMiddleware(answering(), sink=lines), path="/a%0A%7B%22level%22:%22ERROR%22%7D"
    )
    assert lines.only["http"]["url_details"]["path"] == '/a\n{"level":"ERROR"}'


# ---------------------------------------------------------------------------------------------- websockets and lifespan


async def test_a_websocket_gives_one_line(lines):
    """A websocket's line comes at its end, with 101 and the close code."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hi"})
        await send({"type": "websocket.close", "code": 1000})

    await asgi_websocket(AccessLogMiddleware(app, sample_rate=1.0, sink=lines))
    line = lines.only
    assert (line["message"], line["outcome"]) == ("WEBSOCKET / 101", "ok")
    assert line["context"] == {"close_code": 1000}
    assert line["network"]["bytes_written"] == 2


async def test_a_long_websocket_is_not_slow(lines):
    """Websockets last long by nature: `slow` does not keep their lines."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    await asgi_websocket(AccessLogMiddleware(app, sample_rate=0, sink=lines, clock=Clock(0, 0, 3600)))
    assert lines.raw == []


async def test_a_refused_websocket_is_a_client_error(lines):
    """Closing before accepting answers the handshake with 403."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    await asgi_websocket(AccessLogMiddleware(app, sink=lines))
    assert (lines.only["outcome"], lines.only["http"]["status_code"]) == ("client_error", 403)


async def lifespan(scope, receive, send):
    """An app that starts and stops."""
    for kind in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{kind}"
        await send({"type": f"lifespan.{kind}.complete"})


@pytest.mark.real_time
async def test_shutdown_waits_for_the_lines():
    """The server learns that the shutdown is complete only when the lines have left; startup waits for nothing."""
    out = io.BytesIO()
    sink = LogSink(out, flush_interval=0.5)
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    written = []

    async def receive():
        sink.write(b"line\n")
        return {"type": next(messages)}

    async def send(message):
        written.append((message["type"], out.getvalue().count(b"line")))

    await AccessLogMiddleware(lifespan, sink=sink)({"type": "lifespan"}, receive, send)
    assert written == [("lifespan.startup.complete", 0), ("lifespan.shutdown.complete", 2)]


async def test_an_unknown_scope_passes_untouched(lines):
    """A scope that is neither http, websocket nor lifespan goes to the app as it is."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    given = ({"type": "other"}, object(), object())
    await AccessLogMiddleware(app, sink=lines)(*given)
    assert [all(a is b for a, b in zip(seen[0], given, strict=True))] == [True]
    assert lines.raw == []


# ------------------------------------------------------------------------------------------------------------- failures


async def test_the_default_sink_is_looked_up_for_every_line(lines):
    """Without a sink of its own, the layer writes to what is the default at the time."""
    app = AccessLogMiddleware(answering())
    before = set_default_sink(lines)
    try:
        assert default_sink() is lines
        await asgi_request(app)
    finally:
        set_default_sink(before)
    assert lines.only["message"] == "GET / 200"


async def test_a_formatter_can_be_given(lines):
    """A formatter replaces the one that is made from the tags."""
    formatter = LineFormatter(service="given", clock=lambda: 0.0)
    await asgi_request(AccessLogMiddleware(answering(), service="unused", formatter=formatter, sink=lines))
    assert (lines.only["service"], lines.only["timestamp"]) == ("given", "1970-01-01T00:00:00.000Z")


async def test_a_failing_sink_changes_no_response(failures):
    """Whatever breaks in the log, the response goes out, and the failure is counted (112)."""

    class Broken(Lines):
        def write(self, line, *, urgent=False):
            raise RuntimeError("no")

    response = await asgi_request(AccessLogMiddleware(answering(200, b"x"), sink=Broken()))
    assert (response.status, response.exception) == (200, None)
    assert list(failures.values()) == [1]


@pytest.mark.real_time
async def test_a_pipe_that_nobody_reads_holds_no_request_up():
    """With a real pipe that is full, requests are answered; its reader then gets the error first, and the count (101)."""
    reader, writer = os.pipe()
    sink = LogSink(writer, max_lines=50, flush_interval=0)
    sink.write(b'{"level":"INFO","filler":"%s"}\n' % (b"x" * 100_000))
    assert not await to_thread.run_sync(sink.flush, 0.05)
    for status in (*[200] * 100, 500):
        response = await asgi_request(AccessLogMiddleware(answering(status), sink=sink))
        assert response.status == status
    received = []

    def read():
        with os.fdopen(reader, "rb") as file:
            received.extend(json.loads(line) for line in file)

    thread = threading.Thread(target=read)
    thread.start()
    await to_thread.run_sync(sink.close)
    os.close(writer)
    await to_thread.run_sync(thread.join)
    assert received[1]["message"] == "GET / 500"
    (report,) = [line for line in received if "dropped" in line.get("context", {})]
    assert report["context"]["dropped"] == {"INFO": sink.dropped} == {"INFO": 100 - 45}
    assert len(received) == 1 + 1 + 45 + 1


async def test_an_exception_that_can_not_be_marked_is_logged(lines):
    """A class without room for the mark is told like any other."""

    class Slotted(Exception):
        __slots__ = ()

        def __setattr__(self, name, value):
            raise AttributeError(name)

    response = await asgi_request(AccessLogMiddleware(raising(Slotted()), sink=lines))
    assert isinstance(response.exception, Slotted)
    assert lines.only["error"]["kind"].endswith("Slotted")
    assert lines.only["level"] == "ERROR"


async def test_a_request_leaves_nothing_behind(lines):
    """After a request, scope and record are freed by counting references: there is no cycle to collect."""
    freed = []

    def watch(record):
        weakref.finalize(record.fields["probe"], freed.append, 1)

    class Probe:
        """Something that lives as long as the record."""

    def bind(record):
        record.bind(probe=Probe())
        watch(record)

    gc.collect()
    gc.disable()
    try:
        await asgi_request(AccessLogMiddleware(answering(before=bind), sink=lines))
        assert freed == [1]
    finally:
        gc.enable()


async def test_each_of_many_requests_has_its_own_line(lines):
    """Concurrent requests don't mix: a thousand give a thousand different lines."""

    def app(scope, receive, send):
        return answering(before=lambda record: record.bind(n=int(record.path[1:])))(scope, receive, send)

    wrapped = AccessLogMiddleware(app, sink=lines)
    async with anyio.create_task_group() as group:
        for n in range(1000):
            group.start_soon(asgi_request, wrapped, "GET", f"/{n}")
    found = {line["context"]["n"]: line["http"]["url_details"]["path"] for line in lines.parsed}
    assert found == {n: f"/{n}" for n in range(1000)}
    assert len(lines.raw) == 1000
