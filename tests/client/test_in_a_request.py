"""The two halves together: what the layers know of a request rules and names its outbound calls."""

import logging

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi_resilience import Settings, wrap
from asgi_resilience.client import Cached, GaveUp, ResilientClient
from asgi_resilience.context import current_request
from asgi_resilience.testing import FailingDependency, Slow, asgi_request

pytestmark = pytest.mark.anyio

SETTINGS = Settings(timeout=2.0, access_log=False)


def service(handler, settings=SETTINGS):
    """A service with one handler, inside of the whole stack."""

    async def endpoint(request):
        return JSONResponse(await handler())

    return wrap(Starlette(routes=[Route("/", endpoint)]), settings)


async def test_a_degraded_answer(make):
    """The response says which dependency a fallback has answered for."""
    sports = make("sports", retry=None, fallback=Cached(ttl=0.0))
    provider = FailingDependency({"odds": 2}, ConnectionError())
    app = service(lambda: sports.call(provider))
    answers = [await asgi_request(app) for _ in range(2)]
    assert [each.json() for each in answers] == [{"odds": 2}] * 2
    assert [each.headers.get("x-degraded") for each in answers] == [None, "sports"]


async def test_an_open_circuit(make):
    """An open circuit is a 503 that says when to come again, and not what is behind it."""
    postgres = make("postgres")
    postgres.breaker.force_open()
    answer = await asgi_request(service(lambda: postgres.call(FailingDependency(1))))
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert b"postgres" not in answer.body


async def test_a_dependency_that_is_too_slow(make):
    """An attempt that times out is a 504."""
    model = make("model", timeout=0.5, retry=None)
    answer = await asgi_request(service(lambda: model.call(FailingDependency(Slow(9.0)))))
    assert (answer.status, answer.json()["error"]["code"]) == (504, "REQUEST_TIMED_OUT")


async def test_the_deadline_of_the_timeout_layer(make, events):
    """No retry begins that the request has no time for: its error is the answer's."""
    postgres = make("postgres", timeout=0.8)
    answer = await asgi_request(service(lambda: postgres.call(FailingDependency(Slow(9.0)))))
    assert answer.status == 504
    assert postgres.breaker.outcomes.streak == 2
    assert not [each for each in events if isinstance(each, GaveUp) and each.reason == "retries_exhausted"]


async def test_headers_and_log_lines_name_the_request(make, caplog):
    """What is sent to others, and what is logged of it, carries the id and the trace of the request."""
    seen = []

    def provider(request):
        seen.append((request.headers, current_request()))
        return httpx2.Response(503 if len(seen) == 1 else 200, json={})

    sports = make("sports")

    async def ask():
        client = ResilientClient(
            base_url="https://provider.example", dependency=sports, transport=httpx2.MockTransport(provider)
        )
        async with client:
            return (await client.get("/odds")).json()

    with caplog.at_level(logging.WARNING, "asgi_resilience.client"):
        answer = await asgi_request(service(ask))
    assert answer.status == 200
    (first, record), (second, _) = seen
    assert first["x-request-id"] == second["x-request-id"] == answer.headers["x-request-id"]
    (trace_id, parent_id), (also, another_id) = (
        each["traceparent"].split("-")[1:3] for each in (first, second)
    )
    assert trace_id == also == record.trace_id
    assert len({parent_id, another_id, record.span_id}) == 3  # each attempt is a span of its own
    assert 0 < int(second["x-request-timeout-ms"]) < int(first["x-request-timeout-ms"]) <= 2000
    assert "sports: attempt 2 follows" in caplog.text
