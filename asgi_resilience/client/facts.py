"""What an exception says about the failed call, whichever library raised it.

No driver is imported: an HTTP status, an SQLSTATE, an error code and a `Retry-After` are read from the attributes that
httpx2, aiohttp, asyncpg, psycopg, SQLAlchemy, botocore, gRPC and the model SDKs put them into.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asgi_resilience.retry_after import parse_retry_after

__all__ = ("Facts", "causes", "facts_of")

_CHAIN: Final = 8
"""How many causes deep a fact is looked for; chains are short, and a ring of them must end somewhere."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What could be read; None where there was nothing.

    Attributes:
        status: The HTTP status.
        code: The service's own name for the error: `SlowDown`, `insufficient_quota`, `UNAVAILABLE`.
        sqlstate: Five characters, as `40P01`.
        retry_after: Seconds that the other side asks to be left alone.
    """

    status: int | None = None
    code: str | None = None
    sqlstate: str | None = None
    retry_after: float | None = None


def facts_of(error: BaseException) -> Facts:
    """Read the facts of an exception and of what caused it; the outermost that tells a fact decides."""
    status = code = sqlstate = retry_after = None
    for each in causes(error):
        response = getattr(each, "response", None)
        status = _status(each, response) if status is None else status
        code = _code(each, response) if code is None else code
        sqlstate = _sqlstate(each) if sqlstate is None else sqlstate
        retry_after = _retry_after(each, response) if retry_after is None else retry_after
    return Facts(status, code, sqlstate, retry_after)


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, then what it was raised from: SQLAlchemy's `orig`, or `__cause__`.

    Never `__context__`: that of a call made while another error was being handled is the other error.
    """
    each: BaseException | None = error
    for _ in range(_CHAIN):
        if each is None:
            return
        yield each
        origin = getattr(each, "orig", None)
        each = origin if isinstance(origin, BaseException) else each.__cause__


def _status(error: BaseException, response: Any) -> int | None:
    if (parsed := _mapping(response)) is not None:  # botocore
        found = parsed.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) else None
    for holder, name in (
        (response, "status_code"),
        (response, "status"),
        (error, "status_code"),
        (error, "status"),
    ):
        found = getattr(holder, name, None)
        if isinstance(found, int):
            return found
    return None


def _code(error: BaseException, response: Any) -> str | None:
    if (parsed := _mapping(response)) is not None:
        found = parsed.get("Error", {}).get("Code")
        return found if isinstance(found, str) else None
    found = getattr(error, "code", None)
    if callable(found) and type(error).__module__.partition(".")[0] == "grpc":
        found = getattr(found(), "name", None)
    return found if isinstance(found, str) else None


def _sqlstate(error: BaseException) -> str | None:
    for name in ("sqlstate", "pgcode"):
        found = getattr(error, name, None)
        if isinstance(found, str):
            return found
    return None


def _retry_after(error: BaseException, response: Any) -> float | None:
    found = getattr(error, "retry_after", None)
    if isinstance(found, int | float) and found >= 0:
        return float(found)
    parsed = _mapping(response)
    if parsed is not None:
        headers = _mapping(parsed.get("ResponseMetadata", {}).get("HTTPHeaders"))
    else:
        headers = _mapping(getattr(response, "headers", None) or getattr(error, "headers", None))
    if headers is None:
        return None
    return parse_retry_after(_header(headers, "retry-after"), date=_header(headers, "date"))


def _mapping(value: object) -> Mapping[Any, Any] | None:
    return value if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownVariableType] - of whatever


def _header(headers: Mapping[Any, Any], name: str) -> str | None:
    found = headers.get(name, headers.get(name.title()))
    return found if isinstance(found, str) else None
