"""What the line of a `logging` record says: its message, its exception, its `extra`, and whose request it was."""

import logging
from typing import Any, Final

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.exception import describe, error_context
from asgi_resilience.logs.redaction import Redactor

__all__ = ("record_fields",)

_LONGEST_ID: Final = 256
_NOT_EXTRA: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName"),
    *("color_message", "websocket"),  # uvicorn's: the message in colours, and an object without meaning
}
_PROMOTED: Final = frozenset({"request_id", "user_id", "duration_ms", "error_code"})
"""Names in `extra` that stand at the top of the line and not in its context."""


def record_fields(
    record: logging.LogRecord, request: RequestContext | None, redactor: Redactor
) -> dict[str, Any]:
    """The fields of a record that was made while `request` was served."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    top: dict[str, Any] = {}
    trace: dict[str, Any] = {}
    context: dict[str, Any] = {**error_context(error)}
    if request is not None:
        top = {"request_id": request.request_id, "user_id": request.user_id}
        context.update(request.fields or {})
    for name, value in record.__dict__.items():
        if name not in _NOT_EXTRA:
            if name.startswith("dd."):
                if value != "":  # ddtrace's way to say that it was not told
                    trace[name] = value
            else:
                (top if name in _PROMOTED else context)[name] = value
    if trace.get("dd.trace_id") == "0":  # ddtrace's way to say that there is no span
        del trace["dd.trace_id"], trace["dd.span_id"]
    if request is not None:
        trace.update(request.log_fields or {})
    if record.stack_info:
        context["stack_info"] = record.stack_info
    fields = {
        "request_id": _short(top.get("request_id"), redactor),
        "user_id": _short(top.get("user_id"), redactor),
        "message": _message(record, redactor),
        "error": _error(record, error, top.get("error_code"), redactor) or None,
        "context": redactor.value("", context) if context else None,
        "duration_ms": redactor.value("", top.get("duration_ms")),
        "logger": _logger(record),
        **trace,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _short(value: object, redactor: Redactor) -> str | None:
    return None if value is None else redactor.text(str(value)[:_LONGEST_ID])


def _message(record: logging.LogRecord, redactor: Redactor) -> str:
    try:
        message = record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit the message, or whose `str` fails
        message = f"{record.msg!r} [arguments left out: {type(error).__name__}]"
    return redactor.text(message.rstrip("\n"))


def _error(
    record: logging.LogRecord, error: BaseException | None, code: object, redactor: Redactor
) -> dict[str, str]:
    code = None if code is None else str(code)[:_LONGEST_ID]
    if error is not None:
        return describe(error, redactor, code=code)
    described = {} if code is None else {"code": code}
    if record.exc_text:  # of a record that came from another process or through a queue
        described["stack_trace"] = redactor.text(record.exc_text)
    return described


def _logger(record: logging.LogRecord) -> dict[str, str]:
    if record.threadName and record.threadName != "MainThread":
        return {"name": record.name, "thread_name": record.threadName}
    return {"name": record.name}
