"""One HTTP request as a call: what it is sent with, whether it may be sent again, and what is closed in between."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

import httpx2

from asgi_resilience.client.call import Call
from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.http.bodies import RequestBody, WatchedBody, is_small, read_response
from asgi_resilience.client.http.errors import ResponseFailed
from asgi_resilience.client.idempotency import (
    IDEMPOTENT_METHODS,
    current_idempotency_key,
    new_idempotency_key,
)
from asgi_resilience.client.propagation import deadline_header, trace_headers
from asgi_resilience.context import current_request

if TYPE_CHECKING:
    from asgi_resilience.client.http.transport import ResilientTransport

__all__ = ("STREAM", "HTTPCall")

STREAM: Final = "asgi_resilience.stream"
"""The request's extension that says whether the caller reads the body of the response."""
_ORIGIN: Final = "asgi_resilience.origin"
_KEY: Final = "asgi_resilience.idempotency_key"
_KEY_HEADER: Final = "Idempotency-Key"
_SELECTING: Final = ("authorization", "cookie", "accept", "accept-encoding", "accept-language", "range")
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_FIRST_ERROR: Final = 400
_SWITCHING: Final = 101


class HTTPCall(Call[httpx2.Response]):
    """One request: what it is sent with, whether it may be sent again, and what must be closed before."""

    def __init__(self, transport: "ResilientTransport", request: httpx2.Request) -> None:
        super().__init__(transport.dependency, self._send, (request,), {})
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        self._transport = transport
        self._body = RequestBody(request.stream)
        self._same_origin = request.extensions.setdefault(_ORIGIN, _origin(request.url)) == _origin(
            request.url
        )
        self._key = self._idempotency_key(request)
        self._response: httpx2.Response | None = None

    @property
    def identity(self) -> Hashable:
        """Two requests are the same call if they get the same answer: also by who asks, and for which form."""
        (request,) = self.args
        return (request.method, str(request.url), *(request.headers.get(name) for name in _SELECTING))

    def may_be_repeated(self, error: Exception) -> bool:
        """RFC 9110 §9.2.2: idempotent methods, what never left, and what carries a key; if the body is still there."""
        (request,) = self.args
        harmless = (
            request.method in IDEMPOTENT_METHODS or self._key is not None or isinstance(error, _NEVER_SENT)
        )
        return harmless and self._body.can_be_sent

    async def before_sleep(self, error: Exception) -> None:
        """Close the response that failed, so that its connection does not wait as well."""
        await super().before_sleep(error)
        if isinstance(error, ResponseFailed):
            await error.response.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        attempt = httpx2.Request(
            request.method,
            request.url,
            headers=self._headers(request),
            stream=self._body,
            extensions=request.extensions,
        )
        response = await self._transport.inner.handle_async_request(attempt)
        failed = response.status_code >= _FIRST_ERROR
        if not self._transport.streams(request) or (failed and is_small(response)):
            response = await read_response(response)
        elif response.status_code != _SWITCHING and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = WatchedBody(response.stream, self.dependency)
        if failed:
            raise ResponseFailed(response)
        return response

    def _headers(self, request: httpx2.Request) -> httpx2.Headers:
        headers = httpx2.Headers(request.headers)
        if not self._same_origin:
            headers.pop(_KEY_HEADER, None)
            return headers
        if self._key is not None:
            headers[_KEY_HEADER] = self._key
        record = current_request()
        name = self._transport.deadline_header
        deadline = None if record is None else record.deadline
        left = deadline_header(loop_time(), self.dependency.timeout, deadline)
        if name is not None and left is not None:
            headers.setdefault(name, left)
        if record is not None and record.request_id is not None:
            headers.setdefault("X-Request-ID", record.request_id)
        if not getattr(httpx2, "_datadog_patch", False):
            for name, value in trace_headers(record):
                headers.setdefault(name, value)
        return headers

    def _idempotency_key(self, request: httpx2.Request) -> str | None:
        key: str | None = request.headers.get(_KEY_HEADER) or request.extensions.get(_KEY)
        if key is None and self._same_origin and request.method not in IDEMPOTENT_METHODS:
            key = current_idempotency_key()
            if key is None and self._transport.idempotency_key:
                key = new_idempotency_key()
            if key is not None:
                request.extensions[_KEY] = key  # a redirect takes it along
        return key


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
