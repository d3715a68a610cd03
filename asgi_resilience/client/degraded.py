"""Saying that an answer is not the real one: in the request's record, in a response header, and as an event."""

from typing import TYPE_CHECKING, Any

from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.events import FallbackUsed
from asgi_resilience.context import Message, RequestContext, current_request

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call

__all__ = ("FallbackUse", "mark_degraded")


class FallbackUse:
    """When a fallback last answered for a dependency, or for a variant of it."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = float("-inf")

    def note(self) -> None:
        """It answers now."""
        self._at = loop_time()

    def age(self) -> float:
        """Seconds since then; infinity: it never did."""
        return loop_time() - self._at


def mark_degraded(call: "Call[Any]", fallback: object, error: Exception | None) -> None:
    """Tell everybody who asks that `fallback` answered this call in place of its dependency.

    The response gets an `X-Degraded` header that names the dependencies, unless it has started already.
    """
    name = call.dependency.name
    call.degraded = True
    call.dependency.fallback_use.note()
    call.dependency.emit(FallbackUsed(name, type(fallback).__name__, error))
    record = current_request()
    if record is None or name in record.degraded:
        return
    record.degraded += (name,)
    if not record.response_started and _add_header not in record.on_start:
        record.on_start.append(_add_header)


def _add_header(record: RequestContext, message: Message) -> None:
    message["headers"].append((b"x-degraded", ", ".join(record.degraded).encode("ascii")))
