"""Our lines as Datadog's pipeline reads them: what it reserves has the type and the meaning that it expects."""

import asyncio
import io
import json
import logging
import re
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from asgi_resilience.context import current_request
from asgi_resilience.errors import NotFound
from asgi_resilience.logs.logger import get_logger
from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.logs.structlog import configure_structlog
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.log_pipeline import log_pipelines
from asgi_resilience.settings import Settings
from asgi_resilience.stack import wrap
from asgi_resilience.testing import asgi_request, asgi_websocket

STATUS_PREFIXES = (
    *(("emerg", "emergency"), ("a", "alert"), ("c", "critical"), ("err", "error"), ("w", "warning")),
    *(
        ("n", "notice"),
        ("i", "info"),
        ("d", "debug"),
        ("t", "debug"),
        ("v", "debug"),
        ("o", "ok"),
        ("s", "ok"),
    ),
)
"""How Datadog maps a level to a status; what begins with none of these is info."""

# What would be read for something else than what it is, or instead of one of our fields.
NOT_OURS = {
    *(
        "@timestamp",
        "_timestamp",
        "Timestamp",
        "eventTime",
        "date",
        "published_date",
        "syslog",
        "status",
        "severity",
    ),
    *("host", "hostname", "ddsource", "ddtags", "source", "contextMap", "dd"),
}
TYPES = {
    "timestamp": str,
    "level": str,
    "service": str,
    "message": str,
    "version": str,
    "environment": str,
    "request_id": str,
    "user_id": str,
    "duration": int,  # nanoseconds
    "dd.trace_id": str,
    "dd.span_id": str,
    "dd.service": str,
    "dd.env": str,
    "dd.version": str,
    "error.kind": str,
    "error.message": str,
    "error.stack_trace": str,
    "error.code": str,
    "http.method": str,
    "http.status_code": int,
    "http.route": str,
    "http.useragent": str,
    "http.url_details.path": str,
    "http.url_details.queryString": str,
    "network.client.ip": str,
    "network.bytes_written": int,
    "logger.name": str,
    "logger.thread_name": str,
}
OURS = {"outcome", "duration_ms", "ttfb_ms", "sample_rate"}
LIMITS = {"levels": 10, "key": 50, "attributes": 256}  # beyond these, Datadog keeps what it likes


def status(level):
    """What Datadog makes of a level."""
    return next((found for prefix, found in STATUS_PREFIXES if level.lower().startswith(prefix)), "info")


def flat(value, path=()):
    """The attributes of a line: each path with what stands there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, (*path, key))
    else:
        yield path, value


def check(text):
    """Assert that Datadog reads a line as it is meant."""
    line = json.loads(text)
    now = datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert now - timedelta(minutes=5) < datetime.fromisoformat(line["timestamp"]) <= now
    assert {"timestamp", "level", "service", "message"} <= line.keys()
    assert not NOT_OURS & line.keys()
    attributes = list(flat(line))
    for path, value in attributes:
        name = ".".join(path)
        if path[0] != "context" and name not in OURS:
            assert type(value) is TYPES[name], (name, value)
        assert len(path) <= LIMITS["levels"]
        assert all(len(key) <= LIMITS["key"] for key in path)
    assert len(attributes) <= LIMITS["attributes"]
    assert len(text) < 1_000_000
    if "dd.trace_id" in line:
        assert re.fullmatch(r"[0-9a-f]{32}|\d{1,20}", line["dd.trace_id"])
        assert re.fullmatch(r"\d{1,20}", line["dd.span_id"])
    return line


async def ok(request):
    current_request().user_id = "u1"
    return PlainTextResponse("fine")


async def plain(request):
    return PlainTextResponse("fine")


async def missing(request):
    raise NotFound("Match not found")


async def crash(request):
    raise LookupError("password=hunter2")


async def socket(websocket):
    await websocket.accept()
    await websocket.close()


ROUTES = [
    *(Route("/ok/{item}", ok), Route("/plain", plain), Route("/missing", missing), Route("/crash", crash)),
    WebSocketRoute("/socket", socket),
]


@pytest.fixture
def lines():
    """A sample of everything that writes lines."""
    out = io.BytesIO()
    settings = Settings(service="shop", environment="production", version="1.4.0", log_level="TRACE")
    configure_structlog()
    with configure_logging(settings, stream=out):
        app = wrap(Starlette(routes=ROUTES), settings)

        async def play():
            headers = {"user-agent": "curl/8.0", "x-request-id": "r1"}
            for path in ("/ok/5", "/ok/5?token=x&page=2", "/plain", "/missing", "/crash", "/nowhere"):
                await asgi_request(app, path=path, headers=headers)
            await asgi_websocket(app, path="/socket")

        asyncio.run(play())
        logger = get_logger("app")
        for level in ("critical", "error", "warning", "info", "debug", "trace"):
            getattr(logger, level)(level, extra={"host": "h", "status": 7, "date": "never", "dd": {"a": 1}})
        try:
            raise ValueError("wrong")
        except ValueError:
            logger.exception("failed", extra={"user_id": 7, "error_code": "WRONG"})
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", UserWarning, stacklevel=1)
        structlog.get_logger("app").info("from structlog", source="s", severity="x")
        logging.getLogger("plain").info("nothing else")
    structlog.reset_defaults()
    return out.getvalue().splitlines()


def test_every_line_is_read_as_it_is_meant(lines):
    """Dates, levels, ids, durations and standard attributes, of requests and of loggers."""
    found = [check(line) for line in lines]
    seen = {".".join(path) for line in found for path, _ in flat(line)}
    # dd.service and its like are ddtrace's; a query is logged on demand; threads have tests of their own.
    assert (
        TYPES.keys() - seen
        == {*("dd.service", "dd.env", "dd.version", "http.url_details.queryString", "logger.thread_name")}
        - seen
    )
    assert {"user_id", "error.kind", "error.stack_trace", "http.status_code", "dd.trace_id"} <= seen


def test_levels_are_the_statuses_of_the_same_name(lines):
    """ERROR is an error for Datadog's monitors and indexes, and TRACE is no more than a debug line."""
    levels = {line["message"]: status(line["level"]) for line in map(json.loads, lines)}
    assert {name: levels[name] for name in ("critical", "error", "warning", "info", "debug", "trace")} == {
        **{name: name for name in ("critical", "error", "warning", "info", "debug")},
        "trace": "debug",
    }


