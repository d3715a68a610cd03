"""Whoever logs in a process, it is one of our lines: the servers, ddtrace, warnings; real programs, from start to end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from tests.server.serving import PATIENCE

SERVICE = """
import logging
import warnings

from asgi_resilience import Settings, configure_logging, wrap

settings = Settings.from_env()
configure_logging(settings)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    logging.getLogger("app").info("token=hunter2 in a handler")
    warnings.warn("old api", DeprecationWarning, stacklevel=1)
    logging.getLogger("ddtrace.fake").error("failed to send, dropping 1 traces")
    if scope["path"] == "/crash":
        raise LookupError("crashed")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


app = wrap(app, settings)
"""
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "PYTHONWARNINGS": "default",
    "DD_SERVICE": "one",
    "DD_TRACE_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


@contextmanager
def running(tmp_path, *command):
    """A server at work; its output, standard error included, is read by who asks."""
    tmp_path.joinpath("service.py").write_text(SERVICE)
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(path, target):
    """All that comes back for one request."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def played(process, path, ready):
    """What the server writes from its start to its end: two requests, one of which crashes."""
    lines = []
    give_up = threading.Timer(2 * PATIENCE, process.kill)
    give_up.start()
    for line in process.stdout:
        lines.append(line)
        if re.search(ready, line):
            break
    else:
        pytest.fail("".join(lines))
    assert ask(path, "/").startswith(b"HTTP/1.1 204")
    assert ask(path, "/crash").startswith(b"HTTP/1.1 500")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=PATIENCE)
    give_up.cancel()
    return [*lines, *rest.splitlines()]


def check(lines, *loggers):
    """Every line is ours, each request has one, and each of `loggers` has been heard."""
    found = [json.loads(line) for line in lines]
    assert {line["service"] for line in found} == {"one"}
    names = [line["logger"]["name"] for line in found]
    assert {*loggers, "app", "py.warnings", "ddtrace.fake", "asgi_resilience.access"} <= {*names}
    assert names.count("asgi_resilience.access") == 2
    inside = [line for line in found if line["logger"]["name"] in ("app", "py.warnings", "ddtrace.fake")]
    assert all("request_id" in line for line in inside)
    assert "hunter2" not in "".join(lines)
    (crash,) = (line for line in found if line.get("error", {}).get("kind") == "LookupError")
    assert crash["logger"]["name"] == "asgi_resilience.access"
    return found


def test_under_uvicorn(tmp_path):
    """What uvicorn says before the application is imported is its own; everything after that is ours."""
    path = tmp_path / "socket"
    command = ("-m", "uvicorn", "service:app", "--uds", str(path), "--no-access-log")
    with running(tmp_path, *command) as process:
        lines = played(process, path, "running on unix socket")
    check(lines, "uvicorn.error")


def gunicorn(path, *options):
    return (
        *("-m", "gunicorn", "service:app", "--bind", f"unix:{path}", "--workers", "1"),
        *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket", *options),
    )


@pytest.mark.parametrize(
    "options", [(), ("--preload",), ("--access-logfile", "-", "--error-logfile", "errors.log")]
)
def test_under_gunicorn_with_our_logger(tmp_path, options):
    """Also the lines of the master, which never imports the application; and nothing is written elsewhere."""
    pytest.importorskip("gunicorn")
    path = tmp_path / "socket"
    command = gunicorn(path, "--logger-class", "asgi_resilience.logs.gunicorn.GunicornLogger", *options)
    with running(tmp_path, *command) as process:
        lines = played(process, path, "Application startup complete|lifespan.*unsupported|Uvicorn running")
    found = check(lines, "gunicorn.error")
    messages = " ".join(line["message"] for line in found if line["logger"]["name"] == "gunicorn.error")
    assert "Starting gunicorn" in messages
    assert "Shutting down: Master" in messages
    assert not tmp_path.joinpath("errors.log").exists()


def test_under_gunicorn_without_it(tmp_path):
    """The worker's lines are ours as soon as the application has called `configure_logging`; the master's are not."""
    pytest.importorskip("gunicorn")
    path = tmp_path / "socket"
    with running(tmp_path, *gunicorn(path)) as process:
        lines = played(process, path, "Application startup complete|lifespan.*unsupported|Uvicorn running")
    ours = [line for line in lines if line.startswith("{")]
    check(ours, "uvicorn.error")
    others = [line for line in lines if not line.startswith("{")]
    assert others
    assert all("[INFO]" in line for line in others)


def test_a_reload_doubles_no_line():
    """Its logger is set its logger up again then; `--log-level` is the level of gunicorn's lines."""
    pytest.importorskip("gunicorn")
    program = (
        "from gunicorn.config import Config; from asgi_resilience.logs.gunicorn import GunicornLogger;"
        "config = Config(); config.set('loglevel', 'error'); log = GunicornLogger(config);"
        "log.info('quiet'); log.error('loud'); log.setup(config); log.error('again')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["message"] for line in lines] == ["loud", "again"]
    assert done.stderr == ""


def test_what_ddtrace_says_at_the_very_end(tmp_path):
    """Its last traces fail long after the flush of the log, and that is a line, too; what it was not told is absent."""
    program = """
import ddtrace.auto
import logging

from ddtrace.trace import tracer

from asgi_resilience import Settings, configure_logging

configure_logging(Settings(service="one"))
with tracer.trace("work"):
    logging.getLogger("app").info("inside")
"""
    if find_spec("ddtrace") is None:  # not loaded: other tests count on its absence
        pytest.skip("ddtrace is not installed")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        agent = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    environment = {**ENVIRONMENT, "DD_TRACE_AGENT_URL": agent, "DD_CODE_ORIGIN_FOR_SPANS_ENABLED": "false"}
    for name in ("DD_TRACE_ENABLED", "PYTHONWARNINGS"):
        del environment[name]
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    inside, failed = map(json.loads, done.stdout.splitlines())
    assert inside["logger"]["name"] == "app"
    assert inside["dd.service"] == "one"
    assert inside["dd.trace_id"] > "0"
    assert not {"dd.env", "dd.version"} & inside.keys()
    assert failed["level"] == "ERROR"
    assert failed["logger"]["name"].startswith("ddtrace.")
    assert failed["message"].startswith("failed to send")
    assert done.stderr == ""
