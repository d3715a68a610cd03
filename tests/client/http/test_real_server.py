"""Against a real server on a real socket: refusals, resets, half bodies, slow headers."""

import asyncio
import threading
import time
from contextlib import contextmanager

import httpx2
import pytest

from asgi_resilience.client import AttemptTimedOut, BreakerPolicy, CircuitOpen, ResilientClient, RetryPolicy
from tests.server.serving import PATIENCE, serve

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

QUICK = RetryPolicy(base=0.01)


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: a client reads its certificates when it is made, as httpx2's own does."""


class App:
    """Misbehaves as scripted, request by request, and counts."""

    def __init__(self, *script):
        self._script = list(script)
        self.requests = []
        self.release = threading.Event()

    async def __call__(self, scope, receive, send):
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append((scope["method"], body, dict(scope["headers"])))
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if step == "reset":
            receive.__self__.transport.abort()
        elif step == "slow":
            await asyncio.get_running_loop().run_in_executor(None, self.release.wait, PATIENCE)
        else:
            status, headers, length, sent = step
            headers = [*headers, (b"content-length", str(length).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * sent, "more_body": sent < length})
            if sent < length:
                receive.__self__.transport.abort()


GOOD = (200, [], 4, 4)
HALF = (200, [], 100, 10)
DOWN = (503, [], 0, 0)
LIMITED = (429, [(b"retry-after", b"1")], 0, 0)


@contextmanager
def serving(*script):
    """A server that follows the script, and its address."""
    app = App(*script)
    with serve(app) as running:
        try:
            yield app, f"http://127.0.0.1:{running.port}"
        finally:
            app.release.set()


@pytest.mark.parametrize("step", [DOWN, HALF, "reset"], ids=["503", "half a body", "reset"])
async def test_it_is_repeated(make, step):
    """A 503, a body that breaks off and a reset connection are repeated until the server answers."""
    with serving(step, step, GOOD) as (app, url):
        async with ResilientClient(dependency=make(retry=QUICK), base_url=url) as http:
            response = await http.get("/")
        assert (response.status_code, response.content) == (200, b"xxxx")
        assert len(app.requests) == 3


async def test_a_second_is_a_second(make):
    """A 429 with `Retry-After: 1` is repeated after a second at the earliest, and so is what others send meanwhile."""
    with serving(LIMITED, GOOD) as (app, url):
        async with ResilientClient(dependency=make(retry=QUICK), base_url=url) as http:
            began = time.monotonic()

            async def later():
                while not app.requests:  # noqa: ASYNC110 - it is another process's doing
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                return await http.get("/")

            responses = await asyncio.gather(http.get("/"), later())
            took = time.monotonic() - began
        assert [each.status_code for each in responses] == [200, 200]
        assert len(app.requests) == 3
        assert took >= 1.0


@pytest.mark.parametrize("step", [HALF, "reset", DOWN], ids=["half a body", "reset", "503"])
async def test_an_order_is_sent_once(make, step):
    """A POST that the server may have processed is sent once."""
    with serving(step, GOOD) as (app, url):
        async with ResilientClient(dependency=make(retry=QUICK), base_url=url) as http:
            try:
                assert (await http.post("/", content=b"order")).status_code == 503
            except httpx2.TransportError:
                assert step != DOWN
        assert [body for _, body, _ in app.requests] == [b"order"]


async def test_an_order_with_a_key_is_sent_again(make):
    """With an idempotency key it is sent again, whole, under the same key."""
    with serving("reset", HALF, GOOD) as (app, url):
        async with ResilientClient(dependency=make(retry=QUICK), base_url=url, idempotency_key=True) as http:
            assert (await http.post("/", content=b"order")).status_code == 200
        assert [body for _, body, _ in app.requests] == [b"order"] * 3
        assert len({headers[b"idempotency-key"] for _, _, headers in app.requests}) == 1


async def test_an_order_nobody_listens_to(make):
    """A refused connection is tried again with any method, and is a connection failure."""
    with serving(GOOD) as (_, url):
        pass
    dependency = make(retry=QUICK, breaker=None)
    async with ResilientClient(dependency=dependency, base_url=url) as http:
        with pytest.raises(httpx2.ConnectError) as refused:
            await http.post("/", content=b"order")
    assert "gave up after 4 attempt(s)" in refused.value.__notes__[0]


async def test_slow_headers(make):
    """Headers that don't come are waited for as long as the dependency's timeout says, and count as its failure."""
    with serving("slow") as (app, url):
        dependency = make(
            timeout=0.2,
            retry=RetryPolicy(max_retries=1, base=0.01),
            breaker=BreakerPolicy(failures_in_a_row=2),
        )
        async with ResilientClient(dependency=dependency, base_url=url, timeout=PATIENCE) as http:
            with pytest.raises(AttemptTimedOut) as slow:
                await http.get("/")
            assert isinstance(slow.value, httpx2.TimeoutException)
            with pytest.raises(CircuitOpen):
                await http.get("/")
            app.release.set()
        assert len(app.requests) == 2


async def test_connections_are_given_back(make):
    """With one connection in the pool, failed responses don't keep it: the retries get it, streamed or not."""
    limits = httpx2.Limits(max_connections=1)
    with serving(DOWN, (503, [], 200_000, 200_000), HALF, GOOD) as (app, url):
        async with ResilientClient(
            dependency=make(retry=QUICK), base_url=url, limits=limits, timeout=2.0
        ) as http:
            assert (await http.get("/")).status_code == 200
            async with http.stream("GET", "/") as response:
                assert await response.aread() == b"xxxx"
            assert (await http.get("/")).status_code == 200
        assert len(app.requests) == 6


async def test_timeouts_give_connections_back(make):
    """Attempts that were cut off leave the pool usable."""
    limits = httpx2.Limits(max_connections=2)
    with serving("slow", "slow", "slow", "slow", GOOD) as (app, url):
        dependency = make(timeout=0.2, retry=None)
        async with ResilientClient(dependency=dependency, base_url=url, limits=limits) as http:
            cut = await asyncio.gather(*(http.get("/") for _ in range(4)), return_exceptions=True)
            app.release.set()
            assert all(isinstance(each, httpx2.TimeoutException) for each in cut)
            assert (await http.get("/")).status_code in (200, 500)