def test_an_error_is_one_for_error_tracking(lines):
    """It takes a service, a kind of error, and a status of error or worse."""
    tracked = [
        line
        for line in map(json.loads, lines)
        if "kind" in line.get("error", {}) and status(line["level"]) in ("error", "critical")
    ]
    assert {line["error"]["kind"] for line in tracked} == {"LookupError", "ValueError"}
    assert all(line["service"] == "shop" for line in tracked)


def test_the_pipeline_finds_what_it_renames(lines):
    """What the lines call by other names than Datadog stands where the pipeline of `monitoring` looks for it."""
    (pipeline,) = log_pipelines(MonitoringConfig(service="shop", environment="production")).values()
    seen = {".".join(path) for line in map(json.loads, lines) for path, _ in flat(line)}
    sources = {source for each in pipeline["processors"] for source in each.get("sources", ())}
    assert sources <= seen
    renamed = {each["sources"][0]: each["target"] for each in pipeline["processors"] if "target_type" in each}
    assert renamed["error.stack_trace"] == "error.stack"
    assert renamed["user_id"] == "usr.id"
    assert renamed["request_id"] == "http.request_id"


def test_a_duration_is_in_nanoseconds(lines):
    """As Datadog's measure of that name expects; `duration_ms` says the same in milliseconds."""
    timed = [line for line in map(json.loads, lines) if "duration" in line]
    assert len(timed) == 7
    assert all(line["duration_ms"] == pytest.approx(line["duration"] / 1e6, abs=0.001) for line in timed)


def test_what_an_application_adds_is_never_read_as_reserved():
    """Its names stand below `context`, whatever they are, and no deeper than Datadog indexes."""
    out = io.BytesIO()
    deep = {}
    for _ in range(40):
        deep = {"deeper": deep}
    with configure_logging(Settings(service="shop"), stream=out):
        extra = {**{name: "x" for name in NOT_OURS if name.isidentifier()}, "deep": deep, "usr": {"id": 7}}
        logging.getLogger("app").info("hello", extra=extra)
    (text,) = out.getvalue().splitlines()
    assert check(text)["context"].keys() == extra.keys()


def test_a_tag_that_ddtrace_was_not_told_is_absent():
    """An empty `dd.env` would stand in the way of the tag that the Agent knows."""
    out = io.BytesIO()
    with configure_logging(Settings(service="shop"), stream=out):
        logging.getLogger("app").info("hello", extra={"dd.env": "", "dd.version": "1.4.0"})
    (text,) = out.getvalue().splitlines()
    line = check(text)
    assert line["dd.version"] == "1.4.0"
    assert "dd.env" not in line
