"""Requests through a dependency: what comes back, and with which options."""

import httpx2
import pytest

from asgi_resilience.client import (
    AttemptTimedOut,
    BreakerPolicy,
    CircuitOpen,
    DeadlineExceeded,
    RateLimited,
    ResilientClient,
    ResilientTransport,
    RetryPolicy,
)
from asgi_resilience.context import request_scope
from tests.client.http.scripted import URL, Server, client, now

pytestmark = pytest.mark.anyio


async def test_a_response_is_passed_on(make, events):
    """What the server answers is what the caller gets."""
    server = Server(httpx2.Response(200, json={"id": 1}))
    async with client(make(), server) as http:
        response = await http.get("/things/1")
    assert (response.json(), str(response.request.url)) == ({"id": 1}, f"{URL}/things/1")
    assert events == []


@pytest.mark.parametrize(
    ("answers", "status", "attempts", "seconds"),
    [
        ([503, 200], 200, 2, 0.1),
        ([502, 504, 200], 200, 3, 0.3),
        ([503], 503, 4, 0.7),
        ([429], 429, 6, 1.5),
        ([500], 500, 1, 0.0),
        ([404], 404, 1, 0.0),
        ([301], 301, 1, 0.0),
        ([httpx2.ReadError("reset"), 200], 200, 2, 0.1),
        ([httpx2.ConnectError("refused"), 200], 200, 2, 0.1),
    ],
)
async def test_retries(make, answers, status, attempts, seconds):
    """An error status is retried as the matrix says; the last response is returned, never raised."""
    server = Server(*answers)
    async with client(make(breaker=None), server) as http:
        response = await http.get("/")
    assert (response.status_code, len(server.requests), now()) == (status, attempts, seconds)


async def test_an_error_response_can_be_read(make):
    """The body of the last error response is there."""
    server = Server(httpx2.Response(503, content=b"down"))
    async with client(make(), server) as http:
        assert (await http.get("/")).text == "down"
        async with http.stream("GET", "/") as response:
            assert await response.aread() == b"down"


async def test_retry_after(make):
    """`Retry-After` is waited for, for 429 and for 503, as seconds and as a date against the server's own clock."""
    date = {"Date": "Wed, 03 Jun 2026 12:00:00 GMT", "Retry-After": "Wed, 03 Jun 2026 12:00:09 GMT"}
    server = Server(
        httpx2.Response(429, headers={"Retry-After": "7"}), httpx2.Response(503, headers=date), 200
    )
    async with client(make(rnd=lambda: 0.0), server) as http:
        await http.get("/")
    assert now() == 7.005 + 9.005


async def test_a_retry_after_that_is_too_long(make):
    """A wait that is too long is not begun: the response says how long it would have been."""
    server = Server(httpx2.Response(429, headers={"Retry-After": "3600"}))
    async with client(make(), server) as http:
        response = await http.get("/")
    assert (response.status_code, response.headers["retry-after"], now()) == (429, "3600", 0.0)


async def test_the_breaker_counts_statuses(make):
    """Server errors open the circuit, 404 does not."""
    dependency = make(retry=None)
    async with client(dependency, Server(404)) as http:
        for _ in range(20):
            await http.get("/")
    assert dependency.breaker.label == "closed"
    async with client(dependency, Server(503)) as http:
        for _ in range(5):
            await http.get("/")
    assert dependency.breaker.label == "open"


@pytest.mark.parametrize(
    ("kind", "also", "not_also"),
    [
        (CircuitOpen, httpx2.TransportError, httpx2.TimeoutException),
        (RateLimited, httpx2.TransportError, httpx2.TimeoutException),
        (AttemptTimedOut, httpx2.TimeoutException, httpx2.ConnectError),
        (DeadlineExceeded, httpx2.TimeoutException, httpx2.ConnectError),
    ],
)
async def test_errors_of_the_policies(make, record, kind, also, not_also):
    """What the policies raise is caught by who catches `httpx2.TransportError`, and knows its request."""
    dependency = make(timeout=1.0, retry=None)
    record.deadline = 5.0
    if kind is CircuitOpen:
        dependency.breaker.last_error = cause = OSError()
        dependency.breaker.force_open()
    elif kind is RateLimited:
        dependency.gate.close(10.0, 0.0)
    elif kind is DeadlineExceeded:
        record.deadline = 0.5
    with request_scope(record):
        async with client(dependency, Server(9.0)) as http:
            with pytest.raises(kind) as raised:
                await http.get("/path")
    assert isinstance(raised.value, also)
    assert not isinstance(raised.value, not_also)
    assert raised.value.dependency == "db"
    assert str(raised.value.request.url) == f"{URL}/path"
    if kind is CircuitOpen:
        assert raised.value.__cause__ is cause
    else:
        assert type(raised.value.__cause__) is kind


async def test_other_errors_are_httpx2s(make):
    """What httpx2 raises goes to the caller as it is, after the retries."""
    server = Server(httpx2.ReadTimeout("slow"))
    async with client(make(), server) as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get("/")
    assert len(server.requests) == 4


def test_the_clients_own_options(make):
    """The client takes what httpx2's does; its timeout is the dependency's unless it is given."""
    http = ResilientClient(dependency=make(timeout=7.0), base_url=URL, headers={"a": "b"})
    assert (http.timeout, http.headers["a"]) == (httpx2.Timeout(7.0), "b")
    http = ResilientClient(dependency=make(), timeout=2.0, http2=False, verify=False)
    assert http.timeout == httpx2.Timeout(2.0)


def test_retries_below_are_warned_about(make, caplog):
    """A transport that retries by itself is warned about."""
    ResilientTransport(make(), transport=httpx2.AsyncHTTPTransport(retries=2))
    assert (
        "db: AsyncHTTPTransport retries 2 times by itself; pass retries=0 to the HTTP transport"
        in caplog.text
    )


async def test_policies_are_those_of_the_dependency(make):
    """The policies are the dependency's: also a breaker that trips at once."""
    server = Server(503)
    async with client(make(breaker=BreakerPolicy(failures_in_a_row=1), retry=RetryPolicy()), server) as http:
        assert (await http.get("/")).status_code == 503
        with pytest.raises(CircuitOpen):
            await http.get("/")
    assert len(server.requests) == 1
