"""Fallbacks for requests: an older response, or a later one."""

import asyncio

import httpx2
import pytest

from asgi_resilience.client import (
    Cached,
    CallDeferred,
    Deferred,
    DeferredQueue,
    Previous,
)
from asgi_resilience.context import request_scope
from tests.client.http.scripted import Server, client

pytestmark = pytest.mark.anyio


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
