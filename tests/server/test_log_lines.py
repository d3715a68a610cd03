"""Log lines under a real server: each belongs to its own request, and none is lost at the end."""

import asyncio
import json
import logging
import os
import resource
import signal
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_resilience.settings import Settings
from asgi_resilience.stack import wrap
from asgi_resilience.testing import captured_logs
from tests.server.serving import PATIENCE, SERVERS, Client, serve

MANY = 1000
OPEN_FILES = 4 * MANY


@pytest.fixture
def many_files():
    """Room for two ends of each of many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        pytest.skip(f"this system allows {hard} open files, the test needs {OPEN_FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, OPEN_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("http", "loop"), SERVERS)
def test_each_of_many_requests_finds_its_own_id_in_its_own_lines(http, loop, many_files):
    """Of 1,000 requests at the same time, every one has its own id: answered, logged by its handler, and in its line."""
    logger = logging.getLogger("app")
    under_way = []
    everyone_is_here = asyncio.Event()

    async def handler(request):
        number = request.path_params["number"]
        logger.info("begin %s", number)
        under_way.append(number)
        if len(under_way) == MANY:
            everyone_is_here.set()
        await everyone_is_here.wait()
        logger.info("end %s", number)
        return PlainTextResponse(number)

    app = wrap(Starlette(routes=[Route("/{number}", handler)]), Settings(service="many"))

    async def ask(port, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        own = f"x-request-id: own-{number}\r\n" if number % 2 else ""
        writer.write(f"GET /{number} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{own}\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert body == str(number).encode()
        return fields[b"x-request-id"].decode()

    async def ask_all(port):
        return await asyncio.gather(*(ask(port, number) for number in range(MANY)))

    with captured_logs(level=logging.INFO) as logs, serve(app, http, loop) as server:
        ids = asyncio.run(ask_all(server.port))

    assert len(set(ids)) == MANY
    assert [ids[number] for number in range(1, MANY, 2)] == [f"own-{number}" for number in range(1, MANY, 2)]
    lines = logs.lines
    of_handlers = {line["message"]: line["request_id"] for line in lines if line["logger"]["name"] == "app"}
    assert of_handlers == {
        f"{word} {number}": request_id for number, request_id in enumerate(ids) for word in ("begin", "end")
    }
    of_requests = {line["http"]["url_details"]["path"]: line["request_id"] for line in logs.of_requests()}
    assert of_requests == {f"/{number}": request_id for number, request_id in enumerate(ids)}
    assert len(logs.of_requests()) == MANY


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_no_line_is_lost_when_the_server_is_told_to_end(tmp_path, ending):
    """At SIGTERM and SIGINT every line that is still in memory is written before the process ends."""
    tmp_path.joinpath("service.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        "app = Starlette(routes=[Route('/', lambda request: PlainTextResponse('fine'))])\n"
    )
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "asgi_resilience", "run", "service:app", "--uds", str(path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "DD_SERVICE": "ending",
    }
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if "running on" in json.loads(line)["message"]:
                break
        with Client(path) as client:
            ids = [client.get("/").headers["x-request-id"] for _ in range(20)]
            process.send_signal(ending)
        rest, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in rest.splitlines()]
    assert [line["request_id"] for line in lines if "outcome" in line] == ids
