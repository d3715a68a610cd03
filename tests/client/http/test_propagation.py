"""What travels along with a request, and where to."""

import httpx2
import pytest

from asgi_resilience.context import request_scope
from asgi_resilience.traceparent import Trace
from tests.client.http.scripted import Server, client

pytestmark = pytest.mark.anyio


@pytest.fixture
def traced(record):
    """A request with ids."""
    record.request_id = "req_1"
    record.trace_id = "0af7651916cd43dd8448eb211c80319c"
    record.span_id = "b7ad6b7169203331"
    record.trace = Trace(tracestate="vendor=1")
    return record


async def test_the_request_travels_along(make, traced):
    """Request id, trace and time left are sent to the server."""
    server = Server(200)
    traced.deadline = 2.5
    with request_scope(traced):
        async with client(make(timeout=10.0), server) as http:
            await http.get("/")
    headers = server.requests[0].headers
    assert headers["x-request-timeout-ms"] == "2500"
    assert headers["x-request-id"] == "req_1"
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert headers["tracestate"] == "vendor=1"
    assert headers["x-datadog-trace-id"] == str(0x8448EB211C80319C)
    assert headers["x-datadog-parent-id"] == str(int(span_id, 16))
    assert headers["x-datadog-tags"] == "_dd.p.tid=0af7651916cd43dd"
    assert "x-datadog-sampling-priority" not in headers


async def test_each_call_has_a_span_of_its_own(make, traced):
    """Calls of one request, repeated ones too, share its trace, and each is the parent of what its receiver records."""
    server = Server(503, 200, 200)
    with request_scope(traced):
        async with client(make(), server) as http:
            await http.get("/")
            await http.get("/")
    parents = [each.split("-")[2] for each in server.sent("traceparent")]
    assert len({*parents, traced.span_id}) == 4
    assert server.sent("x-datadog-parent-id") == [str(int(each, 16)) for each in parents]


@pytest.mark.parametrize(("priority", "flags"), [(None, "01"), (-1, "00"), (0, "00"), (1, "01"), (2, "01")])
async def test_the_decision_to_keep_the_trace_travels_along(make, traced, priority, flags):
    """What has been decided is told in both forms, with its reasons; a trace that nobody decided on counts as sampled."""
    server = Server(200)
    traced.trace = Trace(priority=priority, tags="_dd.p.dm=-4")
    with request_scope(traced):
        async with client(make(), server) as http:
            await http.get("/")
    headers = server.requests[0].headers
    assert headers["traceparent"].endswith(f"-{flags}")
    assert headers.get("x-datadog-sampling-priority") == (None if priority is None else str(priority))
    assert headers["x-datadog-tags"] == "_dd.p.dm=-4,_dd.p.tid=0af7651916cd43dd"


async def test_a_trace_of_64_bits(make, traced):
    """A trace id of 64 bits has no upper half to send; a request without tracestate sends none."""
    server = Server(200)
    traced.trace_id, traced.trace = f"{7:032x}", None
    with request_scope(traced):
        async with client(make(), server) as http:
            await http.get("/")
    headers = server.requests[0].headers
    assert headers["x-datadog-trace-id"] == "7"
    assert not {"x-datadog-tags", "tracestate"} & set(headers)


async def test_what_is_left_shrinks(make, record):
    """Each attempt sends what is left at its time, and at most its own timeout."""
    server = Server(503, 503, 200)
    record.deadline = 1.0
    with request_scope(record):
        async with client(make(timeout=0.8), server) as http:
            await http.get("/")
    assert server.sent("x-request-timeout-ms") == ["800", "800", "700"]


async def test_without_a_request(make):
    """Outside of a request only the timeout is sent; without that, nothing."""
    server = Server(200)
    for timeout in (3.0, None):
        async with client(make(timeout=timeout), server) as http:
            await http.get("/")
    assert server.sent("x-request-timeout-ms") == ["3000", None]
    assert server.sent("x-request-id") == server.sent("traceparent") == [None, None]


async def test_headers_of_ones_own(make, traced):
    """A header that the request has already is left alone; the deadline's name is an option, None sends none."""
    server = Server(200)
    with request_scope(traced):
        async with client(make(), server, deadline_header="X-Left", headers={"X-Request-ID": "mine"}) as http:
            await http.get("/", headers={"X-Left": "7", "traceparent": "theirs"})
        async with client(make(), server, deadline_header=None) as http:
            await http.get("/")
    assert server.sent("x-left") == ["7", None]
    assert server.sent("x-request-id") == ["mine", "req_1"]
    assert server.sent("traceparent")[0] == "theirs"
    assert server.sent("x-request-timeout-ms") == [None, None]


async def test_ddtrace_sends_its_own(make, traced, monkeypatch):
    """Where ddtrace instruments httpx2, the trace is left to it."""
    server = Server(200)
    monkeypatch.setattr(httpx2, "_datadog_patch", True, raising=False)
    with request_scope(traced):
        async with client(make(), server) as http:
            await http.get("/")
    assert server.sent("traceparent") == server.sent("x-datadog-trace-id") == [None]
    assert server.sent("x-request-id") == ["req_1"]


async def test_another_origin_learns_nothing(make, traced):
    """A redirect to another origin takes none of these headers along, nor a key; one to the same origin takes all."""
    server = Server(
        httpx2.Response(307, headers={"Location": "/moved"}),
        httpx2.Response(307, headers={"Location": "https://other.example/"}),
        200,
    )
    with request_scope(traced):
        async with client(make(), server, idempotency_key=True, follow_redirects=True) as http:
            await http.post("/", content=b"order")
            await http.post("https://other.example/", headers={"Idempotency-Key": "mine"})
    key, *keys = server.sent("idempotency-key")
    assert key is not None
    assert keys == [key, None, "mine"]
    assert server.sent("x-request-id") == ["req_1", "req_1", None, "req_1"]
    assert server.sent("x-request-timeout-ms") == ["10000", "10000", None, "10000"]
    assert server.bodies == [b"order"] * 3 + [b""]


async def test_a_key_of_ones_own_does_not_leak(make):
    """A key that the caller set does not follow a redirect to another origin either."""
    server = Server(httpx2.Response(307, headers={"Location": "https://other.example/"}), 200)
    async with client(make(), server, follow_redirects=True) as http:
        await http.post("/", headers={"Idempotency-Key": "mine"})
    assert server.sent("idempotency-key") == ["mine", None]
