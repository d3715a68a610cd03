"""The error catalogue: which errors a service knows, and which exception means which.

It starts with the standard table (`asgi_resilience/error_specs.py`). Applications add their own:

    register_error("AUTH_TOKEN_EXPIRED", status=401, message="Your session has expired", docs_path="token-expired")
    map_exception(asyncpg.PostgresConnectionError, "DATABASE_CONNECTION_FAILED")
    raise AppError(code="AUTH_TOKEN_EXPIRED", details="Expired 3 minutes ago")

Exceptions are looked up along their MRO, so a subclass needs no entry.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast

from starlette.exceptions import HTTPException

from asgi_resilience.context import report_failure
from asgi_resilience.error_specs import BESIDES, STANDARD, ErrorSpec, is_error_status, standard_phrase
from asgi_resilience.errors import AppError, is_error_code

__all__ = (
    "ErrorCatalogue",
    "Failure",
    "catalogue",
    "map_exception",
    "register_error",
)

_CLIENT_ERROR, _SERVER_ERROR = 400, 500


@dataclass(frozen=True, slots=True)
class Failure:
    """What an exception means to the client: an entry of the catalogue and the facts of this one case.

    Attributes:
        spec: The entry.
        message: For the client.
        details: For the client: more about this one case.
        headers: Of the response.
        retry_after: Seconds.
        context: For the log alone.
        known: The catalogue has an entry for this exception: it was expected, and is not re-raised.
    """

    spec: ErrorSpec
    message: str
    details: Any = None
    headers: Mapping[str, str] | None = None
    retry_after: float | None = None
    context: Mapping[str, Any] | None = None
    known: bool = True


Meaning: TypeAlias = str | Callable[[Any], AppError | str]
_AnyMeaning: TypeAlias = Meaning | Callable[[Any], Failure]


class ErrorCatalogue:
    """The codes and the exceptions that a service knows; starts with the standard table.

    Most services use the one shared `catalogue` through `register_error` and `map_exception`.
    """

    def __init__(self) -> None:
        self._specs = {spec.code: spec for spec in (*STANDARD, *BESIDES)}
        self._by_status = {spec.status: spec for spec in STANDARD}
        self._meanings: dict[type[BaseException], _AnyMeaning] = {
            TimeoutError: "REQUEST_TIMED_OUT",
            AppError: self._app_error,
            HTTPException: self._http_exception,
            BaseExceptionGroup: self._group,
        }
        self._resolved: dict[type[BaseException], _AnyMeaning | None] = {}

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
        spec = ErrorSpec(code, status, message, docs_path, retry, alert or False)
        if alert is None:
            spec = replace(spec, alert=status >= _SERVER_ERROR)
        self._specs[code] = spec
        if default or self.for_status(status).code == code:
            self._by_status[status] = spec
        return spec

    def map(self, exception: type[BaseException], meaning: Meaning) -> None:
        """Say what an exception class, and every subclass without an entry of its own, means.

        Args:
            exception: The class.
            meaning: A registered code; or a callable that gets the exception and returns an `AppError` or a registered
                code. When it fails, that is reported, and the exception counts as unknown.

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
        self._meanings[exception] = meaning
        self._resolved.clear()

    def for_status(self, status: int) -> ErrorSpec:
        """The default entry of a status; for one that the table does not have, that of its class (400 or 500)."""
        spec = self._by_status.get(status)
        if spec is not None:
            return spec
        base = self._by_status[_SERVER_ERROR if status >= _SERVER_ERROR else _CLIENT_ERROR]
        return ErrorSpec(base.code, status, base.message, base.docs_path, base.retry, base.alert)

    def classify(self, error: BaseException) -> Failure:
        """What the client is told of `error`. Never raises; an unknown exception is INTERNAL_SERVER_ERROR."""
        meaning = self._meaning(type(error))
        if meaning is None:
            return self._unknown()
        try:
            found = meaning(error) if callable(meaning) else meaning
            if isinstance(found, Failure):
                return found
            return self._app_error(found) if isinstance(found, AppError) else _failure(self._specs[found])
        except Exception as mistake:  # noqa: BLE001 - a mapping that fails must not hide the error that it was to explain
            report_failure(meaning, mistake)
            return self._unknown()

    def _meaning(self, kind: type[BaseException]) -> _AnyMeaning | None:
        try:
            return self._resolved[kind]
        except KeyError:
            meanings = self._meanings
            meaning = next((meanings[base] for base in kind.__mro__ if base in meanings), None)
            if meaning is None and (kind.__module__, kind.__name__) == ("trio", "TooSlowError"):
                meaning = "REQUEST_TIMED_OUT"  # trio's word for TimeoutError, known without importing trio
            self._resolved[kind] = meaning
            return meaning

    def _unknown(self) -> Failure:
        spec = self._by_status[_SERVER_ERROR]
        return Failure(spec, spec.message, known=False)

    def _app_error(self, error: AppError) -> Failure:
        spec = self._specs.get(error.error_code)
        if spec is None:  # the answer must go out: a code that nobody registered is the server's fault
            spec = self._by_status[_SERVER_ERROR]
            if is_error_code(error.error_code):
                spec = ErrorSpec(error.error_code, _SERVER_ERROR, spec.message, retry=True, alert=True)
        message = error.message if isinstance(cast("object", error.message), str) else None
        return Failure(
            spec,
            message or spec.message,
            details=error.details,
            headers=error.headers,
            retry_after=error.retry_after,
            context=error.context,
        )

    def _http_exception(self, error: HTTPException) -> Failure:
        if not is_error_status(error.status_code):
            return self._unknown()
        # FastAPI's subclass takes anything for `detail`.
        details: Any = error.detail
        if isinstance(details, str) and details in ("", standard_phrase(error.status_code)):
            details = None
        return _failure(self.for_status(error.status_code), details=details, headers=error.headers)

    def _group(self, group: BaseExceptionGroup[BaseException]) -> Failure:
        """What its leaves agree on, else the worst of them: what nobody expected, then the highest status."""
        found = [self.classify(error) for error in group.exceptions]
        return max(found, key=lambda failure: (not failure.known, failure.spec.status))


def _failure(spec: ErrorSpec, *, details: Any = None, headers: Mapping[str, str] | None = None) -> Failure:
    return Failure(spec, spec.message, details, headers)


catalogue: Final = ErrorCatalogue()
"""The catalogue that every layer uses unless it is given another."""
register_error = catalogue.register
map_exception = catalogue.map
