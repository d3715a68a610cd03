"""What a test has measured, apart from what was measured before."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from asgi_resilience.telemetry.last_minutes import Snapshot
from asgi_resilience.telemetry.pipeline import pipeline
from asgi_resilience.telemetry.windows import Windows

__all__ = ("captured_metrics",)

_LONGEST_TEST = 86_400.0  # seconds


@contextmanager
def captured_metrics() -> Generator[Callable[[], Snapshot]]:
    """Gives a function that returns the metrics since the beginning of the block, up to its call.

    Those of the process's pipeline, which `wrap` and `stack` feed unless they were given a sink.
    """
    current = pipeline()
    current.flush()
    mine = Windows(slot=_LONGEST_TEST, slots=2)
    current.exporters.append(mine)

    def so_far() -> Snapshot:
        current.flush()
        return mine.snapshot(2 * _LONGEST_TEST)

    try:
        yield so_far
    finally:
        current.exporters.remove(mine)
