"""What the stack makes of the setting for a shared store."""

import pytest

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.quota.of_settings import quota_store, with_check
from asgi_resilience.settings import Settings
from asgi_resilience.stack import stack, wrap
from asgi_resilience.testing import asgi_request

pytest.importorskip("redis", reason="redis is not installed")

URL = "redis://127.0.0.1:1"  # nobody listens there
QUIET = {"metrics": False, "access_log": False}


async def hello(scope, receive, send):
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def fine():
    """A dependency that works."""


@pytest.fixture
def anyio_backend():
    """Asyncio: redis-py knows no other loop."""
    return "asyncio", {}


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: redis-py looks up its version in the file system when it connects."""


def test_no_store_without_need():
    """Where nothing is limited, or no store is named, there is none."""
    assert quota_store(Settings(rate_limit_store=URL)) is None
    assert quota_store(Settings(rate_limit="1/second")) is None
    assert with_check({"db": fine}, None) == {"db": fine}


@pytest.mark.parametrize("limits", [{"rate_limit": "1/second"}, {"rate_limit_paths": {"/a": "1/second"}}])
def test_the_layer_gets_the_store(limits):
    """The rate limit of the stack counts in the store, under keys of the service, hashed with the secret."""
    secret = "0123456789abcdef"
    settings = Settings(
        service="shop",
        rate_limit_store=URL,
        rate_limit_leased=True,
        rate_limit_key_secret=secret,
        **QUIET,
        **limits,
    )
    options = next(each.kwargs for each in stack(settings) if each.cls.__name__ == "RateLimitMiddleware")
    assert options["key_secret"] == secret.encode()
    assert options["store"]._prefix == "asgi_resilience:quota:shop"
    assert options["store"]._leases is not None


@pytest.mark.anyio
@pytest.mark.parametrize("checks", [{"db": fine}, [HealthCheck("db", fine)]])
async def test_a_service_without_its_store_is_degraded(checks):
    """Requests are answered as if nothing were, and the health report tells of the store next to the service's own checks."""
    app = wrap(hello, Settings(rate_limit="8/minute", rate_limit_store=URL, health_checks=checks, **QUIET))
    healthy = (await asgi_request(app, path="/health")).json()
    assert healthy["status"] == "healthy"
    assert [(await asgi_request(app)).status for _ in range(3)] == [200, 200, 429]  # a quarter of 8


@pytest.mark.anyio
async def test_the_report_tells_of_the_store():
    """Degraded, not unhealthy, while it does not answer."""
    app = wrap(
        hello, Settings(rate_limit="8/minute", rate_limit_store=URL, health_checks={"db": fine}, **QUIET)
    )
    await asgi_request(app)
    report = await asgi_request(app, path="/health")
    assert (report.status, report.json()["status"]) == (200, "degraded")
    assert report.json()["dependencies"] == {"db": "healthy", "rate_limit_store": "degraded"}
