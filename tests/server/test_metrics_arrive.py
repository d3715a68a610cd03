"""Metrics under a real server: an agent in another process has every request when the server has been told to end."""

import http.client
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.server.serving import PATIENCE
from tests.telemetry.dogstatsd_agent import Agent

SERVICES = {
    "starlette": """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from asgi_resilience import wrap

bare = Starlette(routes=[Route("/{id}", lambda request: PlainTextResponse("fine"))])
app = wrap(bare)
""",
    "without lifespan": """
async def bare(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})
""",
}
UVICORN = ("uvicorn", "service:app")
OURS = ("asgi_resilience", "run", "service:bare")


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("starlette", UVICORN),
        ("starlette", (*UVICORN, "--workers", "2")),
        ("starlette", OURS),
        ("without lifespan", OURS),
    ],
)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_no_request_is_lost_when_the_server_is_told_to_end(tmp_path, service, command, ending):
    """What the last flush had not taken is sent before the process ends: by each worker, and also without lifespan."""
    tmp_path.joinpath("service.py").write_text(SERVICES[service])
    with Agent() as agent:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DD_DOGSTATSD_URL": agent.url,
            "DD_DOGSTATSD_DISABLE": "",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", "0"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            starts, port = 0, 0
            for line in process.stdout:
                found = re.search(r"running on https?://[\d.]+:(\d+)", line)
                port = int(found[1]) if found else port
                starts += "startup complete" in line
                if port and starts == (2 if "--workers" in command else 1):
                    break
            for number in range(60):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                connection.request("GET", f"/{number}")
                assert connection.getresponse().read() == b"fine"
                connection.close()
            process.send_signal(ending)
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert agent.got["counts"]["api.requests.total"] == 60
    assert agent.got["values"]["api.requests.duration"] == 60
    assert agent.got["bad"] == []
