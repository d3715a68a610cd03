"""Requests through a dependency: what is sent again, what is closed, what travels along."""

import asyncio
import io

import httpx2
import pytest

from asgi_resilience.client import (
    AttemptTimedOut,
    BreakerPolicy,
    Cached,
    CallDeferred,
    CircuitOpen,
    DeadlineExceeded,
    Deferred,
    DeferredQueue,
    Previous,
    RateLimited,
    ResilientClient,
    ResilientTransport,
    RetryPolicy,
    idempotency_key,
)
from asgi_resilience.context import request_scope

pytestmark = pytest.mark.anyio

URL = "https://provider.example"


def now():
    """The event loop's clock."""
    return round(asyncio.get_running_loop().time(), 6)


class Server:
    """Answers as scripted, and keeps what it was sent; the last answer repeats."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.requests = []
        self.bodies = []

    async def __call__(self, request):
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx2.ConnectError):
            raise answer
        self.bodies.append(await request.aread())
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return httpx2.Response(200)
        if isinstance(answer, int):
            return httpx2.Response(answer)
        return answer(request) if callable(answer) else answer

    def sent(self, name):
        """The values of one header, request by request."""
        return [request.headers.get(name) for request in self.requests]


class Mock(httpx2.AsyncBaseTransport):
    """A transport without a network that notices whether it was closed."""

    closed = False

    def __init__(self, server):
        self._server = server

    async def handle_async_request(self, request):
        return await self._server(request)

    async def aclose(self):
        self.closed = True


def client(dependency, server, **options):
    """A client of a scripted server."""
    return ResilientClient(dependency=dependency, transport=Mock(server), base_url=URL, **options)


# ------------------------------------------------------------------------------------------------------- responses


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


# ---------------------------------------------------------------------------------------------------------- errors


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


# -------------------------------------------------------------------------------------------------- sending it again


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


# ------------------------------------------------------------------------------------------- what is read and closed


class Body(httpx2.AsyncByteStream):
    """A response body that notices how it is treated, and may break off."""

    def __init__(self, *parts):
        self._parts = parts
        self.closed = False

    async def __aiter__(self):
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self):
        self.closed = True


def streamed(status, *parts, **headers):
    """A response with such a body, which can be looked at as `body`."""
    response = httpx2.Response(status, headers=headers, stream=Body(*parts))
    response.body = response.stream
    return response


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


# ------------------------------------------------------------------------------------------------- what travels along


@pytest.fixture
def traced(record):
    """A request with ids."""
    record.request_id = "req_1"
    record.trace_id = "0af7651916cd43dd8448eb211c80319c"
    record.span_id = "b7ad6b7169203331"
    record.tracestate = "vendor=1"
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
    assert headers["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert headers["tracestate"] == "vendor=1"
    assert headers["x-datadog-trace-id"] == str(0x8448EB211C80319C)
    assert headers["x-datadog-parent-id"] == str(0xB7AD6B7169203331)
    assert headers["x-datadog-tags"] == "_dd.p.tid=0af7651916cd43dd"


async def test_a_trace_of_64_bits(make, traced):
    """A trace id of 64 bits has no upper half to send; a request without tracestate sends none."""
    server = Server(200)
    traced.trace_id, traced.tracestate = f"{7:032x}", None
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


# --------------------------------------------------------------------------------------------------------- fallbacks


async def test_a_cached_response(make, record):
    """A fallback can answer with an earlier response; each caller gets one of its own to read."""
    server = Server(httpx2.Response(200, json={"odds": 2}), 503)
    dependency = make(retry=None, fallback=Cached(ttl=0.0))
    with request_scope(record):
        async with client(dependency, server) as http:
            responses = [await http.get("/odds") for _ in range(3)]
    assert [each.json() for each in responses] == [{"odds": 2}] * 3
    assert record.degraded == ("db",)
    assert len(set(map(id, responses))) == 3


async def test_responses_of_others_are_not_given_out(make):
    """Another path, method, user or language is another response."""
    server = Server(httpx2.Response(200, content=b"mine"), 503)
    async with client(make(retry=None, fallback=Previous()), server) as http:
        assert (await http.get("/", headers={"Authorization": "me"})).content == b"mine"
        assert (await http.get("/", headers={"Authorization": "me"})).content == b"mine"
        assert (await http.get("/", headers={"Authorization": "you"})).status_code == 503
        assert (await http.get("/else", headers={"Authorization": "me"})).status_code == 503
        assert (await http.delete("/", headers={"Authorization": "me"})).status_code == 503


async def test_a_deferred_request(make):
    """A request can be queued if it may be repeated; it keeps its key, and has no deadline any more."""
    done = asyncio.Event()
    results = []

    def on_result(call, result, error):
        results.append(result)
        done.set()

    server = Server(httpx2.Response(429, headers={"Retry-After": "300"}), 201)
    queue = DeferredQueue(on_result=on_result)
    dependency = make(rnd=lambda: 0.0, fallback=Deferred(queue))
    async with client(dependency, server, idempotency_key=True) as http:
        with pytest.raises(CallDeferred) as deferred:
            await http.post("/orders", content=b"order")
        assert deferred.value.retry_after == 300.0
        await done.wait()
    assert results[0].status_code == 201
    assert server.bodies == [b"order", b"order"]
    assert len(set(server.sent("idempotency-key"))) == 1


async def test_an_order_is_not_queued_without_a_key(make):
    """A request that must not be made twice is not queued."""
    dependency = make(retry=None, fallback=Deferred(DeferredQueue()))
    async with client(dependency, Server(503)) as http:
        assert (await http.post("/orders", content=b"order")).status_code == 503
    await dependency.aclose()


# ----------------------------------------------------------------------------------------------------------- options


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
