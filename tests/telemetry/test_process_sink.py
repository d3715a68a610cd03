"""The sink of the process."""

from asgi_resilience.metric_sink import NULL, NullSink
from asgi_resilience.telemetry.process_sink import process_sink, set_process_sink


def test_it_is_nobody_until_it_is_set():
    """Numbers go nowhere at first, then to the sink that was set, and whoever sets one can put back the one before."""
    sink = NullSink()
    assert set_process_sink(sink) is NULL
    assert process_sink() is sink
    assert set_process_sink(NULL) is sink
