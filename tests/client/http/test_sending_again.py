"""What may be sent again, and with which body."""

import io

import httpx2
import pytest

from asgi_resilience.client import (
    idempotency_key,
)
from tests.client.http.scripted import Server, client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
async def test_idempotent_methods(make, method):
    """A method that RFC 9110 calls idempotent is repeated."""
    server = Server(httpx2.ReadTimeout("slow"), 200)
    async with client(make(), server) as http:
        assert (await http.request(method, "/")).status_code == 200
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [httpx2.ReadTimeout("slow"), httpx2.ReadError("reset"), 503, 429, 20.0])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_other_methods(make, events, method, answer):
    """A request that may have been processed is not repeated, whatever happened to it."""
    server = Server(answer)
    async with client(make(), server) as http:
        try:
            assert (await http.request(method, "/", content=b"order")).status_code in (503, 429)
        except httpx2.TransportError:
            assert not isinstance(answer, int)
    assert len(server.requests) == 1
    assert events[-1].reason == "not_replayable"


@pytest.mark.parametrize(
    "error", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError]
)
async def test_what_never_left(make, error):
    """A request that was not sent at all is repeated, whatever its method."""
    server = Server(error("x"), 201)
    async with client(make(), server) as http:
        assert (await http.post("/", content=b"order")).status_code == 201
    assert len(server.requests) == 2


async def test_an_idempotency_key(make):
    """`idempotency_key=True` makes a key per request, the same on each attempt, which allows the retries."""
    server = Server(httpx2.ReadTimeout("slow"), 503, 201)
    async with client(make(), server, idempotency_key=True) as http:
        await http.post("/", content=b"one")
        await http.post("/", content=b"two")
        await http.get("/")
    first, again, last, second, got = server.sent("idempotency-key")
    assert first == again == last
    assert first != second
    assert got is None
    assert server.bodies == [b"one"] * 3 + [b"two", b""]


async def test_a_key_of_ones_own(make):
    """A key that the request has already, or that of the surrounding block, is used as it is."""
    server = Server(503, 201, 503, 201)
    async with client(make(), server, idempotency_key=True) as http:
        await http.post("/", headers={"Idempotency-Key": "mine"})
        with idempotency_key("order-7"):
            await http.post("/")
    assert server.sent("idempotency-key") == ["mine", "mine", "order-7", "order-7"]


async def chunks():
    """A body that can be read once."""
    yield b"once"


class Once:
    """An async iterable that is empty the second time."""

    def __init__(self):
        self._left = [b"once"]

    async def __aiter__(self):
        while self._left:
            yield self._left.pop()


@pytest.mark.parametrize("body", [chunks, Once])
async def test_a_one_shot_body_is_not_sent_empty(make, events, body):
    """A body that can be read once is not sent again: the server would get, and accept, nothing."""
    server = Server(503, 200)
    async with client(make(), server) as http:
        assert (await http.put("/", content=body())).status_code == 503
    assert server.bodies == [b"once"]
    assert events[-1].reason == "not_replayable"


@pytest.mark.parametrize("body", [chunks, Once])
async def test_a_one_shot_body_that_was_not_touched(make, body):
    """When not even the connection came about, the body is still there, and is sent."""
    server = Server(httpx2.ConnectError("refused"), 200)
    async with client(make(), server) as http:
        assert (await http.put("/", content=body())).status_code == 200
    assert server.bodies == [b"once"]


class Unseekable(io.RawIOBase):
    """A file that can be read once."""

    def readable(self):
        return True

    def readinto(self, buffer):
        return 0

    def seekable(self):
        return False


@pytest.mark.parametrize(
    ("file", "attempts"), [(io.BytesIO(b"file"), 2), (b"bytes", 2), ("text", 2), (Unseekable(), 1)]
)
async def test_multipart(make, file, attempts):
    """A form with files is sent again if each of them can be read from its start."""
    server = Server(503, 200)
    async with client(make(), server) as http:
        await http.put("/", files={"upload": ("name", file)}, data={"field": "value"})
    assert len(server.requests) == attempts
    assert len(set(server.bodies)) == 1
