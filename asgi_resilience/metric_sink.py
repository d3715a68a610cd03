"""Where numbers go: three methods, in DogStatsD's terms, and a sink that drops them.

The metrics layer and the client feed whatever is shaped like `MetricSink`; `datadog.statsd` is, too.
"""

from collections.abc import Callable
from typing import Final, Protocol

__all__ = ("NULL", "OVERFLOW", "MeteringSink", "MetricSink", "NullSink", "Series", "Tags")

Tags = tuple[str, ...]
"""`"key:value"` strings. The callers here pass equal tags as one and the same tuple, so that a sink can key on it."""

Series = tuple[str, Tags]
"""A metric's name and its tags."""

OVERFLOW: Final[Tags] = ("overflow:true",)
"""The tags of everything that came when there were too many combinations of tags already."""


class MetricSink(Protocol):
    """Receives every number that the layers and the client measure.

    The methods are called on the event loop, once or more per request: they must not block. What they raise is counted
    and reported once, and changes no response.
    """

    def increment(self, name: str, /, value: float = 1, tags: Tags = ()) -> None:
        """Add `value` to a counter."""
        ...

    def gauge(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Set a gauge: the last value of an interval counts."""
        ...

    def histogram(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Add one observation to a distribution; durations are in milliseconds."""
        ...


class MeteringSink(MetricSink, Protocol):
    """A sink that can be told of one event in one call: what a request does, which is measured and counted at once."""

    def meter(self, measured: Series, counted: tuple[Series, ...]) -> Callable[[float], None]:
        """A function that adds its argument to the histogram `measured`, and 1 to each counter of `counted`.

        The same arguments give the same function; it may be kept for the life of the process.
        """
        ...


class NullSink:
    """The default sink: drops everything. Layers that see `NULL` don't measure at all."""

    __slots__ = ()

    def increment(self, name: str, /, value: float = 1, tags: Tags = ()) -> None:
        """Do nothing."""

    def gauge(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Do nothing."""

    def histogram(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Do nothing."""


NULL: Final = NullSink()
