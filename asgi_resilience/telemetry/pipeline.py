"""The process's own pipeline of metrics: an aggregator that flushes itself, to the windows and to a DogStatsD agent.

layers, client, application  →  Aggregator  →  each second  →  Windows  →  snapshot(), Prometheus
                                                            →  DogStatsDExporter  →  agent
"""

from collections.abc import Callable, Iterable

from anyio import to_thread

from asgi_resilience.telemetry import prometheus
from asgi_resilience.telemetry.aggregate import Aggregator
from asgi_resilience.telemetry.last_minutes import Snapshot
from asgi_resilience.telemetry.periodic import Periodic
from asgi_resilience.telemetry.runtime.sampler import RuntimeMetrics
from asgi_resilience.telemetry.statsd import DogStatsDExporter, agent_is_switched_off
from asgi_resilience.telemetry.windows import Windows

__all__ = ("Pipeline", "pipeline", "prometheus_text", "set_pipeline", "snapshot")


class Pipeline(Aggregator):
    """What `wrap` and `stack` use unless they are given a sink.

    Args:
        flush_interval: Seconds between two flushes. An agent has intervals of 10 s, and puts what it gets into the one
            that is now, so this is to be a good deal less.

    Attributes:
        windows: What `snapshot` reads.
        periodic: Flushes, and runs whatever else has to be done at an interval.
        agent: Where it sends to, None: nowhere.
    """

    def __init__(self, *, flush_interval: float = 1.0) -> None:
        self.windows = Windows()
        super().__init__([self.windows])
        self.periodic = Periodic()
        self.periodic.every(flush_interval, self.flush, at_end=self.close)
        self.agent: DogStatsDExporter | None = None
        self._agent_options: object = None
        self._runtime_interval: float | None = None
        self._stop_runtime: Callable[[], None] = lambda: None

    def measure_runtime(self, interval: float | None) -> None:
        """Measure event loop, process and machine each `interval` seconds from now on; None: no more.

        Raises:
            ValueError: The interval is not above 0.
        """
        if interval == self._runtime_interval:
            return
        metrics = RuntimeMetrics(self)
        end = None if interval is None else self.periodic.every(interval, metrics.sample)

        def stop() -> None:
            if end is not None:
                end()
            metrics.close()

        self._stop_runtime()
        self._runtime_interval, self._stop_runtime = interval, stop

    def use_dogstatsd(
        self, *, wanted: bool | None = None, tags: Iterable[str] = (), distribution: bool = False
    ) -> None:
        """Send to an agent from now on, or no more.

        Args:
            wanted: None: if the package `datadog` can be imported. `DD_DOGSTATSD_DISABLE=true` switches it off anyway.
            tags: As for `DogStatsDExporter`.
            distribution: As for `DogStatsDExporter`.

        Raises:
            ImportError: `wanted` is True, and `datadog` can't be imported.
        """
        options = None if wanted is False or agent_is_switched_off() else (tuple(tags), distribution)
        if options == self._agent_options and (self.agent is not None or not wanted):
            return
        agent = None
        if options is not None:
            try:
                agent = DogStatsDExporter(tags=options[0], distribution=distribution)
            except ImportError:
                if wanted:
                    raise
        self._drop_agent()
        self.agent, self._agent_options = agent, options
        if agent is not None:
            self.exporters.append(agent)

    def _drop_agent(self) -> None:
        agent, self.agent, self._agent_options = self.agent, None, None
        if agent is not None:
            self.exporters.remove(agent)
            agent.close()

    def start(self) -> None:
        """Have the running event loop flush, unless another one does already."""
        self.periodic.start()

    def close(self) -> None:
        """Flush, and wait until it is sent; for the end of the process or of a test. It blocks."""
        self.flush()
        if self.agent is not None:
            self.agent.close()
        for exporter in tuple(self.exporters):
            finish: Callable[[], object] | None = getattr(exporter, "finish", None)
            if finish is not None:
                finish()

    async def aclose(self) -> None:
        """The same without blocking the event loop; for the end of the application."""
        await to_thread.run_sync(self.close)


_pipeline: Pipeline | None = None


def pipeline() -> Pipeline:
    """That of this process; made when it is first needed."""
    global _pipeline  # noqa: PLW0603 - one per process
    if _pipeline is None:
        _pipeline = Pipeline()
    return _pipeline


def set_pipeline(new: Pipeline | None) -> Pipeline | None:
    """Make `new` that of the process; returns the one before. None: a new one is made when it is needed. For tests."""
    global _pipeline
    before, _pipeline = _pipeline, new
    return before


def snapshot(seconds: float = 60.0) -> Snapshot:
    """The metrics of the last `seconds`, up to this moment.

    Args:
        seconds: Up to five minutes.

    Raises:
        ValueError: `seconds` is not above 0, or more than is kept.
    """
    current = pipeline()
    current.flush()
    return current.windows.snapshot(seconds)


def prometheus_text() -> str:
    """All metrics since the start of the process, in Prometheus's text format 0.0.4."""
    current = pipeline()
    current.flush()
    return current.windows.read_totals(prometheus.render)
