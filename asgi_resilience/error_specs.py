"""What is known of each error, and the standard table: code, status, user message, retry, alert."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from asgi_resilience.errors import is_error_code

__all__ = ("BESIDES", "STANDARD", "ErrorSpec", "is_error_status", "standard_phrase")

_ERROR_STATUS: Final = range(400, 600)


def is_error_status(status: object) -> bool:
    """Whether a status tells of an error: 400 to 599."""
    return isinstance(status, int) and status in _ERROR_STATUS


def standard_phrase(status: int) -> str:
    """What RFC 9110 calls a status, such as `Not Found`; empty for one that it does not know."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One entry of the catalogue.

    Attributes:
        code: `{DOMAIN}_{ERROR_TYPE}_{DETAIL}`: upper-case words joined by underscores, two at least.
        status: The HTTP status, 400 to 599.
        message: What the client is told. `{retry_after}` in it becomes whole seconds.
        docs_path: Added to the documentation base URL; by default the code in lower case with hyphens.
        retry: Whether the same request may succeed later.
        alert: Whether a human should hear of it.

    Raises:
        ValueError: For a code of another form, a status outside 400 to 599 or an empty message; it names the value.
    """

    code: str
    status: int
    message: str
    docs_path: str | None = None
    retry: bool = False
    alert: bool = False

    def __post_init__(self) -> None:
        if not is_error_code(self.code):
            raise ValueError(
                f"code={self.code!r}: expected {{DOMAIN}}_{{ERROR_TYPE}}_{{DETAIL}}, such as 'AUTH_TOKEN_EXPIRED'"
            )
        if not is_error_status(self.status):
            raise ValueError(f"status={self.status!r} of {self.code}: expected 400 to 599")
        if not self.message:
            raise ValueError(f"message={self.message!r} of {self.code}: expected a sentence for the client")


_INVALID = "Invalid request parameters"
_UNAVAILABLE = "Service temporarily unavailable"
_OOPS = "An error occurred. Please try again"
_OVERLOAD = "Service is overloaded. Try again in {retry_after} seconds"
_WAIT = "Rate limit exceeded. Try again in {retry_after} seconds"

STANDARD: Final = (
    #         code                           status  user message                       retry?        alert?
    ErrorSpec("REQUEST_INVALID_PARAMETERS", 400, _INVALID),
    ErrorSpec("AUTH_CREDENTIALS_MISSING", 401, "Authentication required"),
    ErrorSpec("AUTH_PERMISSION_DENIED", 403, "Access denied"),
    ErrorSpec("RESOURCE_NOT_FOUND", 404, "Resource not found"),
    ErrorSpec("REQUEST_METHOD_UNSUPPORTED", 405, "Method not allowed"),
    ErrorSpec("REQUEST_FORMAT_UNACCEPTABLE", 406, "No acceptable representation"),
    ErrorSpec("REQUEST_BODY_TIMEOUT", 408, "The request took too long to arrive", retry=True),
    ErrorSpec("RESOURCE_STATE_CONFLICT", 409, "The request conflicts with the current state"),
    ErrorSpec("RESOURCE_GONE_PERMANENTLY", 410, "Resource no longer available"),
    ErrorSpec("REQUEST_BODY_TOO_LARGE", 413, "Request body too large"),
    ErrorSpec("REQUEST_URI_TOO_LONG", 414, "Request address too long"),
    ErrorSpec("REQUEST_MEDIA_UNSUPPORTED", 415, "Unsupported media type"),
    ErrorSpec("REQUEST_EXPECTATION_FAILED", 417, "Expectation failed"),
    ErrorSpec("REQUEST_VALUES_INVALID", 422, "Invalid filter values"),
    ErrorSpec("REQUEST_SENT_TOO_EARLY", 425, "Request sent too early", retry=True),
    ErrorSpec("REQUEST_PRECONDITION_REQUIRED", 428, "This request must be conditional"),
    ErrorSpec("RATE_LIMIT_EXCEEDED", 429, _WAIT, retry=True),
    ErrorSpec("REQUEST_HEADERS_TOO_LARGE", 431, "Request headers too large"),
    ErrorSpec("RESOURCE_LEGALLY_UNAVAILABLE", 451, "Resource unavailable for legal reasons"),
    ErrorSpec("INTERNAL_SERVER_ERROR", 500, _OOPS, retry=True, alert=True),
    ErrorSpec("FEATURE_NOT_IMPLEMENTED", 501, "Not implemented", alert=True),
    ErrorSpec("UPSTREAM_BAD_GATEWAY", 502, _UNAVAILABLE, retry=True, alert=True),
    ErrorSpec("SERVICE_UNAVAILABLE", 503, _UNAVAILABLE, retry=True, alert=True),
    ErrorSpec("REQUEST_TIMED_OUT", 504, "Request timed out. Please try again", retry=True, alert=True),
    ErrorSpec("STORAGE_SPACE_INSUFFICIENT", 507, _UNAVAILABLE, alert=True),
)

BESIDES: Final = (ErrorSpec("SERVICE_OVERLOADED", 503, _OVERLOAD, retry=True, alert=True),)
"""Errors that layers answer with, and that are not the default of their status."""
