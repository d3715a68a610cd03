"""Restarts under load: SIGTERM while clients send as fast as they can loses no request that was taken, and no line."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.server.serving import PATIENCE, Client

SERVICE = """
import asyncio
from asgi_resilience import Settings, configure_logging, wrap

settings = Settings.from_env()
configure_logging(settings)


async def bare(scope, receive, send):
    if scope["type"] == "lifespan" and LIFESPAN:
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    assert scope["type"] == "http"
    await asyncio.sleep({"/slow": 0.3, "/slower": 1}.get(scope["path"], 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    if scope["path"] == "/endless":
        await asyncio.sleep(1000)
    await send({"type": "http.response.body", "body": b"fine"})


app = wrap(bare, settings)
"""
GUNICORN = ("gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket")
SERVERS = {
    "run": ("asgi_resilience", "run", "service:app"),
    "run, 2 workers": ("asgi_resilience", "run", "service:app", "--workers", "2"),
    "uvicorn": ("uvicorn", "service:app", "--no-access-log"),
    "uvicorn, 2 workers": ("uvicorn", "service:app", "--no-access-log", "--workers", "2"),
    "gunicorn, 2 workers": (*GUNICORN, "service:app", "--workers", "2"),
    "gunicorn, 2 workers, preloaded": (*GUNICORN, "service:app", "--workers", "2", "--preload"),
}


@dataclass
class Service:
    """A server in processes of its own."""

    process: subprocess.Popen
    port: int
    lines: list[str] = field(default_factory=list)

    def end(self) -> list[dict]:
        """Wait for its end; its lines that tell of a request."""
        said, _ = self.process.communicate(timeout=2 * PATIENCE)
        self.lines += said.splitlines()
        found = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [line for line in found if "outcome" in line]


@contextmanager
def service(directory: Path, *command: str, lifespan: bool = True, **environment: str):
    """Start a server, and wait until it answers."""
    directory.joinpath("service.py").write_text(SERVICE.replace("LIFESPAN", str(lifespan)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ("--bind", f"127.0.0.1:{port}") if "gunicorn" in command else ("--port", str(port))
    process = subprocess.Popen(
        [sys.executable, "-m", *command, *where],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DD_DOGSTATSD_DISABLE": "true",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    give_up = threading.Timer(3 * PATIENCE, process.kill)
    give_up.start()
    try:
        started = Service(process, port)
        wanted = 2 if "2" in command else 1
        for line in process.stdout:
            started.lines.append(line)
            wanted -= bool(re.search("startup complete|lifespan.*unsupported", line))
            if not wanted:
                break
        wait_until(lambda: answers(port))
        yield started
    finally:
        give_up.cancel()
        process.kill()
        process.communicate()


def wait_until(condition):
    """Ask again and again, for a while."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up


def answers(port: int, path: str = "/health/live", status: int = 200) -> bool:
    """Whether a new connection gets this answer."""
    try:
        with Client(port) as client:
            return client.get(path).status == status
    except OSError:
        return False


@dataclass
class Load:
    """A client that sends one request after the other, on a connection that is kept alive, and connects anew.

    Attributes:
        ids: Of the requests that were answered.
        cut: Answers that began, and had no end.
        refused: Requests that nobody took: the connection was refused, or closed before the first byte of an answer.
        closed: Answers that said that they were the last ones of their connection.
    """

    port: int
    stop: threading.Event
    ids: list[str] = field(default_factory=list)
    cut: int = 0
    refused: int = 0
    closed: int = 0

    def run(self) -> None:
        """Until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        while not self.stop.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
            except (OSError, http.client.BadStatusLine):
                self.refused += 1
                connection.close()
                continue
            try:
                assert answer.read() == b"fine"
            except http.client.HTTPException:
                self.cut += 1
                connection.close()
                continue
            self.ids.append(answer.headers["x-request-id"])
            self.closed += answer.headers.get("connection") == "close"
        connection.close()


@contextmanager
def load(port: int, clients: int = 4):
    """Clients at work; stopped at the end."""
    stop = threading.Event()
    made = [Load(port, stop) for _ in range(clients)]
    threads = [threading.Thread(target=each.run) for each in made]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(each.ids) > 20 for each in made))
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("server", "lifespan"), [*((each, True) for each in SERVERS), ("run", False), ("run, 2 workers", False)]
)
def test_sigterm_under_load_loses_nothing(tmp_path, server, lifespan):
    """What was answered was answered whole and has exactly one line; what was not answered has none: nobody took it."""
    pytest.importorskip(server.partition(",")[0].replace("run", "uvicorn"))
    with service(tmp_path, *SERVERS[server], lifespan=lifespan) as started:
        with load(started.port) as clients, Client(started.port) as slow:
            slow.ask("/slow")
            wait_until(lambda: answers(started.port))  # the server has seen the slow one, too
            started.process.send_signal(signal.SIGTERM)
            answer = slow.answer()
            assert (answer.status, answer.body) == (200, b"fine")
            lines = started.end()
        answered = [answer.headers["x-request-id"], *(each for client in clients for each in client.ids)]
    assert sum(client.cut for client in clients) == 0
    assert sorted(line["request_id"] for line in lines) == sorted(answered)


@pytest.mark.parametrize("server", ["run", "uvicorn, 2 workers", "gunicorn, 2 workers"])
def test_readiness_turns_first_and_no_client_meets_a_closed_door(tmp_path, server):
    """For `drain_seconds` readiness is 503, requests are answered, and each answer ends its connection."""
    pytest.importorskip(server.partition(",")[0].replace("run", "uvicorn"))
    with service(tmp_path, *SERVERS[server], ASGI_RESILIENCE_DRAIN_SECONDS="1") as started:
        with load(started.port) as clients:
            started.process.send_signal(signal.SIGTERM)
            wait_until(lambda: answers(started.port, "/health/ready", 503))
            before = [len(client.ids) for client in clients]
            wait_until(
                lambda: all(
                    len(client.ids) > count + 5 for client, count in zip(clients, before, strict=True)
                )
            )
            assert answers(started.port, "/health/live")
        assert sum(client.refused + client.cut for client in clients) == 0
        assert all(client.closed for client in clients)
        with Client(started.port) as slow:
            slow.ask("/slower")  # under way when the door closes
            answer = slow.answer()
        assert (answer.status, answer.body) == (200, b"fine")
        answered = [each for client in clients for each in client.ids]
        answered.append(answer.headers["x-request-id"])
        lines = started.end()
    assert sorted(line["request_id"] for line in lines) == sorted(answered)


def test_what_does_not_end_is_ended(tmp_path):
    """At the deadline of the server a request is cut, and the log says so; then the process ends."""
    command = (*SERVERS["run"], "--timeout-graceful-shutdown", "1")
    with (
        service(tmp_path, *command, ASGI_RESILIENCE_STREAM_IDLE_TIMEOUT="none") as started,
        Client(started.port) as client,
    ):
        client.ask("/endless")
        assert next(client.events()).status_code == 200
        started.process.send_signal(signal.SIGTERM)
        (line,) = started.end()
    assert line["http"]["url_details"]["path"] == "/endless"
    assert line["outcome"] != "ok"


DEFERRING = """
from asgi_resilience.client import CallDeferred, Deferred, DeferredQueue, Dependency, idempotency_key

sports = Dependency("sports", retry=None, fallback=Deferred(DeferredQueue()))


async def refuse():
    raise ConnectionRefusedError


async def bare(scope, receive, send):
    assert scope["type"] == "http"
    try:
        with idempotency_key("later"):
            await sports.call(refuse)
    except CallDeferred:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_deferred_is_handed_over(tmp_path, workers):
    """A call that the process had put off is in the log when it ends, unless somebody takes it."""
    tmp_path.joinpath("deferring.py").write_text(DEFERRING)
    with service(tmp_path, "asgi_resilience", "run", "deferring:bare", "--workers", workers) as started:
        with Client(started.port) as client:
            assert client.get("/").status == 202
        started.process.send_signal(signal.SIGTERM)
        started.end()
    told = [json.loads(line)["message"] for line in started.lines]
    lost = [message for message in told if "deferred call" in message]
    assert lost == ["sports: deferred call later was not made before the shutdown"]
