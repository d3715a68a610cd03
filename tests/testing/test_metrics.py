"""Metrics in a test."""

import pytest

from asgi_resilience import Settings, wrap
from asgi_resilience.telemetry import pipeline
from asgi_resilience.testing import asgi_request, captured_metrics

pytestmark = pytest.mark.anyio


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body"})


async def test_what_was_measured_in_the_block_is_told():
    """Neither what came before nor what comes after; and the numbers go where they went before, too."""
    service = wrap(app, Settings(access_log=False))
    await asgi_request(service)
    with captured_metrics() as metrics:
        assert metrics().count("api.requests.total") == 0
        await asgi_request(service)
        await asgi_request(service)
        assert metrics().count("api.requests.total", status="404") == 2
        assert metrics().distribution("api.requests.duration").count == 2
    await asgi_request(service)
    assert metrics().count("api.requests.total") == 2
    assert pipeline().windows.snapshot().count("api.requests.total") == 4
    assert len(pipeline().exporters) == 1
