"""The one sink of this process: what measures something without having been given a sink measures here."""

from asgi_resilience.metric_sink import NULL, MetricSink

__all__ = ("process_sink", "set_process_sink")

_sink: MetricSink = NULL


def process_sink() -> MetricSink:
    """Where the numbers go that belong to no request: nowhere, until `set_process_sink` has been called.

    Ask each time: it may be set after the module was imported that measures.
    """
    return _sink


def set_process_sink(sink: MetricSink) -> MetricSink:
    """Send these numbers to `sink`; returns the one before."""
    global _sink
    before, _sink = _sink, sink
    return before
