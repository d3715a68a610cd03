"""Saying that an answer is not the real one: in the request's record, in a response header, and as an event."""

from typing import TYPE_CHECKING, Any

from asgi_resilience.client.events import FallbackUsed
from asgi_resilience.context import Message, RequestContext, current_request

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call

__all__ = ("mark_degraded",)


def mark_degraded(call: "Call[Any]", fallback: object, error: Exception | None) -> None:
    """Tell everybody who asks that `fallback` answered this call in place of its dependency.

    The response gets an `X-Degraded` header that names the dependencies, unless it has started already.
    """
    name = call.dependency.name
    call.degraded = True
    call.dependency.emit(FallbackUsed(name, type(fallback).__name__, error))
    record = current_request()
    if record is None or name in record.degraded:
        return
    record.degraded += (name,)
    if not record.response_started and _add_header not in record.on_start:
        record.on_start.append(_add_header)


def _add_header(record: RequestContext, message: Message) -> None:
    message["headers"].append((b"x-degraded", ", ".join(record.degraded).encode("ascii")))
