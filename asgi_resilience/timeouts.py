"""How long a request may take, by stage: the policy of the timeout layer."""

from dataclasses import dataclass, fields
from math import isfinite

__all__ = ("Timeouts",)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a request may take, by stage; seconds, None: for ever.

    Attributes:
        response: Until the response starts.
        stream_idle: Between two body messages, while the app is silent; not while a slow client makes `send` wait.
        event_stream_idle: The same for `text/event-stream`, which may be silent for good reason.
        stream: From the start of the response to its last body message.

    Raises:
        ValueError: A value is not a finite number above 0; it names the field.
    """

    response: float | None = 30.0
    stream_idle: float | None = 30.0
    event_stream_idle: float | None = None
    stream: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (isfinite(value) and value > 0):
                raise ValueError(f"{each.name}={value!r}: expected seconds above 0, or None for no limit")
