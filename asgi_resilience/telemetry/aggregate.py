"""Sums up in the process what the layers, the client and the application measure, until a flush hands it on.

The way in has no lock: an observation is one `append` to an array, which no other thread can interrupt, and everything
else (sums, counts, gauges) is worked out when it is flushed. A flush takes the front of each array, so what is appended
meanwhile stays for the next one. So the counts are exact, whichever threads and event loops measure.

Memory is bounded twice. Beyond `max_series` combinations of name and tags, numbers go to their name's series `overflow:true`
and are counted as folded; beyond `max_values` observations, a flush comes early.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from threading import RLock
from time import monotonic, time
from typing import Final

from asgi_resilience.context import report_failure
from asgi_resilience.metric_names import METRICS_FOLDED
from asgi_resilience.metric_sink import OVERFLOW, Series, Tags
from asgi_resilience.process_life import starts_anew
from asgi_resilience.telemetry.batch import Batch, Exporter

__all__ = ("Aggregator",)

_STEP: Final = (
    1024  # observations after which a cell tells of itself; it makes the bound coarse and the way in short
)
_FOLDED: Final[Series] = (METRICS_FOLDED.name, ())


class Aggregator:
    """A metric sink that sums up, and hands a `Batch` to its exporters at every flush.

    May be fed from any thread. A forked child starts with nothing; its parent keeps what it has.

    Args:
        exporters: Get each batch, one after the other.
        max_series: How many combinations of name and tags are told apart.
        max_values: How many observations are kept at most, give or take 1024 for each combination.
        clock: Seconds, monotonic.
        wall_clock: Seconds since the epoch.

    Attributes:
        exporters: The same; may be changed.

    Raises:
        ValueError: A bound is below 1.
    """

    def __init__(
        self,
        exporters: Iterable[Exporter] = (),
        *,
        max_series: int = 5000,
        max_values: int = 100_000,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        for option, bound in (("max_series", max_series), ("max_values", max_values)):
            if bound < 1:
                raise ValueError(f"{option}={bound!r}: expected 1 or more")
        self.exporters = [*exporters]
        self._max_series, self._max_values = max_series, max_values
        self._clock, self._wall_clock = clock, wall_clock
        self._known: set[Series] = set()
        self._counters: dict[Series, _Cell] = {}
        self._meters: dict[tuple[Series, tuple[Series, ...]], _Cell] = {}
        self._gauges: dict[Series, float] = {}
        self._folded = self._counters[_FOLDED] = _Cell(self.crowded)
        self._begin()
        starts_anew(self)

    def _begin(self) -> None:
        self._lock = RLock()  # a signal handler may flush, or meet a new series, while this very thread does
        self._flushing = False
        self._held = 0
        self._flushed_at = self._clock()

    # ------------------------------------------------------------------------------------------------- as a sink

    def increment(self, name: str, /, value: float = 1, tags: Tags = ()) -> None:
        """Add `value` to a counter."""
        cell = self._counters.get((name, tags))
        if cell is None:
            cell = self._counter(name, tags)
        cell.tell(value)

    def gauge(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Set a gauge: the last value before a flush counts."""
        series = name, tags
        if series not in self._known:
            series = self._admit(series)
        self._gauges[series] = value

    def histogram(self, name: str, /, value: float, tags: Tags = ()) -> None:
        """Add one observation to a distribution; durations are in milliseconds."""
        self.meter((name, tags), ())(value)

    def meter(self, measured: Series, counted: tuple[Series, ...]) -> Callable[[float], None]:
        """A function that adds its argument to the histogram `measured`, and 1 to each counter of `counted`.

        The same arguments give the same function; it may be kept for the life of the process.
        """
        cell = self._meters.get((measured, counted))
        if cell is None:
            every = (measured, *counted)
            admitted = tuple(map(self._admit, every))
            if admitted != every:
                # Each observation is folded once, however many series it is part of.
                admitted = (*((name, OVERFLOW) for name, _ in every), _FOLDED)
            with self._lock:
                cell = self._meters.setdefault((admitted[0], admitted[1:]), _Cell(self.crowded))
        return cell.tell

    def _counter(self, name: str, tags: Tags) -> "_Cell":
        series = self._admit((name, tags))
        if series != (name, tags):
            self._folded.tell(1)
        with self._lock:
            return self._counters.setdefault(series, _Cell(self.crowded))

    def _admit(self, series: Series) -> Series:
        """The series itself while there is room, else the overflow of its name; names are few: people write them."""
        with self._lock:
            if series not in self._known:
                if len(self._known) >= self._max_series:
                    return series[0], OVERFLOW
                self._known.add(series)
            return series

    # ------------------------------------------------------------------------------------------------- on the way out

    def crowded(self) -> None:
        """A cell holds another `_STEP` observations; too many in all are flushed at once."""
        self._held += _STEP
        if self._held >= self._max_values:
            self.flush()

    def flush(self) -> None:
        """Hand what has gathered to every exporter. It takes less than a microsecond per observation."""
        with self._lock:
            if self._flushing:  # an exporter flushes, or a signal handler in the middle of one
                return
            self._flushing = True
            try:
                batch = self._take()
                for exporter in tuple(self.exporters):
                    try:
                        exporter.export(batch)
                    except Exception as error:  # noqa: BLE001 - it hurts nobody else
                        report_failure(exporter.export, error)
            finally:
                self._flushing = False

    def _take(self) -> Batch:
        now = self._clock()
        seconds, self._flushed_at = now - self._flushed_at, now
        self._held = 0
        counters: dict[Series, float] = {}
        histograms: dict[Series, Sequence[float]] = {}
        for series, cell in tuple(self._counters.items()):
            values = cell.take()
            if values:
                counters[series] = counters.get(series, 0) + sum(values)
        for (measured, counted), cell in tuple(self._meters.items()):
            values = cell.take()
            if values:
                before = histograms.get(measured)
                histograms[measured] = values if before is None else array("d", (*before, *values))
                for series in counted:
                    counters[series] = counters.get(series, 0) + len(values)
        gauges: dict[Series, float] = {}
        while self._gauges:
            series, value = self._gauges.popitem()
            if isfinite(value):
                gauges[series] = value
        return Batch(self._wall_clock(), seconds, counters, gauges, histograms)

    def after_fork(self) -> None:
        """Leave what was measured so far to the parent."""
        self._begin()
        for cell in (*self._counters.values(), *self._meters.values()):
            cell.take()
        self._gauges.clear()


class _Cell:
    """The observations of one combination of tags since the last flush.

    Its two functions share what they work on: half of a request's cost here would be the way to it through `self`.

    Attributes:
        tell: Adds an observation.
        take: Returns what has gathered. Numbers that are none (NaN, infinity) are left out.
    """

    __slots__ = ("take", "tell")

    def __init__(self, crowded: Callable[[], None]) -> None:
        values, most = array("d"), _STEP
        append = values.append

        def tell(value: float) -> None:
            nonlocal most
            append(value)
            if len(values) >= most:
                most += _STEP
                crowded()

        def take() -> Sequence[float]:
            nonlocal most
            taken = values[:]
            del values[: len(taken)]
            most = _STEP
            return taken if isfinite(sum(taken)) else array("d", filter(isfinite, taken))

        self.tell, self.take = tell, take
