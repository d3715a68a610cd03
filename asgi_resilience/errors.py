"""The errors that an application raises: `AppError`, and one subclass for each thing that goes wrong every day.

    raise NotFound(details="There is no item 9")
    raise AppError(code="AUTH_TOKEN_EXPIRED", headers={"WWW-Authenticate": "Bearer"})

What a code means to the client stands in the catalogue, `asgi_resilience/error_catalogue.py`.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

__all__ = (
    "AppError",
    "BadGateway",
    "Conflict",
    "InvalidRequest",
    "NotAuthenticated",
    "NotFound",
    "PermissionDenied",
    "RateLimitExceeded",
    "RequestTimedOut",
    "ServiceUnavailable",
    "ValuesInvalid",
    "is_error_code",
)

_CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_LONGEST_CODE: Final = 123  # bytes: a code must fit into the reason of a websocket's close (RFC 6455 §5.5)


def is_error_code(code: object) -> bool:
    """Whether `code` reads `{DOMAIN}_{ERROR_TYPE}_{DETAIL}`: two upper-case words or more, 123 characters at most."""
    return isinstance(code, str) and len(code) <= _LONGEST_CODE and _CODE.fullmatch(code) is not None


class AppError(Exception):
    """An error with a code of the catalogue; raise it, or a subclass, anywhere below the error envelope.

    A subclass sets `code` (and registers it): `class TokenExpired(AppError): code = "AUTH_TOKEN_EXPIRED"`.

    Args:
        message: For the client, in place of the catalogue's message.
        code: In place of the class's code.
        details: For the client: more about this one case. None: null in the envelope.
        context: For the log only: facts that help to find the cause.
        headers: Response headers, such as `{"WWW-Authenticate": "Bearer"}`.
        retry_after: Seconds after which a retry makes sense; sent as `Retry-After`, rounded up, at least 1.

    Raises:
        ValueError: When a subclass is defined with a `code` of another form.
    """

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not is_error_code(cls.code):
            raise ValueError(
                f"code={cls.code!r} of {cls.__qualname__}:"
                " expected {DOMAIN}_{ERROR_TYPE}_{DETAIL}, such as 'AUTH_TOKEN_EXPIRED'"
            )

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        details: Any = None,
        context: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(*(() if message is None else (message,)))
        self.error_code = code or self.code
        self.message = message
        self.details = details
        self.context = context
        self.headers = headers
        self.retry_after = retry_after

    def __str__(self) -> str:
        return ": ".join(
            str(part) for part in (self.error_code, self.message, self.details) if part is not None
        )


class InvalidRequest(AppError):
    """400: the request can't be understood."""

    code = "REQUEST_INVALID_PARAMETERS"


class NotAuthenticated(AppError):
    """401: who asks is not known. Pass `headers={"WWW-Authenticate": …}` (RFC 9110 §15.5.2)."""

    code = "AUTH_CREDENTIALS_MISSING"


class PermissionDenied(AppError):
    """403: who asks is known and may not."""

    code = "AUTH_PERMISSION_DENIED"


class NotFound(AppError):
    """404: there is no such thing."""

    code = "RESOURCE_NOT_FOUND"


class Conflict(AppError):
    """409: the request contradicts the current state."""

    code = "RESOURCE_STATE_CONFLICT"


class ValuesInvalid(AppError):
    """422: the request is understood, its values make no sense."""

    code = "REQUEST_VALUES_INVALID"


class RateLimitExceeded(AppError):
    """429: too many requests. Pass `retry_after` in seconds."""

    code = "RATE_LIMIT_EXCEEDED"


class BadGateway(AppError):
    """502: a service that this one depends on answered wrongly."""

    code = "UPSTREAM_BAD_GATEWAY"


class ServiceUnavailable(AppError):
    """503: not now. Pass `retry_after` in seconds where it is known."""

    code = "SERVICE_UNAVAILABLE"


class RequestTimedOut(AppError):
    """504: the answer was not ready in time."""

    code = "REQUEST_TIMED_OUT"
