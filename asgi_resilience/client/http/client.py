"""An HTTP client whose requests go through a dependency."""

import ssl
from typing import Any, Final

import httpx2

from asgi_resilience.client.dependency import Dependency
from asgi_resilience.client.http.call import STREAM
from asgi_resilience.client.http.transport import ResilientTransport

__all__ = ("ResilientClient",)

_LIMITS: Final = httpx2.Limits(max_connections=100, max_keepalive_connections=20)
_DEPENDENCY: Final[Any] = object()


class ResilientClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` whose requests go through a dependency.

    Bodies that are not streamed are read within the attempt: one that breaks off in the middle is a failure, and retried.
    `HTTP_PROXY` and its like are not read; pass `proxy`.

    Args:
        dependency: Whose policies rule.
        idempotency_key: As for `ResilientTransport`.
        deadline_header: As for `ResilientTransport`.
        transport: What really sends; default: made from the next arguments, which are those of `httpx2.AsyncClient`.
        verify: As there.
        cert: As there.
        http1: As there.
        http2: As there.
        limits: As there.
        proxy: As there.
        trust_env: As there.
        timeout: httpx2's own timeouts; default: that of the dependency, which also covers the attempt as a whole.
        options: Everything else that `httpx2.AsyncClient` takes.
    """

    def __init__(
        self,
        *,
        dependency: Dependency,
        idempotency_key: bool = False,
        deadline_header: str | None = "X-Request-Timeout-Ms",
        transport: httpx2.AsyncBaseTransport | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Any = None,
        http1: bool = True,
        http2: bool = False,
        limits: httpx2.Limits = _LIMITS,
        proxy: Any = None,
        trust_env: bool = True,
        timeout: Any = _DEPENDENCY,
        **options: Any,
    ) -> None:
        if transport is None:
            transport = httpx2.AsyncHTTPTransport(
                verify=verify,
                cert=cert,
                http1=http1,
                http2=http2,
                limits=limits,
                proxy=proxy,
                trust_env=trust_env,
            )
        self.dependency = dependency
        super().__init__(
            transport=ResilientTransport(
                dependency,
                transport=transport,
                idempotency_key=idempotency_key,
                deadline_header=deadline_header,
            ),
            trust_env=trust_env,
            timeout=dependency.timeout if timeout is _DEPENDENCY else timeout,
            **options,
        )

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request, its redirects and its authentication; see `httpx2.AsyncClient.send`."""
        request.extensions[STREAM] = stream
        return await super().send(request, stream=stream, **options)
