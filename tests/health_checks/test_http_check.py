"""The readiness of another service, over a real connection."""

import asyncio
import contextlib
import json
import logging

import pytest

from asgi_resilience.health_checks import http_check

pytestmark = pytest.mark.anyio


class Service:
    """An HTTP service that answers as told."""

    status, kind, body = 200, "text/plain", b"ok"

    async def answer(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {self.status} X\r\ncontent-type: {self.kind}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + self.body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def service():
    """A service of our own."""
    service = Service()
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    service.url = f"http://127.0.0.1:{service.port}/health/ready"
    service.server = server
    yield service
    service.server.close()


@pytest.fixture(params=["httpx2", "httpx"])
async def client(request):
    """Both libraries' clients."""
    library = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    async with library.AsyncClient(trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "kind", "body", "health"),
    [
        (200, "text/plain", b"degraded", "healthy"),
        (204, "text/plain", b"", "healthy"),
        (302, "text/plain", b"", "unhealthy"),
        (404, "text/plain", b"", "unhealthy"),
        (503, "application/json", b'{"status": "healthy"}', "unhealthy"),
        (200, "application/json", b'{"status": "healthy"}', "healthy"),
        (200, "application/json", b'{"status": "degraded"}', "degraded"),
        (200, "application/json", b'{"status": "unhealthy"}', "unhealthy"),
        (200, "application/health+json", b'{"status": "pass"}', "healthy"),
        (200, "application/health+json", b'{"status": "warn"}', "degraded"),
        (200, "application/health+json", b'{"status": "fail"}', "unhealthy"),
        (200, "application/json", b'{"status": ["degraded"]}', "healthy"),
        (200, "application/json", b'["degraded"]', "healthy"),
        (200, "application/json", b"{", "healthy"),
        (200, "application/json", b"\xff", "healthy"),
        (200, "application/json", json.dumps({"x": "y" * 500_000, "status": "degraded"}).encode(), "healthy"),
    ],
)
async def test_what_the_answer_means(service, client, report, status, kind, body, health):
    """Success is healthy, unless a JSON report of reasonable size says that not all is well; all else is unhealthy."""
    service.status, service.kind, service.body = status, kind, body
    check = http_check(client, service.url, name="models")
    assert (await report(check))[1] == {"models": health}


async def test_stopped_and_started_again(service, client, report, caplog):
    """Unhealthy while nobody listens, healthy again afterwards; the log has no password that stands in the address."""
    check = http_check(
        client, service.url.replace("//", "//app:hunter2secret@"), name="models", critical=False
    )
    assert await report(check) == ("healthy", {"models": "healthy"})
    service.server.close()
    with caplog.at_level(logging.WARNING, "asgi_resilience.health"):
        assert await report(check) == ("degraded", {"models": "unhealthy"})
    service.server = await asyncio.start_server(service.answer, "127.0.0.1", service.port)
    assert await report(check) == ("healthy", {"models": "healthy"})
    assert "ConnectError" in caplog.text
    assert "hunter2secret" not in caplog.text


def test_what_is_no_async_client():
    """A client that blocks is an error when the check is made."""
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")
    with (
        httpx2.Client() as client,
        pytest.raises(TypeError, match="expected an AsyncClient of httpx2 or httpx"),
    ):
        http_check(client, "http://127.0.0.1", name="models")
