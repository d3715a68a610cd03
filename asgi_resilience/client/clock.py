"""The clock of everything outbound: that of the running event loop, so that a virtual one rules it in tests."""

from asyncio import get_running_loop
from time import monotonic

__all__ = ("loop_time",)


def loop_time() -> float:
    """Seconds on the running loop's clock; outside of a loop, on the monotonic clock that loops use by default."""
    try:
        return get_running_loop().time()
    except RuntimeError:
        return monotonic()
