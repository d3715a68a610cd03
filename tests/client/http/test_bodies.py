"""What of a response is read, what is closed, and when."""

import httpx2
import pytest

from asgi_resilience.client import (
    ResilientClient,
    ResilientTransport,
)
from tests.client.http.scripted import URL, Mock, Server, client, streamed

pytestmark = pytest.mark.anyio


async def test_a_body_that_breaks_off_is_retried(make, events):
    """A body is read within the attempt: one that breaks off is a failure, and retried."""
    broken = streamed(200, b"half", httpx2.RemoteProtocolError("incomplete"))
    async with client(make(), Server(broken, streamed(200, b"whole"))) as http:
        assert (await http.get("/")).content == b"whole"
    assert broken.body.closed
    assert events[0].rule == "connection failure"


async def test_a_streamed_body_is_not(make):
    """A body that the caller reads is not: what was read was read. The dependency has failed all the same."""
    dependency = make()
    broken = streamed(200, b"half", httpx2.ReadError("reset"))
    async with client(dependency, Server(broken)) as http, http.stream("GET", "/") as response:
        with pytest.raises(httpx2.ReadError):
            await response.aread()
    assert broken.body.closed
    assert dependency.breaker.outcomes.streak == 1


async def test_a_streamed_body_without_a_breaker(make):
    """Without a breaker nobody needs to know."""
    server = Server(streamed(200, httpx2.ReadError("reset")))
    async with client(make(breaker=None), server) as http, http.stream("GET", "/") as response:
        with pytest.raises(httpx2.ReadError):
            await response.aread()


async def test_a_failed_response_is_closed_before_the_wait(make):
    """The response of an attempt that will be repeated is closed before the wait: its connection serves others."""
    big = {"content-length": "1000000"}
    failed = streamed(503, b"x" * 10, **big)
    seen = []

    def last(request):
        seen.append(failed.body.closed)
        return httpx2.Response(200)

    async with client(make(), Server(failed, last)) as http, http.stream("GET", "/") as response:
        assert response.status_code == 200
    assert seen == [True]


@pytest.mark.parametrize(
    ("length", "read"), [("4", True), ("65536", True), ("65537", False), ("9" * 30, False), ("x", False)]
)
async def test_small_error_bodies_are_read(make, length, read):
    """The body of an error is read to its end if it is small, which frees the connection; otherwise it is the caller's."""
    failed = streamed(404, b"body", **{"content-length": length})
    async with client(make(), Server(failed)) as http, http.stream("GET", "/") as response:
        assert failed.body.closed is read
        assert await response.aread() == b"body"


async def test_switching_protocols(make):
    """A connection that becomes something else is left alone."""
    switched = streamed(101)
    dependency = make()
    async with client(dependency, Server(switched)) as http, http.stream("GET", "/") as response:
        assert response.status_code == 101
        assert not switched.body.closed


async def test_in_somebody_elses_client(make):
    """The transport works in a client that knows nothing of it; bodies are then the caller's to read."""
    server = Server(503, streamed(200, b"body"))
    async with httpx2.AsyncClient(
        transport=ResilientTransport(make(), transport=Mock(server)), base_url=URL
    ) as http:
        assert (await http.get("/")).content == b"body"
    assert len(server.requests) == 2


async def test_closing(make):
    """Closing the client closes what really sends."""
    transport = Mock(Server(200))
    async with ResilientClient(dependency=make(), transport=transport):
        assert not transport.closed
    assert transport.closed
