"""The error catalogue: which errors there are, what the client is told of each, and which exception means which.

One declarative table (`_STANDARD`) holds code, status, user message, and whether a client may retry and a human be
alerted. Applications add their own:

    register_error("AUTH_TOKEN_EXPIRED", status=401, message="Your session has expired", docs_path="token-expired")
    map_exception(asyncpg.PostgresConnectionError, "DATABASE_CONNECTION_FAILED")
    raise AppError(code="AUTH_TOKEN_EXPIRED", details="Expired 3 minutes ago")

Codes read `{DOMAIN}_{ERROR_TYPE}_{DETAIL}`. Exceptions are mapped along their MRO, so a subclass needs no entry.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

from starlette.exceptions import HTTPException

__all__ = (
    "AppError",
    "BadGateway",
    "Conflict",
    "ErrorCatalogue",
    "ErrorSpec",
    "Failure",
    "InvalidRequest",
    "NotAuthenticated",
    "NotFound",
    "PermissionDenied",
    "RateLimitExceeded",
    "RequestTimedOut",
    "ServiceUnavailable",
    "ValuesInvalid",
    "catalogue",
    "map_exception",
    "register_error",
)

_CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_ERROR_STATUS: Final = range(400, 600)
_SERVER_ERROR: Final = 500


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
        ValueError: For a code of another form or a status outside 400 to 599; it names the value.
    """

    code: str
    status: int
    message: str
    docs_path: str | None = None
    retry: bool = False
    alert: bool = False

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError(
                f"code={self.code!r}: expected {{DOMAIN}}_{{ERROR_TYPE}}_{{DETAIL}}, such as 'AUTH_TOKEN_EXPIRED'"
            )
        if self.status not in _ERROR_STATUS:
            raise ValueError(f"status={self.status!r} of {self.code}: expected 400 to 599")


_INVALID = "Invalid request parameters"
_UNAVAILABLE = "Service temporarily unavailable"
_OOPS = "An error occurred. Please try again"

