"""Error budgets of a service with several workers: all that they have served is known after a restart."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.server.serving import PATIENCE

SERVICE = """
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from asgi_resilience import Settings, wrap
from asgi_resilience.slo import DEFAULT_SLOS


async def answer(request):
    return Response(status_code=500 if request.url.path == "/broken" else 204)


app = Starlette(routes=[Route("/", answer), Route("/broken", answer)])
settings = Settings(slos=DEFAULT_SLOS, slo_state_file="slo.json", log_level="ERROR", access_log=False)
app = wrap(app, settings)
"""
SERVERS = {
    "uvicorn": ("uvicorn", "service:app", "--workers", "2", "--uds"),
    "gunicorn": (
        *("gunicorn", "service:app", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2"),
        *("--no-control-socket", "--bind"),
    ),
}


def ask(path, target):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def serve(directory, server, requests):
    """Start the server, ask it so often, one request of five for what is broken, and tell it to end."""
    path = directory / "socket"
    path.unlink(missing_ok=True)
    *command, option = SERVERS[server]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, option, f"unix:{path}" if server == "gunicorn" else str(path)],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DD_DOGSTATSD_DISABLE": "true",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    give_up = threading.Timer(3 * PATIENCE, process.kill)
    give_up.start()
    try:
        ready = 0
        for line in process.stdout:
            ready += "Application startup complete" in line
            if ready == 2:
                break
        for number in range(requests):
            ask(path, "/broken" if number % 5 == 0 else "/")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    finally:
        give_up.cancel()
        process.kill()
        process.communicate()


def counted(directory):
    """Requests and failures in all state files."""
    sums = [0.0, 0.0]
    for file in directory.glob("slo.json*"):
        if file.suffix not in (".lock", ".tmp"):
            state = json.loads(file.read_text())["slos"]["request_success"]
            for requests, failed in (state["open"], *(row[1:3] for row in state["recent"])):
                sums[0] += requests
                sums[1] += failed
    return sums


@pytest.mark.parametrize("server", SERVERS)
def test_no_request_is_forgotten(tmp_path, server):
    """Two workers, stopped and started again: the files hold every request and every failure, exactly."""
    pytest.importorskip(server)
    tmp_path.joinpath("service.py").write_text(SERVICE)
    serve(tmp_path, server, 40)
    assert counted(tmp_path) == [40, 8]
    serve(tmp_path, server, 20)
    assert counted(tmp_path) == [60, 12]
