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
    fields: dict[str, Any] = {"message": _message(record, redactor)}
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    top: dict[str, Any] = {}
    context: dict[str, Any] = {**error_context(error)}
    if request is not None:
        top = {"request_id": request.request_id, "user_id": request.user_id}
        context.update(request.fields or {})
    for name, value in record.__dict__.items():
        if name not in _NOT_EXTRA:
            (top if name in _PROMOTED else fields if name.startswith("dd.") else context)[name] = value
    if fields.get("dd.trace_id") == "0":  # ddtrace's way to say that there is no span
        del fields["dd.trace_id"], fields["dd.span_id"]
    if record.stack_info:
        context["stack_info"] = record.stack_info
    if request is not None:
        fields.update(request.log_fields or {})
    described = _error(record, error, top.pop("error_code", None), redactor)
    if described:
        fields["error"] = described
    for name, value in top.items():
        if value is not None:
            fields[name] = redactor.value("", value if name == "duration_ms" else str(value)[:_LONGEST_ID])
    if context:
        fields["context"] = redactor.value("", context)
    fields["logger"] = _logger(record)
    return fields


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
