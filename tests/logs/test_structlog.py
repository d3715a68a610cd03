"""structlog in front of our lines: the same fields, the same redaction."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading

import pytest
import structlog

from asgi_resilience.logs import structlog as ours
from asgi_resilience.logs.logger import get_logger
from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.settings import Settings
from asgi_resilience.stack import wrap
from asgi_resilience.testing import asgi_request


@pytest.fixture
def lines():
    """Both configured, and the lines that come out."""
    out = io.BytesIO()
    ours.configure_structlog()
    with configure_logging(Settings(service="shop", log_level="INFO"), stream=out) as logs:

        def written():
            logs.sink.flush()
            found = [json.loads(line) for line in out.getvalue().splitlines()]
            for line in found:
                line.pop("timestamp")
            return found

        yield written
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_it_is_the_line_of_the_standard_logger(lines):
    """The same facts make the same line, whichever of the two logs them."""
    facts = {"sku": "A-1", "user_id": "u1", "request_id": "r1", "duration_ms": 1.5, "password": "hunter2"}
    structlog.get_logger("shop.stock").warning("only %d left for ada@example.com", 3, **facts)
    get_logger("shop.stock").warning("only %d left for ada@example.com", 3, extra=facts)
    of_structlog, of_logging = lines()
    assert of_structlog == of_logging
    assert of_structlog == {
        "level": "WARN",
        "service": "shop",
        "request_id": "r1",
        "user_id": "u1",
        "message": "only 3 left for ******@example.com",
        "context": {"sku": "A-1", "password": "[redacted]"},
        "duration_ms": 1.5,
        "logger": {"name": "shop.stock"},
    }


def test_exceptions_are_told_like_any_other(lines):
    """With kind, message and stack trace, redacted; from `exception` and from `exc_info`."""
    logger = structlog.get_logger("shop")
    try:
        raise ValueError("password=hunter2")
    except ValueError as error:
        logger.exception("failed")
        logger.error("failed", exc_info=error)
        logging.getLogger("shop").exception("failed")
    first, second, standard = lines()
    assert first == second == standard
    assert first["error"]["kind"] == "ValueError"
    assert first["error"]["message"] == "password=[redacted]"
    assert "hunter2" not in json.dumps(first)


def test_what_is_bound_is_in_the_context(lines):
    """To the logger, and to the context variables."""
    structlog.contextvars.bind_contextvars(tenant="acme", api_key="k")
    structlog.get_logger("shop").bind(cart=7).info("sold")
    (line,) = lines()
    assert line["context"] == {"tenant": "acme", "api_key": "[redacted]", "cart": 7}


def test_levels_below_the_threshold_are_left_out(lines):
    """Before anything is formatted."""
    structlog.get_logger("shop").debug("not %s", object())
    assert lines() == []


def test_names_that_logging_has_taken_are_renamed(lines):
    """Users of structlog call their facts what they like."""
    structlog.get_logger("shop").info("hello", name="Ann", message="hi", args=1, module="m")
    (line,) = lines()
    assert line["context"] == {
        "extra_name": "Ann",
        "extra_message": "hi",
        "extra_args": 1,
        "extra_module": "m",
    }
    assert line["message"] == "hello"


def test_a_logger_is_named_for_the_module_that_asks(lines):
    """Unless it is given a name."""
    structlog.get_logger().info("one")
    structlog.get_logger("other").info(event="two")
    assert [(line["message"], line["logger"]["name"]) for line in lines()] == [
        ("one", __name__),
        ("two", "other"),
    ]


def test_an_event_without_a_text_is_a_line(lines):
    """Facts alone are worth one."""
    structlog.get_logger("shop").info(None, a=1)
    ours.to_record(None, "info", {})
    assert lines()[0]["context"] == {"a": 1}


def test_without_a_module_the_logger_is_the_root(monkeypatch):
    """Nothing calls from nowhere, but a frame need not belong to a module."""
    found = []
    code = compile("found.append(ours.logger_factory())", "<nowhere>", "exec")
    thread = threading.Thread(
        target=exec, args=(code, {"found": found, "ours": ours, "__name__": "structlog.x"})
    )
    monkeypatch.setitem(threading.__dict__, "__name__", "structlog.threading")
    thread.start()
    thread.join()
    assert found == [logging.getLogger("root")]


def test_a_line_within_a_request_knows_it(lines):
    """Its id is the one that the client got."""

    async def app(scope, receive, send):
        structlog.get_logger("app").info("inside")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    response = asyncio.run(asgi_request(wrap(app, Settings(service="shop"))))
    inside = next(line for line in lines() if line["message"] == "inside")
    assert inside["request_id"] == response.headers["x-request-id"]


def test_only_those_who_ask_load_it():
    """`import asgi_resilience` and `configure_logging` need no structlog."""
    program = (
        "import sys, asgi_resilience; asgi_resilience.configure_logging(asgi_resilience.Settings());"
        "sys.exit('structlog' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
