"""The pipeline of the process: flushes by itself, to the windows, and to an agent if there may be one."""

import asyncio
import socket
import sys

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_resilience import MetricsMiddleware, Settings, telemetry, wrap
from asgi_resilience.metric_sink import NULL
from asgi_resilience.telemetry import Pipeline, pipeline
from asgi_resilience.telemetry.pipeline import set_pipeline
from asgi_resilience.telemetry.process_sink import process_sink
from asgi_resilience.testing import asgi_request

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("kept_lines")]


@pytest.fixture
def agent(monkeypatch):
    """A socket that an agent could have, and the environment that leads there."""
    monkeypatch.delenv("DD_DOGSTATSD_DISABLE")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        monkeypatch.setenv("DD_DOGSTATSD_URL", "udp://{}:{}".format(*listener.getsockname()))
        yield listener


class Kept:
    """An exporter that keeps the batches."""

    def __init__(self):
        self.batches = []

    def export(self, batch):
        self.batches.append(batch)


async def hello(_request):
    return PlainTextResponse("hello")


def service(**options):
    return wrap(Starlette(routes=[Route("/items/{id}", hello)]), Settings(**options))


async def test_requests_are_in_the_snapshot():
    """Without any setting, the last minutes of a wrapped app can be read, up to the last request."""
    app = service()
    for number in range(5):
        await asgi_request(app, path=f"/items/{number}")
    await asgi_request(app, path="/nope")
    found = telemetry.snapshot()
    assert found.count("api.requests.total") == 6
    assert found.count("api.requests.total", route="/items/{id}", status="200") == 5
    assert found.count("api.requests.by_endpoint", route="__unmatched__") == 1
    assert found.distribution("api.requests.duration").count == 6
    assert found.gauge("api.requests.in_flight") == 0
    assert 'api_requests_total{method="GET",route="/items/{id}",' in telemetry.prometheus_text()


async def test_it_flushes_by_itself():
    """From the first request on, each second, on whichever loop it is."""
    kept = Kept()
    pipeline().exporters.append(kept)
    app = service()
    await asgi_request(app, path="/items/1")
    await anyio.sleep(2.5)
    assert len(kept.batches) == 2
    assert sum(batch.counters.get(("asgi_resilience.metrics.folded", ()), 0) for batch in kept.batches) == 0
    assert len(kept.batches[0].counters) == 2
    assert kept.batches[1].counters == {}


@pytest.mark.real_time
async def test_the_shutdown_flushes():
    """At the end of the lifespan everything is handed on, before the server hears of that."""
    kept = Kept()
    pipeline().exporters.append(kept)
    app = service()
    await asgi_request(app, path="/items/1")
    seen = []

    async def send(message):
        total = sum(
            count
            for batch in kept.batches
            for (name, _), count in batch.counters.items()
            if name == "api.requests.total"
        )
        seen.append((message["type"], total))

    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive():
        return {"type": messages.pop(0)}

    await app({"type": "lifespan"}, receive, send)
    assert seen == [("lifespan.startup.complete", 0), ("lifespan.shutdown.complete", 1)]


async def test_the_process_has_one():
    """The same for all, until a test replaces it."""
    first = pipeline()
    assert pipeline() is first
    assert set_pipeline(None) is first
    second = pipeline()
    assert second is not first
    assert set_pipeline(first) is second
    assert pipeline() is first


# ------------------------------------------------------------------------------------------------------ the agent


def test_a_stack_sends_to_an_agent(agent):
    """Where `datadog` is installed, that is the default; the service's tags go with it."""
    service(service="orders", environment="test", version="1.2")
    pipeline().increment("hits", 3)
    pipeline().close()
    name, _, tags = agent.recv(999).decode().strip().split("|")
    assert name == "hits:3"
    assert set(tags[1:].split(",")) == {"service:orders", "env:test", "version:1.2"}


def test_durations_may_be_distributions(agent):
    """By a setting."""
    service(dogstatsd_distribution=True)
    pipeline().histogram("took", 1.0)
    pipeline().close()
    assert b"took:1|d" in agent.recv(999)


def test_sending_can_be_switched_off(agent, monkeypatch):
    """By the setting, by the operator's variable, or by not installing the package; what was open is closed."""
    service()
    assert pipeline().agent is not None
    service(dogstatsd=False)
    assert pipeline().agent is None
    assert len(pipeline().exporters) == 1
    service(dogstatsd=True)
    assert pipeline().agent is not None
    monkeypatch.setenv("DD_DOGSTATSD_DISABLE", "true")
    service(dogstatsd=True)
    assert pipeline().agent is None
    monkeypatch.delenv("DD_DOGSTATSD_DISABLE")
    monkeypatch.setitem(sys.modules, "datadog.dogstatsd.base", None)
    for _ in range(2):
        service()
        assert pipeline().agent is None
    with pytest.raises(ImportError, match="pip install"):
        service(dogstatsd=True)


def test_equal_settings_share_an_exporter(agent):
    """Several stacks in a process send once; the last one says how."""
    service(service="orders")
    first = pipeline().agent
    service(service="orders")
    assert pipeline().agent is first
    service(service="other")
    assert pipeline().agent is not first
    assert len(pipeline().exporters) == 2


def test_a_sink_of_ones_own_is_everybodys():
    """What is given as `metric_sink` is where the process's other numbers go, too, and the pipeline gets none."""

    class Own:
        def increment(self, name, /, value=1, tags=()): ...

        def gauge(self, name, /, value, tags=()): ...

        def histogram(self, name, /, value, tags=()): ...

    own = Own()
    service(metric_sink=own)
    assert process_sink() is own
    service(metric_sink=NULL)
    assert process_sink() is NULL
    service()
    assert process_sink() is pipeline()
    service(metrics=False, metric_sink=NULL)
    assert process_sink() is pipeline()


def test_a_pipeline_can_be_used_alone():
    """It is a sink, an aggregator and a thing that flushes; nothing holds it when nobody does."""
    mine = Pipeline(flush_interval=5.0)
    layer = MetricsMiddleware(PlainTextResponse("hello"), sink=mine)
    asyncio.run(asgi_request(layer))
    mine.close()
    assert mine.windows.snapshot().count("api.requests.total") == 1
    assert pipeline() is not mine


def test_what_it_measures_of_the_process_can_be_stopped():
    """It stands at the interval once, however often it is asked for, and then no more."""
    mine = Pipeline()
    alone = len(mine.periodic._duties)
    mine.measure_runtime(15.0)
    mine.measure_runtime(15.0)
    assert len(mine.periodic._duties) == alone + 1
    mine.measure_runtime(None)
    assert len(mine.periodic._duties) == alone
    mine.measure_runtime(5.0)
    assert len(mine.periodic._duties) == alone + 1
    mine.measure_runtime(None)
