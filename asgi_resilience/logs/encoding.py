"""From fields to the bytes of a line: the timestamp that people and Datadog read, and JSON that never fails."""

import time
from collections.abc import Callable
from typing import Any, Final, cast

import orjson

from asgi_resilience.logs.redaction import unserialisable

__all__ = ("THOUSANDTHS", "encode", "timestamps")

_LONGEST_LINE: Final = 512 * 1024  # Datadog takes 1 MB
THOUSANDTHS: Final = tuple(f".{number:03d}" for number in range(1000))
"""Milliseconds of a second, or microseconds of a millisecond, as decimals: to spell a float takes ten times as long."""
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1  # of the integers that orjson writes


def timestamps() -> Callable[[float], str]:
    """A function from seconds since 1970 to RFC 3339 in UTC, with milliseconds; a second is spelled once."""
    first, text = -1000, ""  # the milliseconds and the name of the second that came last

    def timestamp(seconds: float) -> str:
        nonlocal first, text
        milliseconds = int(seconds * 1000)
        if not first <= milliseconds < first + 1000:
            second = milliseconds // 1000
            first, text = second * 1000, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{text}{THOUSANDTHS[milliseconds - first]}Z"

    return timestamp


def encode(fields: dict[str, Any]) -> bytes:
    """The line of these fields, with its newline. Whatever they hold, it is JSON."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        line = orjson.dumps(fields := _plain(fields), option=orjson.OPT_APPEND_NEWLINE)
    if len(line) > _LONGEST_LINE and "context" in fields:
        fields = {**fields, "context": f"[left out: the line had {len(line)} bytes]"}
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    return line


def _plain(value: Any) -> Any:
    """What JSON can take: half a surrogate pair, for one, becomes its escape sequence."""
    kind = cast("Any", type(value))
    if issubclass(kind, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if issubclass(kind, list | tuple):
        return [_plain(item) for item in value]
    if issubclass(kind, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or issubclass(kind, float) or (issubclass(kind, int) and _LEAST <= value <= _MOST):
        return value
    return unserialisable(value)
