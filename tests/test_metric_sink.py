"""The seam for metrics."""

from asgi_resilience.metric_sink import NULL, MetricSink


def test_the_default_sink_takes_every_number_and_keeps_none():
    """The null sink has the three methods of a sink, with tags or without, and no state."""
    sink: MetricSink = NULL
    assert sink.increment("a") is None
    assert sink.increment("a", 2, ("b:c",)) is None
    assert sink.gauge("a", 1.5) is None
    assert sink.histogram("a", 1.5, tags=("b:c",)) is None
    assert not hasattr(sink, "__dict__")
