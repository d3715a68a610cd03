"""The `error` of a log line: what an exception was, with its causes and its groups, and without secrets."""

import traceback
from collections.abc import Mapping
from typing import Any, Final

from asgi_resilience.errors import AppError
from asgi_resilience.logs.redaction import Redactor

__all__ = ("describe", "error_context")

_HEAD, _TAIL = (
    8_000,
    20_000,
)  # characters: the outermost frames say how one got there, the innermost what went wrong
_LINES_LEFT_OUT: Final = "  … {} characters left out …\n"


def describe(
    error: BaseException,
    redactor: Redactor,
    *,
    code: str | None = None,
    message: str | None = None,
    stack: bool = True,
) -> dict[str, str]:
    """The fields `code`, `kind`, `message` and `stack_trace`; never raises.

    Args:
        error: The exception.
        redactor: Takes the secrets out.
        code: Of the error catalogue; by default that of an `AppError`, else none.
        message: In the place of `str(error)`.
        stack: Whether to add the stack trace.
    """
    kind = type(error)
    if code is None and isinstance(error, AppError):
        code = error.error_code
    described = {} if code is None else {"code": code}
    described["kind"] = (
        kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    )
    described["message"] = redactor.text(_text(error) if message is None else message)
    if stack:
        described["stack_trace"] = redactor.text(_stack_trace(error))
    return described


def error_context(error: BaseException | None) -> Mapping[str, Any]:
    """The facts that an `AppError` carries for the log."""
    return (error.context or {}) if isinstance(error, AppError) else {}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception class of the application may have any bug
        return f"[{type(error).__name__} can't say what it is]"


def _stack_trace(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception as failure:  # noqa: BLE001 - as above
        return f"[no stack trace: {type(failure).__name__}]"
    if len(text) <= _HEAD + _TAIL:
        return text
    # Cut at ends of lines, so that no secret is cut in two and then not recognised.
    head = text[: text.rfind("\n", 0, _HEAD) + 1]
    tail_at = text.find("\n", len(text) - _TAIL) + 1 or len(text)
    return f"{head}{_LINES_LEFT_OUT.format(tail_at - len(head))}{text[tail_at:]}"
