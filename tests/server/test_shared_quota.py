"""One quota for six processes: four workers of one server and two servers of their own, over a real Redis."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time

import pytest

from tests.real_servers import RedisServer
from tests.server.serving import PATIENCE

redis = pytest.importorskip("redis", reason="redis is not installed")

PROCESSES = 6
RATE, BURST = 200, 200  # a second; and at once
LEASE = 4  # tokens, a fiftieth of the burst
SERVICE = f"""
import os
from asgi_resilience import RateLimit, RateLimitMiddleware
from asgi_resilience.quota.redis import RedisQuota

URL = os.environ["QUOTA_URL"]
RULE = RateLimit({RATE}, 1.0, burst={BURST})


async def hello(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
    await send({{"type": "http.response.body", "body": b""}})


def limited(name, **options):
    return RateLimitMiddleware(hello, limit=RULE, store=RedisQuota(URL, name=name, prefix=name, **options))


apps = {{
    "/strict": limited("strict", budget=2.0),
    "/leased": limited("leased", budget=2.0, leased=True),
    "/default": limited("default", budget=1.0),
}}


async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        await apps[scope["path"]](scope, receive, send)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A Redis that may be stopped."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ports(store, tmp_path_factory):
    """Where the servers listen: the first has four workers."""
    directory = tmp_path_factory.mktemp("service")
    directory.joinpath("service.py").write_text(SERVICE)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "QUOTA_URL": f"redis://127.0.0.1:{store.port}",
    }
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service:app", "--port", "0", "--no-access-log", *workers],
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        for log, workers in logs_of(directory)
    ]
    try:
        yield [
            listening(server, directory / f"{number}.log", 4 if number == 0 else 1)
            for number, server in enumerate(servers)
        ]
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(PATIENCE)
    for log in sorted(directory.glob("*.log")):
        assert "Traceback" not in log.read_text()


def logs_of(directory):
    """The file that each server writes to, and its options."""
    for number in range(3):
        with (directory / f"{number}.log").open("wb") as log:
            yield log, ("--workers", "4") if number == 0 else ()


def listening(server, log, workers):
    """The port of a server, once all of its workers are ready."""
    give_up = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < give_up and server.poll() is None:
        text = log.read_text()
        if text.count("startup complete") == workers:
            return int(re.search(r"running on http://[\d.]+:(\d+)", text)[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.02)
    pytest.fail(log.read_text())


class Clients:
    """Connections to all the servers that ask as fast as they are answered, but for a short rest."""

    def __init__(self, ports, path):
        self.where = [ports[0]] * 12 + [ports[1]] * 3 + [ports[2]] * 3
        self.request = f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode()
        self.statuses = []
        self.ending = False
        self.began = 0.0

    async def run(self, seconds):
        async with asyncio.TaskGroup() as group:
            for port in self.where:
                group.create_task(self.ask(port))
            await asyncio.sleep(seconds)
            self.ending = True

    async def ask(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.began = self.began or time.monotonic()
        while not self.ending:
            writer.write(self.request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
            await reader.readexactly(length)
            self.statuses.append((time.monotonic(), int(head.split(b" ", 2)[1])))
            await asyncio.sleep(0.015)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def admitted(self, since=0.0):
        """How many were answered by the application."""
        return sum(status == 200 for when, status in self.statuses if when >= since)

    @property
    def ended(self):
        """When the last request was admitted: of what is earned after that, nobody can tell."""
        return max(when for when, status in self.statuses if status == 200)

    @property
    def allowed(self):
        """What the rule allows one client in that time."""
        return BURST + RATE * (self.ended - self.began)


def questions(store):
    """How often Redis has run the script."""
    with redis.Redis(port=store.port) as client:
        return client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


def test_strict(ports, store):
    """All processes together admit what the limit says, within one percent."""
    clients = Clients(ports, "/strict")
    asyncio.run(clients.run(4.0))
    assert len(clients.statuses) > 1.2 * clients.allowed, "too few requests to come up to the limit"
    assert {status for _, status in clients.statuses} == {200, 429}
    assert clients.admitted() == pytest.approx(clients.allowed, rel=0.01)


def test_leased(ports, store):
    """Leased, no more than that is admitted, at most the outstanding leases less, for a part of the questions."""
    before = questions(store)
    clients = Clients(ports, "/leased")
    asyncio.run(clients.run(4.0))
    assert len(clients.statuses) > 1.2 * clients.allowed, "too few requests to come up to the limit"
    assert {status for _, status in clients.statuses} == {200, 429}
    assert clients.admitted() <= 1.01 * clients.allowed
    assert clients.admitted() >= 0.99 * clients.allowed - PROCESSES * LEASE
    assert questions(store) - before < 0.8 * len(clients.statuses)


def test_killed_and_started_again(ports, store):
    """While Redis is gone every request is answered, and each process holds its share; then they count together again."""
    clients = Clients(ports, "/default")

    async def run():
        running = asyncio.create_task(clients.run(6.5))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(store.stop)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(store.start)
        await asyncio.sleep(2.5)  # the circuit is open for a second, then probed; what was admitted ebbs away
        since = time.monotonic()
        await running
        return since

    since = asyncio.run(run())
    assert {status for _, status in clients.statuses} == {200, 429}
    assert clients.admitted(since) == pytest.approx(RATE * (clients.ended - since), rel=0.2)
    # A store that starts empty has a whole burst, and each of six processes a quarter of the rule in the time between.
    assert clients.admitted() <= 1.01 * clients.allowed + BURST + PROCESSES / 4 * (BURST + 4 * RATE)
