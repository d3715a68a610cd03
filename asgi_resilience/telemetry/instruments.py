"""Metrics of an application's own: declared once with their tags, then fed from anywhere at no risk to the caller.

    orders = Counter("orders.placed", tags=("country",))
    orders.add(country="NZ")

What is wrong with a declaration is an error where it is made. What goes wrong later (an undeclared tag, a value that is
no number, a sink that fails) is reported once and changes nothing for whoever measures.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from threading import Lock
from time import perf_counter
from types import SimpleNamespace
from typing import ClassVar, Final

from asgi_resilience.context import report_failure
from asgi_resilience.metric_names import METRICS, Kind
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.telemetry.process_sink import process_sink
from asgi_resilience.telemetry.tag_sets import TagSets
from asgi_resilience.telemetry.timed import Timed, outcome_tags

__all__ = ("Counter", "Gauge", "Histogram", "HitRate", "Timer")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_LONGEST: Final = 200
_kinds: Final[dict[str, Kind]] = {}


class _Instrument:
    """One metric.

    Args:
        name: Words in lower case with dots between them, at most 200 characters: `orders.placed`.
        tags: The keys that its tags may have. Only declare what has few values: each combination is a series.
        max_series: How many combinations of tag values are told apart; further ones are counted together, under
            `overflow:true`. Default 200.
        sink: Where the numbers go; None: to the process's sink, whichever it is at that time.

    Attributes:
        name: As given.

    Raises:
        ValueError: The name or a tag is malformed, or the name is that of a metric of another kind.
    """

    kind: ClassVar[Kind]
    __slots__ = ("_sink", "_tag_sets", "name")

    def __init__(
        self,
        name: str,
        *,
        tags: Iterable[str] = (),
        max_series: int = 200,
        sink: MetricSink | None = None,
    ) -> None:
        if len(name) > _LONGEST or not _NAME.fullmatch(name):
            raise ValueError(
                f"name={name!r}: expected such as 'orders.placed', in lower case, up to 200 characters"
            )
        known = METRICS.get(name)
        kind = _kinds.setdefault(name, self.kind if known is None else known.kind)
        if kind != self.kind:
            raise ValueError(
                f"name={name!r}: this metric is a {kind} already, and can't be a {self.kind}, too"
            )
        self.name = name
        self._sink = sink
        self._tag_sets = TagSets(name, tags, max_series)

    def _listening(self) -> MetricSink | None:
        sink = process_sink() if self._sink is None else self._sink
        return None if sink is NULL else sink

    def _failed(self, error: Exception) -> None:
        report_failure(SimpleNamespace(__qualname__=f"{type(self).__name__} {self.name}"), error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Counter(_Instrument):
    """Counts what happens: its rate is what is looked at."""

    __slots__ = ()
    kind = "counter"

    def add(self, value: float = 1, /, **tags: object) -> None:
        """Count `value` more, 0 or above."""
        sink = self._listening()
        if sink is not None:
            try:
                if _number(value) < 0:
                    raise ValueError(f"{value!r}: a counter only grows")  # noqa: TRY301 - one place to fail
                sink.increment(self.name, value, self._tag_sets.of(tags))
            except Exception as error:  # noqa: BLE001 - measuring changes nothing
                self._failed(error)


class Gauge(_Instrument):
    """What has a value at any time: the last one of an interval counts."""

    __slots__ = ()
    kind = "gauge"

    def set(self, value: float, /, **tags: object) -> None:
        """It is `value` now."""
        sink = self._listening()
        if sink is not None:
            try:
                sink.gauge(self.name, _number(value), self._tag_sets.of(tags))
            except Exception as error:  # noqa: BLE001 - measuring changes nothing
                self._failed(error)


class Histogram(_Instrument):
    """How something is distributed: percentiles are what is looked at."""

    __slots__ = ()
    kind = "histogram"

    def record(self, value: float, /, **tags: object) -> None:
        """It was `value` this time."""
        sink = self._listening()
        if sink is not None:
            try:
                sink.histogram(self.name, _number(value), self._tag_sets.of(tags))
            except Exception as error:  # noqa: BLE001 - measuring changes nothing
                self._failed(error)


class Timer(Histogram):
    """How long something takes: goes out in milliseconds, with the tags `outcome` and, where there is one, `error`.

        inference = Timer("models.inference_duration", tags=("model",))

        @inference.timed(model="xgboost")
        async def predict(features): ...

        with inference.timed(model="lightgbm"):
            ...

    The outcome is `ok`, `error` or `cancelled`; the error is the name of the exception's class.

    Args:
        name: As for every metric.
        tags: As for every metric; `outcome` and `error` are there anyway.
        max_series: As for every metric.
        sink: As for every metric.
        clock: Seconds, monotonic.

    Raises:
        ValueError: As for every metric.
    """

    __slots__ = ("_clock",)

    def __init__(
        self,
        name: str,
        *,
        tags: Iterable[str] = (),
        max_series: int = 200,
        sink: MetricSink | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        own = (tags,) if isinstance(tags, str) else tuple(tags)
        super().__init__(name, tags=(*own, "outcome", "error"), max_series=max_series, sink=sink)
        self._clock = clock

    def record(self, seconds: float, /, **tags: object) -> None:
        """It took `seconds` this time: for what was timed by other means."""
        super().record(seconds * 1000, **tags)

    def timed(self, **tags: object) -> Timed:
        """Time a block (`with` or `async with`) or each call of a function that is decorated, plain or async.

        One object may be used by many tasks and threads at the same time, and inside of itself.

        Raises:
            ValueError: It decorates a function, and a tag was not declared. In a block that is only reported.
            TypeError: It decorates a generator: the call is over before its work begins.
        """
        return Timed(self._finished, tags, self._tag_sets.check, self._clock)

    def _finished(self, seconds: float, tags: Mapping[str, object], error: BaseException | None) -> None:
        if self._listening() is not None:
            self.record(seconds, **{**outcome_tags(error), **tags})


class HitRate(Gauge):
    """The share of the last lookups that found something, from 0 to 1.

    Args:
        name: As for every metric.
        window: How many lookups are looked back on. Default 1000.
        sink: As for every metric.

    Raises:
        ValueError: As for every metric, and when the window is below 1.
    """

    __slots__ = ("_hits", "_last", "_lock")

    def __init__(self, name: str, *, window: int = 1000, sink: MetricSink | None = None) -> None:
        super().__init__(name, sink=sink)
        if window < 1:
            raise ValueError(f"window={window!r} of {name}: expected 1 lookup or more")
        self._last: deque[bool] = deque(maxlen=window)
        self._hits = 0
        self._lock = Lock()

    def hit(self) -> None:
        """A lookup found what it looked for."""
        self._looked_up(found=True)

    def miss(self) -> None:
        """A lookup found nothing."""
        self._looked_up(found=False)

    def _looked_up(self, *, found: bool) -> None:
        with self._lock:
            last = self._last
            if len(last) == last.maxlen:
                self._hits -= last[0]
            last.append(found)
            self._hits += found
            rate = self._hits / len(last)
        self.set(rate)


def _number(value: float) -> float:
    if not isfinite(value):  # a TypeError for what is no number at all
        raise ValueError(f"{value!r} can't be measured")
    return value
