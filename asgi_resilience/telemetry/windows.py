"""Keeps the last minutes in slots of a few seconds, and the totals since the start of the process.

Both need room for each series and not for each observation: histograms are kept as sketches in the slots, and as counts
by upper bound in the totals.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from time import monotonic, time
from typing import Final, TypeVar

from asgi_resilience.metric_sink import Series
from asgi_resilience.process_life import starts_anew
from asgi_resilience.telemetry.batch import Batch
from asgi_resilience.telemetry.last_minutes import Snapshot
from asgi_resilience.telemetry.sketch import Sketch

__all__ = ("BOUNDS", "Total", "Totals", "Windows")

_T = TypeVar("_T")

BOUNDS: Final = (
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
)
"""Upper bounds of the counted ranges of a histogram; in milliseconds, from a cache's answer to a timeout."""


@dataclass(slots=True)
class Total:
    """A histogram since the start.

    Attributes:
        below: How many observations don't exceed each of `BOUNDS`.
        count: How many there were.
        total: Their sum.
    """

    below: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))
    count: int = 0
    total: float = 0.0


@dataclass(slots=True)
class Totals:
    """Everything since the start of the process; what counts, only grows.

    Attributes:
        counters: By series.
        gauges: The last value of each.
        histograms: By series.
    """

    counters: dict[Series, float] = field(default_factory=dict[Series, float])
    gauges: dict[Series, float] = field(default_factory=dict[Series, float])
    histograms: dict[Series, Total] = field(default_factory=dict[Series, Total])


@dataclass(slots=True)
class _Slot:
    number: int
    counters: dict[Series, float] = field(default_factory=dict[Series, float])
    histograms: dict[Series, Sketch] = field(default_factory=dict[Series, Sketch])


class Windows:
    """An exporter that remembers. A forked child begins with nothing.

    Args:
        slot: Seconds in a slot: how exactly a stretch of time can be asked for.
        slots: How many are kept; with the defaults, five minutes.
        clock: Seconds, monotonic.
        wall_clock: Seconds since the epoch.

    Raises:
        ValueError: An option is not above 0.
    """

    def __init__(
        self,
        *,
        slot: float = 10.0,
        slots: int = 30,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        for option, value in (("slot", slot), ("slots", slots)):
            if not value > 0:
                raise ValueError(f"{option}={value!r}: expected more than 0")
        self._slot, self._most = slot, slots
        self._clock, self._wall_clock = clock, wall_clock
        self.after_fork()
        starts_anew(self)

    def after_fork(self) -> None:
        """Begin with nothing."""
        self._lock = RLock()
        self._totals = Totals()
        self._slots: deque[_Slot] = deque(maxlen=self._most)
        self._born = self._clock()

    @property
    def seconds(self) -> float:
        """How much time is kept."""
        return self._slot * self._most

    def export(self, batch: Batch, /) -> None:
        """Remember a batch; it counts for the slot that is now."""
        with self._lock:
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        number = int(self._clock() // self._slot)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        slot, totals = self._slots[-1], self._totals
        _add(slot.counters, batch.counters)
        _add(totals.counters, batch.counters)
        totals.gauges.update(batch.gauges)
        for series, values in batch.histograms.items():
            ordered = sorted(values)
            slot.histograms.setdefault(series, Sketch()).add(ordered)
            total = totals.histograms.setdefault(series, Total())
            total.count += len(ordered)
            total.total += sum(ordered)
            for place, bound in enumerate(BOUNDS):
                total.below[place] += bisect_right(ordered, bound)

    def snapshot(self, seconds: float = 60.0) -> Snapshot:
        """The last `seconds`, in slots: the one that is going on, and as many whole ones before it as fit.

        Raises:
            ValueError: That is not above 0, or more than is kept.
        """
        if not 0 < seconds <= self.seconds:
            raise ValueError(f"seconds={seconds!r}: expected more than 0, and up to {self.seconds:g}")
        with self._lock:
            now = self._clock()
            first = min(int((now - seconds) // self._slot) + 1, int(now // self._slot))
            begin = max(first * self._slot, self._born)
            counters: dict[Series, float] = {}
            histograms: dict[Series, Sketch] = {}
            for slot in self._slots:
                if slot.number >= first:
                    _add(counters, slot.counters)
                    for series, sketch in slot.histograms.items():
                        histograms.setdefault(series, Sketch()).merge(sketch)
            gauges = dict(self._totals.gauges)
        return Snapshot(self._wall_clock(), max(0.0, now - begin), counters, gauges, histograms)

    def read_totals(self, read: Callable[[Totals], _T]) -> _T:
        """What `read` makes of the totals since the start of the process, while nothing is added to them."""
        with self._lock:
            return read(self._totals)


def _add(to: dict[Series, float], more: Mapping[Series, float]) -> None:
    for series, value in more.items():
        to[series] = to.get(series, 0) + value
