"""Faults on the wire of an HTTP client."""

import httpx2
import pytest

from asgi_resilience.client import FaultyTransport, ResilientTransport
from asgi_resilience.faults import Abort, ErrorStatus, Fault, Latency, Raise, SlowBody, Truncate
from tests.client.calls import now

pytestmark = pytest.mark.anyio


class Server(httpx2.AsyncBaseTransport):
    """Answers with ten bytes, in two pieces."""

    closed = 0

    async def handle_async_request(self, request):
        return httpx2.Response(200, stream=Body(self))

    async def aclose(self):
        self.closed += 1


class Body(httpx2.AsyncByteStream):
    def __init__(self, server):
        self.server = server

    async def __aiter__(self):
        yield b"01234"
        yield b"56789"

    async def aclose(self):
        self.server.closed += 1


def client(effect, server=None, **conditions):
    """A plain client behind a fault."""
    faulty = FaultyTransport([Fault(effect, **conditions)], transport=server or Server())
    return httpx2.AsyncClient(transport=faulty, base_url="http://provider.test")


async def test_latency_marks():
    """The answer comes later, and is marked."""
    response = await client(Latency(2.0)).get("/")
    assert now() == 2.0
    assert (response.content, response.headers["X-Injected-Fault"]) == (b"0123456789", "latency")


async def test_conditions_are_about_the_request_that_is_sent():
    """Path, header and id are those of the outbound request; others pass unmarked."""
    conditions = {"path": "/odds", "header": "X-Chaos", "request_id": "req_1"}
    faulty = client(Latency(2.0), **conditions)
    sent = {"X-Chaos": "1", "X-Request-ID": "req_1"}
    for path, headers in (("/odds", {}), ("/", sent), ("/odds", {**sent, "X-Request-ID": "req_2"})):
        assert "X-Injected-Fault" not in (await faulty.get(path, headers=headers)).headers
    assert (await faulty.get("/odds/7", headers=sent)).headers["X-Injected-Fault"] == "latency"


async def test_an_error_status_is_a_response():
    """The server is not asked; the response has the status and the wait."""
    response = await client(ErrorStatus(429, retry_after=3.0)).get("/")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    response = await client(ErrorStatus(500)).get("/")
    assert (response.status_code, response.content) == (500, b"")
    assert "Retry-After" not in response.headers


async def test_a_connection_is_cut():
    """Before the answer, or in the middle of it: what httpx2 raises for a server that hangs up."""
    with pytest.raises(httpx2.RemoteProtocolError, match="the connection was cut"):
        await client(Abort()).get("/")
    with pytest.raises(KeyError):
        await client(Raise(KeyError)).get("/")


@pytest.mark.parametrize(("after", "arrives"), [(0, b""), (3, b"012"), (7, b"0123456"), (99, b"0123456789")])
async def test_a_body_is_cut(after, arrives):
    """So many bytes arrive, then the connection breaks; the real response is closed."""
    server, arrived = Server(), b""
    with pytest.raises(httpx2.RemoteProtocolError, match="in the middle of the body"):
        async with client(Truncate(after), server).stream("GET", "/") as response:
            async for chunk in response.aiter_raw():
                arrived += chunk
    assert arrived == arrives
    assert server.closed == 1


async def test_a_body_trickles():
    """All of it arrives, no faster than said."""
    server = Server()
    faulty = client(SlowBody(20.0), server)
    response = await faulty.get("/")
    assert response.content == b"0123456789"
    assert now() == pytest.approx(0.5)
    await faulty.aclose()
    assert server.closed == 2


async def test_below_a_resilient_client(make):
    """The policies of a dependency meet the faults as they would meet a server's."""
    faulty = FaultyTransport([Fault(ErrorStatus(503))], transport=Server(), name="provider")
    resilient = ResilientTransport(make("provider"), transport=faulty)
    async with httpx2.AsyncClient(transport=resilient) as through:
        assert (await through.get("http://provider.test/")).status_code == 503
    assert faulty.plan.injected == {"status_503": 4}


def test_a_transport_of_its_own():
    """Without a transport it makes one that really sends."""
    assert isinstance(FaultyTransport([])._inner, httpx2.AsyncHTTPTransport)
