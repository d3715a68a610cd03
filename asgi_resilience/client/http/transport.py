"""HTTP through a dependency: a transport that every `httpx2.AsyncClient` takes.

It sends one request, as often as the policies of its dependency say. It stands below the client's redirects,
authentication and cookies, so each hop of a redirect is retried on its own, and a login is never repeated.
"""

import httpx2

from asgi_resilience.client.dependency import Dependency
from asgi_resilience.client.http.bodies import copy_response
from asgi_resilience.client.http.call import STREAM, HTTPCall
from asgi_resilience.client.http.errors import POLICY_ERRORS, ResponseFailed, as_transport_error
from asgi_resilience.client.nested_retries import warn_of_nested_retries

__all__ = ("ResilientTransport",)


class ResilientTransport(httpx2.AsyncBaseTransport):
    """Sends requests through a dependency. Give it to any `httpx2.AsyncClient` as its `transport`.

    A response whose status is an error is returned like any other, after the retries that its status allows. What could
    not be sent, or was not answered, raises an `httpx2.TransportError`: `CircuitOpen`, `RateLimited`, `AttemptTimedOut`
    and `DeadlineExceeded` are each raised as a subclass that is also one.

    To the origin that the request was first made to, it adds `X-Request-ID`, `traceparent`, `tracestate` and
    `x-datadog-*` of the current request (the latter three unless ddtrace instruments httpx2), and the time that is left.
    A header that the request has already is left alone.

    Args:
        dependency: Whose policies rule. Its timeout ends at the response's headers where the body is streamed.
        transport: What really sends; default: a new `httpx2.AsyncHTTPTransport`.
        idempotency_key: Give every request whose method is not idempotent an `Idempotency-Key`, the same on all its
            attempts, which makes it safe to repeat. Only for receivers that know this header. Default False.
        deadline_header: Name of the header that carries the milliseconds left; None: none is sent.
    """

    def __init__(
        self,
        dependency: Dependency,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        idempotency_key: bool = False,
        deadline_header: str | None = "X-Request-Timeout-Ms",
    ) -> None:
        self.dependency = dependency
        self.inner = httpx2.AsyncHTTPTransport() if transport is None else transport
        self.idempotency_key = idempotency_key
        self.deadline_header = deadline_header
        warn_of_nested_retries(dependency.name, self.inner)

    def streams(self, request: httpx2.Request) -> bool:
        """Whether the body of the response is left for the caller to read."""
        streams: bool = request.extensions.get(STREAM, not self.dependency.fallbacks)
        return streams

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            httpx2.TransportError: It was not answered.
        """
        call = HTTPCall(self, request)
        try:
            response = await self.dependency.make(call)
        except ResponseFailed as failed:
            return failed.response
        except POLICY_ERRORS as error:
            translated = as_transport_error(error, request)
            raise translated from translated.__cause__
        if isinstance(response.stream, httpx2.ByteStream):
            return copy_response(
                response
            )  # a fallback may keep the response, and the client changes the one that it gets
        return response

    async def aclose(self) -> None:
        """Close the transport that really sends. The dependency stays as it is: others may use it."""
        await self.inner.aclose()
