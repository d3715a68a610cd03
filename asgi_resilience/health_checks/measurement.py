"""Numbers that a dependency tells of itself, asked for after a check: at most every 15 s, and never at its cost."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from asgi_resilience.context import report_failure
from asgi_resilience.metric_sink import NULL, MetricSink, Tags
from asgi_resilience.telemetry.process_sink import process_sink

__all__ = ("Measurement",)

_INTERVAL: Final = 15.0
_PATIENCE: Final = 0.2  # seconds


class Measurement:
    """Measures when somebody listens and it is time; what goes wrong is reported once and changes no check.

    Args:
        name: Of the dependency; becomes a tag.
        measure: Asks the dependency and feeds the sink.
        clock: Seconds, monotonic.
    """

    __slots__ = ("_clock", "_due", "_measure", "_tags")

    def __init__(
        self,
        name: str,
        measure: Callable[[MetricSink, Tags], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tags: Tags = (f"dependency:{name}",)
        self._measure = measure
        self._clock = clock
        self._due = clock()

    async def take(self) -> None:
        """Measure, unless that was done a moment ago."""
        sink, now = process_sink(), self._clock()
        if sink is NULL or now < self._due:
            return
        self._due = now + _INTERVAL
        try:
            left = anyio.current_effective_deadline() - anyio.current_time()
            with anyio.move_on_after(min(_PATIENCE, left / 2)):  # so that the check is over in time
                await self._measure(sink, self._tags)
        except Exception as error:  # noqa: BLE001 - a dependency that can't be measured may work
            report_failure(self._measure, error)
