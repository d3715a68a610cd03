"""What the line of a request says besides its numbers: who asked, what went wrong, and what the application has bound."""

from typing import Any, Final

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.exception import describe, error_context
from asgi_resilience.logs.redaction import Redactor

__all__ = ("UserAgents", "error_fields")

_LONGEST_AGENT: Final = 512
_MOST_AGENTS: Final = 1024


class UserAgents:
    """User agents as text without secrets; those of most requests are a few, so they are remembered."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[bytes, str] = {}

    def __call__(self, value: bytes) -> str:
        """The text of a header value."""
        known = self._known.get(value)
        if known is None:
            known = self._redactor.text(value[:_LONGEST_AGENT].decode("latin-1"))
            if len(value) <= _LONGEST_AGENT:
                if len(self._known) >= _MOST_AGENTS:
                    self._known.clear()
                self._known[value] = known
        return known


def error_fields(record: RequestContext, redactor: Redactor, *, stack: bool) -> dict[str, Any]:
    """`error` and `context`, of the requests that have one."""
    fields: dict[str, Any] = {}
    error, code, message = record.exception, record.error_code, record.error_message
    if error is not None:
        fields["error"] = describe(error, redactor, code=code, message=message, stack=stack)
    elif code is not None or message is not None:
        found = {"code": code, "message": message and redactor.text(message)}
        fields["error"] = {name: value for name, value in found.items() if value is not None}
    context = {**error_context(error), **(record.fields or {})}
    if record.degraded:
        context["degraded"] = record.degraded
    if record.close_code is not None:
        context["close_code"] = record.close_code
    if context:
        fields["context"] = redactor.value("", context)
    return fields