_STANDARD: Final = (
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
    ErrorSpec(
        "RATE_LIMIT_EXCEEDED", 429, "Rate limit exceeded. Try again in {retry_after} seconds", retry=True
    ),
    ErrorSpec("REQUEST_HEADERS_TOO_LARGE", 431, "Request headers too large"),
    ErrorSpec("RESOURCE_LEGALLY_UNAVAILABLE", 451, "Resource unavailable for legal reasons"),
    ErrorSpec("INTERNAL_SERVER_ERROR", 500, _OOPS, retry=True, alert=True),
    ErrorSpec("FEATURE_NOT_IMPLEMENTED", 501, "Not implemented", alert=True),
    ErrorSpec("UPSTREAM_BAD_GATEWAY", 502, _UNAVAILABLE, retry=True, alert=True),
    ErrorSpec("SERVICE_UNAVAILABLE", 503, _UNAVAILABLE, retry=True, alert=True),
    ErrorSpec("REQUEST_TIMED_OUT", 504, "Request timed out. Please try again", retry=True, alert=True),
    ErrorSpec("STORAGE_SPACE_INSUFFICIENT", 507, _UNAVAILABLE, alert=True),
)


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
    """

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

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
        super().__init__(message)
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


@dataclass(frozen=True, slots=True)
class Failure:
    """What an exception means to the client: an entry of the catalogue and the facts of this one case.

    Attributes:
        known: The catalogue has an entry for this exception: it was expected, and is not re-raised.
    """

    spec: ErrorSpec
    message: str
    details: Any = None
    headers: Mapping[str, str] | None = None
    retry_after: float | None = None
    context: Mapping[str, Any] | None = None
    known: bool = True


Mapped: TypeAlias = str | Callable[[Any], "AppError | str"]


class ErrorCatalogue:
    """The codes and the exceptions that a service knows; starts with the standard table.

    Most services use the one shared `catalogue` through `register_error` and `map_exception`.
    """

    def __init__(self) -> None:
        self._specs = {spec.code: spec for spec in _STANDARD}
        self._by_status = {spec.status: spec for spec in _STANDARD}
        self._mapped: dict[type[BaseException], Mapped] = {TimeoutError: "REQUEST_TIMED_OUT"}
        self._resolved: dict[type[BaseException], Mapped | None] = {}

    def __iter__(self) -> Iterator[ErrorSpec]:
        return iter(self._specs.values())

    def __getitem__(self, code: str) -> ErrorSpec:
        return self._specs[code]

    def register(
        self,
        code: str,
        *,
        status: int,
        message: str,
        docs_path: str | None = None,
        retry: bool = False,
        alert: bool | None = None,
        default: bool = False,
    ) -> ErrorSpec:
        """Add an error, or replace the entry of that code.

        Args:
            code: See `ErrorSpec`.
            status: See `ErrorSpec`.
            message: See `ErrorSpec`.
            docs_path: See `ErrorSpec`.
            retry: See `ErrorSpec`.
            alert: See `ErrorSpec`; by default true for a status of 500 and above.
            default: Also the entry for errors of that status that name no code, such as `HTTPException(422)`.

        Raises:
            ValueError: As `ErrorSpec`.
        """
        spec = ErrorSpec(
            code, status, message, docs_path, retry, status >= _SERVER_ERROR if alert is None else alert
        )
        self._specs[code] = spec
        if default or self.for_status(status).code == code:
            self._by_status[status] = spec
        return spec

    def map(self, exception: type[BaseException], meaning: Mapped) -> None:
        """Say what an exception class, and every subclass without an entry of its own, means.

        Args:
            exception: The class.
            meaning: A registered code; or a callable that gets the exception and returns an `AppError` or a code.

        Raises:
            ValueError: The code is not registered.
            TypeError: `exception` is not an exception class.
        """
        if BaseException not in getattr(exception, "__mro__", ()):
            raise TypeError(f"map_exception: expected an exception class, got {exception!r}")
        if isinstance(meaning, str) and meaning not in self._specs:
            raise ValueError(
                f"code={meaning!r} of {exception.__qualname__} is not registered: register_error() it first"
            )
        self._mapped[exception] = meaning
        self._resolved.clear()

    def for_status(self, status: int) -> ErrorSpec:
        """The default entry of a status; for one the table does not have, that of its class (400 or 500)."""
        spec = self._by_status.get(status)
        if spec is not None:
            return spec
        base = self._by_status[_SERVER_ERROR if status >= _SERVER_ERROR else 400]
        return ErrorSpec(base.code, status, base.message, base.docs_path, base.retry, base.alert)

    def classify(self, error: BaseException) -> Failure:
        """What the client is told of `error`. Never raises; an unknown exception is INTERNAL_SERVER_ERROR."""
        if isinstance(error, BaseExceptionGroup):
            return self._classify_group(error)
        meaning = self._meaning(type(error))
        if callable(meaning):
            try:
                meaning = meaning(error)
            except Exception:  # noqa: BLE001 - a mapping that fails must not hide the error that it was to explain
                return self._unknown()
        if isinstance(meaning, str):
            return self._failure(self._specs.get(meaning) or self._by_status[_SERVER_ERROR])
        if isinstance(meaning, AppError):
            return self._app_error(meaning)
        if isinstance(error, AppError):
            return self._app_error(error)
        if isinstance(error, HTTPException) and error.status_code in _ERROR_STATUS:
            return self._http_exception(error)
        return self._unknown()

    def _meaning(self, kind: type[BaseException]) -> Mapped | AppError | None:
        try:
            return self._resolved[kind]
        except KeyError:
            meaning = next((self._mapped[base] for base in kind.__mro__ if base in self._mapped), None)
            self._resolved[kind] = meaning
            return meaning

    def _classify_group(self, group: BaseExceptionGroup[BaseException]) -> Failure:
        found = [self.classify(error) for error in group.exceptions]
        # The worst decides: what nobody expected, then the highest status.
        return max(found, key=lambda failure: (not failure.known, failure.spec.status))

    def _unknown(self) -> Failure:
        spec = self._by_status[_SERVER_ERROR]
        return Failure(spec, spec.message, known=False)

    def _app_error(self, error: AppError) -> Failure:
        spec = self._specs.get(error.error_code)
        if spec is None:
            oops = self._by_status[_SERVER_ERROR]
            valid = _CODE.fullmatch(error.error_code)
            spec = ErrorSpec(error.error_code, 500, oops.message, retry=True, alert=True) if valid else oops
        return self._failure(
            spec,
            message=error.message,
            details=error.details,
            headers=error.headers,
            retry_after=error.retry_after,
            context=error.context,
        )

    def _http_exception(self, error: HTTPException) -> Failure:
        spec = self.for_status(error.status_code)
        standard = HTTPException(error.status_code).detail if error.status_code != 499 else ""  # noqa: PLR2004
        details = error.detail if error.detail and error.detail != standard else None
        return self._failure(spec, details=details, headers=error.headers)

    def _failure(
        self,
        spec: ErrorSpec,
        *,
        message: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Failure:
        return Failure(spec, message or spec.message, details, headers, retry_after, context)


catalogue: Final = ErrorCatalogue()
"""The catalogue that every layer uses unless it is given another."""
register_error = catalogue.register
map_exception = catalogue.map
