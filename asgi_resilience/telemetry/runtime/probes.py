"""What a runtime gauge is read from: a function that is asked at an interval, away from any request."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

from asgi_resilience.metric_names import Metric
from asgi_resilience.metric_sink import Tags

__all__ = ("Probe", "Reading", "add_probe", "added_probes")


class Reading(NamedTuple):
    """One number.

    Attributes:
        metric: Whose number it is; of a counter, what it grew by.
        value: The number.
        tags: `key:value`, with the keys that the metric has.
    """

    metric: Metric
    value: float
    tags: Tags = ()


Probe: TypeAlias = Callable[[], Iterable[Reading]]

_added: Final[list[Probe]] = []


def add_probe(probe: Probe) -> Callable[[], None]:
    """Have `probe` asked every time that the runtime is measured, on the event loop: it must not block.

        add_probe(lambda: [Reading(DATABASE_CONNECTIONS_ACTIVE, pool.get_size() - pool.get_idle_size())])

    What it raises is reported once, and keeps no other probe from being asked.

    Returns:
        A function that ends this.
    """
    _added.append(probe)

    def remove() -> None:
        if probe in _added:
            _added.remove(probe)

    return remove


def added_probes() -> tuple[Probe, ...]:
    """The probes that were added, in order."""
    return tuple(_added)
