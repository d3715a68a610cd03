"""Datadog's own agent for tests, with all of its checks, and services that send it their traces."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[3]
APPS = "tests.telemetry.agent.apps"
PATIENCE = 60.0  # seconds
CHECKS = (
    "meta_tracer_version_header",
    "trace_count_header",
    "trace_content_length",
    "trace_stall",
    "trace_peer_service",
    "trace_dd_service",
    "meta_events_is_valid_json",
)
LOW_HALF = 2**64 - 1


def script(name):
    """A command that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def free_ports(count):
    """Ports that nobody listens on."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listeners]
    for each in listeners:
        each.close()
    return ports


def get(url):
    """The body of an answer with status 200."""
    with urlopen(url, timeout=PATIENCE) as response:
        return response.read()


def until(condition, process=None):
    """What `condition` returns, as soon as that is something; `process` must live on."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            found = condition()
        except (URLError, ConnectionError):
            found = None
        if found:
            return found
        assert process is None or process.poll() is None, "the process has ended"
        threading.Event().wait(0.02)
    raise TimeoutError


@contextmanager
def running(command, environment, **options):
    """A process that is told to end afterwards."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@dataclass
class Service:
    """A service at work, or one that has been: then its output is there."""

    port: int
    session: str
    agent: "Agent"
    output: list[str] = field(default_factory=list)

    def get(self, path, **headers):
        """The status and the body of an answer; `headers` with underscores for dashes."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=names)
        try:
            with urlopen(request, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except OSError as error:
            return error.code, error.read().decode()

    def traces(self, count=1):
        """The traces that the agent has got, as soon as there are so many."""
        return until(lambda: self.agent.traces(self.session, count))

    def lines(self):
        """The log lines, once the service has ended."""
        return [json.loads(line) for line in self.output if line.startswith("{")]


@dataclass
class Agent:
    """The test agent."""

    port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def traces(self, session, count):
        """Lists of spans, or None when there are fewer of them."""
        traces = json.loads(get(f"{self.url}/test/session/traces?test_session_token={session}"))
        return traces if len(traces) >= count else None

    def failed_checks(self):
        """What the checks have found."""
        try:
            return get(f"{self.url}/test/trace_check/failures?return_all=true").decode()
        except OSError as error:
            return error.read().decode()

    def environment(self, **others):
        """Variables of a process that sends its traces here, under a session of its own; returns both."""
        session = uuid4().hex
        get(f"{self.url}/test/session/start?test_session_token={session}")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        return session, {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DD_TRACE_AGENT_URL": self.url,
            "DD_SERVICE": "shop",
            "DD_ENV": "test",
            "DD_VERSION": "1.0",
            "_DD_TRACE_WRITER_ADDITIONAL_HEADERS": f"X-Datadog-Test-Session-Token:{session}",
            "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.05",
            "DD_TRACE_STARTUP_LOGS": "false",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_CODE_ORIGIN_FOR_SPANS_ENABLED": "false",
            "DD_TRACE_STATS_COMPUTATION_ENABLED": "false",
            **others,
        }

    @contextmanager
    def service(self, app, *, auto=True, **others):
        """Serve an app of `apps.py` with uvicorn, under `ddtrace-run` or not."""
        (port,) = free_ports(1)
        session, environment = self.environment(**others)
        command = [script("uvicorn"), f"{APPS}:{app}", "--factory", "--port", str(port), "--no-access-log"]
        service = Service(port, session, self)
        with running([script("ddtrace-run"), *command] if auto else command, environment) as process:
            reader = threading.Thread(target=lambda: service.output.extend(process.stdout))
            reader.start()
            try:
                until(lambda: get(f"http://127.0.0.1:{port}/health/live"), process)
            except BaseException:
                process.kill()
                reader.join()
                raise AssertionError("".join(service.output)) from None
            yield service
            process.send_signal(signal.SIGTERM)
            reader.join(PATIENCE)


@pytest.fixture(scope="session")
def agent(tmp_path_factory):
    """The agent; one for all tests, each of which has a session of its own."""
    if find_spec("ddtrace") is None or find_spec("ddapm_test_agent") is None:
        pytest.skip("ddtrace or ddapm-test-agent is not installed")
    apm, otlp_http, otlp_grpc = free_ports(3)
    command = [
        script("ddapm-test-agent"),
        *("--host", "127.0.0.1", "--port", str(apm), "--log-level", "WARNING"),
        *("--otlp-http-port", str(otlp_http), "--otlp-grpc-port", str(otlp_grpc)),
        *("--disable-llmobs-data-forwarding", "--snapshot-dir", str(tmp_path_factory.mktemp("snapshots"))),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    environment = {**kept, "ENABLED_CHECKS": ",".join(CHECKS), "DD_POOL_TRACE_CHECK_FAILURES": "true"}
    with running(command, environment) as process:
        agent = Agent(apm)
        until(lambda: get(f"{agent.url}/info"), process)
        yield agent
        assert "fail" not in agent.failed_checks().lower()
