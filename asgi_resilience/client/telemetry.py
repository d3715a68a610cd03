"""Who hears of a dependency: the log, the metric sink, and listeners. None of them can change what happens."""

from collections.abc import Iterable
from typing import Final

from asgi_resilience.client.event_log import log_event, logs_rejections
from asgi_resilience.client.event_metrics import CallOutcome, EventMetrics
from asgi_resilience.client.events import Event, Listener
from asgi_resilience.context import report_failure
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.telemetry.process_sink import process_sink

__all__ = ("Telemetry", "add_listener", "remove_listener", "set_metric_sink")

_listeners: Final[list[Listener]] = [log_event]
_sink: MetricSink | None = None


def add_listener(listener: Listener) -> None:
    """Let `listener` hear of every event of every dependency. It is called at once: it must not block."""
    _listeners.append(listener)


def remove_listener(listener: Listener) -> None:
    """Let `listener` hear no more.

    Raises:
        ValueError: It is not registered.
    """
    _listeners.remove(listener)


def set_metric_sink(sink: MetricSink | None) -> None:
    """Send the numbers of every dependency that has no sink of its own to `sink`; None: to where the layers send theirs."""
    global _sink  # noqa: PLW0603 - one process, one sink
    _sink = sink


class Telemetry:
    """Tells of one dependency and its variants.

    Args:
        name: Of the dependency.
        listeners: Hear of this dependency's events alone.
        sink: Gets this dependency's numbers; None: the one of `set_metric_sink`, else that of the process.
    """

    __slots__ = ("_listeners", "_metrics", "_name", "_own_sink", "_sink")

    def __init__(self, name: str, listeners: Iterable[Listener], sink: MetricSink | None) -> None:
        self._name = name
        self._listeners = tuple(listeners)
        self._own_sink = sink
        self._sink: MetricSink = NULL
        self._metrics: EventMetrics | None = None

    @property
    def measured(self) -> bool:
        """Whether the numbers go anywhere."""
        return self._chosen() is not NULL

    def _chosen(self) -> MetricSink:
        own = self._own_sink
        if own is not None:
            return own
        return process_sink() if _sink is None else _sink

    @property
    def hears_rejections(self) -> bool:
        """Whether anybody wants an event for each call that an open circuit rejects. There can be very many."""
        return len(_listeners) > 1 or bool(self._listeners) or logs_rejections()

    def emit(self, event: Event) -> None:
        """Tell everybody of an event."""
        for listener in (*_listeners, *self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - telemetry may never change an outcome
                report_failure(listener, error)
        if self.measured:
            try:
                self._bound().event(event)
            except Exception as error:  # noqa: BLE001 - telemetry may never change an outcome
                report_failure(self._sink, error)

    def call(self, outcome: CallOutcome, seconds: float) -> None:
        """Count a call that has ended."""
        try:
            self._bound().call(outcome, seconds)
        except Exception as error:  # noqa: BLE001 - telemetry may never change an outcome
            report_failure(self._sink, error)

    def _bound(self) -> EventMetrics:
        sink = self._chosen()
        if self._metrics is None or self._sink is not sink:
            self._sink = sink
            self._metrics = EventMetrics(self._name, sink)
        return self._metrics
