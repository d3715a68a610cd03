"""The path for Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_resilience import RateLimit, Settings, wrap
from asgi_resilience.middleware.prometheus import PrometheusMiddleware
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
    else:
        await PlainTextResponse(f"app {scope['path']}")(scope, receive, send)


@pytest.fixture
def served():
    return ASGILint(PrometheusMiddleware(app, text=lambda: "up 1\n"))


async def test_a_scrape_is_answered(served):
    """With the text, its content type and length, and nothing that a cache would keep."""
    response = await asgi_request(served, path="/metrics")
    assert (response.status, response.body) == (200, b"up 1\n")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["content-length"] == "5"
    assert response.headers["cache-control"] == "no-store"


async def test_head_has_no_body(served):
    """But the headers of a GET."""
    response = await asgi_request(served, "HEAD", "/metrics")
    assert (response.status, response.body, response.headers["content-length"]) == (200, b"", "5")


async def test_other_methods_are_refused(served):
    """With those that are allowed."""
    response = await asgi_request(served, "POST", "/metrics")
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/more", "/metric", "/a/metrics"])
async def test_other_paths_are_those_of_the_app(served, path):
    """Also those that look alike."""
    assert (await asgi_request(served, path=path)).body == f"app {path}".encode()


async def test_a_mounted_app_has_its_path_below_the_root(served):
    """Servers that were told of a root path put it in front of the path."""
    response = await asgi_request(served, path="/v1/metrics", scope={"root_path": "/v1"})
    assert response.body == b"up 1\n"


async def test_other_scopes_pass(served):
    """A websocket of that path is the app's."""
    assert (await asgi_websocket(served, "/metrics")).close_code is not None


def test_a_path_begins_with_a_slash():
    """Anything else would never be asked for."""
    with pytest.raises(ValueError, match="path='metrics': expected a path that begins with '/'"):
        PrometheusMiddleware(app, path="metrics")


async def test_in_the_stack_a_scrape_is_neither_counted_nor_logged_nor_limited(kept_lines):
    """It stands outside of the layers that do so; the numbers are those of the requests."""

    async def hello(_request):
        return PlainTextResponse("hello")

    service = wrap(
        Starlette(routes=[Route("/items/{id}", hello)]),
        Settings(prometheus_path="/-/metrics", rate_limit=RateLimit(2, 3600.0)),
    )
    for _ in range(3):
        response = await asgi_request(service, path="/-/metrics")
        assert response.status == 200
    await asgi_request(service, path="/items/1")
    response = await asgi_request(service, path="/-/metrics")
    families = {each.name: each for each in text_string_to_metric_families(response.body.decode())}
    (sample,) = families["api_requests"].samples
    assert (sample.labels["route"], sample.value) == ("/items/{id}", 1)
    assert families["api_requests_duration"].type == "histogram"
    assert len(kept_lines.lines) == 1


async def test_without_metrics_there_is_no_path():
    """Switched off, the path is the app's."""
    service = wrap(app, Settings(metrics=False, prometheus_path="/metrics", access_log=False))
    assert (await asgi_request(service, path="/metrics")).body == b"app /metrics"
