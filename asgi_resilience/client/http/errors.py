"""What a request can end in: a response that is an error, or an exception that HTTP clients are used to catch."""

from typing import Any, Final

import httpx2

from asgi_resilience.client.breaker import CircuitOpen
from asgi_resilience.client.deadline import AttemptTimedOut, DeadlineExceeded
from asgi_resilience.client.gate import RateLimited

__all__ = ("POLICY_ERRORS", "ResponseFailed", "as_transport_error")


class ResponseFailed(Exception):
    """A response whose status is an error, on its way through the policies. The caller gets the response itself."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"HTTP status {self.response.status_code}"


class HTTPCircuitOpen(CircuitOpen, httpx2.TransportError):
    """`CircuitOpen`, for those who catch what their HTTP client raises."""


class HTTPRateLimited(RateLimited, httpx2.TransportError):
    """`RateLimited`, likewise."""


class HTTPAttemptTimedOut(AttemptTimedOut, httpx2.TimeoutException):
    """`AttemptTimedOut`, likewise."""


class HTTPDeadlineExceeded(DeadlineExceeded, httpx2.TimeoutException):
    """`DeadlineExceeded`, likewise."""


_AS_TRANSPORT_ERROR: Final[dict[type[Exception], Any]] = {
    CircuitOpen: HTTPCircuitOpen,
    RateLimited: HTTPRateLimited,
    AttemptTimedOut: HTTPAttemptTimedOut,
    DeadlineExceeded: HTTPDeadlineExceeded,
}

POLICY_ERRORS: Final = tuple(_AS_TRANSPORT_ERROR)
"""What the policies of a dependency raise."""


def as_transport_error(error: Any, request: httpx2.Request) -> httpx2.TransportError:
    """The same error, as a subclass that is also an `httpx2.TransportError`."""
    translated: httpx2.TransportError = _AS_TRANSPORT_ERROR[type(error)](*error.args)
    translated.request = request
    translated.__cause__ = error.__cause__ if isinstance(error, CircuitOpen) else error
    return translated
