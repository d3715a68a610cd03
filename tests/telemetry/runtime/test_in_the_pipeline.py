"""The runtime is measured by the process's pipeline, as the settings say."""

import gc

import anyio
import pytest

from asgi_resilience import Settings, wrap
from asgi_resilience.metric_sink import NULL
from asgi_resilience.telemetry.pipeline import Pipeline, pipeline
from asgi_resilience.testing import asgi_request

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def app(scope, receive, send):
    """Answers everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def measured(name):
    """Wait until the gauge is there."""
    with anyio.fail_after(10):
        while not (found := [value for (each, _), value in pipeline()._gauges.items() if each == name]):  # noqa: ASYNC110 - no news
            await anyio.sleep(0.005)
    return found[0]


async def test_by_default():
    """A wrapped application is measured from its first request on, at the interval of the settings."""
    service = wrap(app, Settings(runtime_metrics_interval=0.02, dogstatsd=False))
    await asgi_request(service)
    assert await measured("runtime.tasks") >= 1
    assert await measured("runtime.cpu.usage") >= 0
    pipeline().measure_runtime(None)


@pytest.mark.parametrize("options", [{"runtime_metrics": False}, {"metric_sink": NULL}])
async def test_switched_off(options):
    """Without runtime metrics, and with a sink of one's own, nothing is measured at an interval."""
    service = wrap(app, Settings(runtime_metrics_interval=0.02, **options))
    await asgi_request(service)
    await anyio.sleep(0.1)
    assert not [name for name, _ in pipeline()._gauges if name.startswith("runtime.")]


async def test_once_per_process():
    """Several stacks are one measurement; another interval takes the place of the one before, and None ends it."""
    one = Pipeline()
    with pytest.raises(ValueError, match="seconds=0"):
        one.measure_runtime(0)
    hooks, duties = len(gc.callbacks), len(one.periodic._duties)
    for interval in (0.02, 0.02, 0.03):
        one.measure_runtime(interval)
    assert len(one.periodic._duties) == duties + 1
    one.start()
    with anyio.fail_after(10):
        while len(gc.callbacks) == hooks:  # noqa: ASYNC110 - no news
            await anyio.sleep(0.005)
    one.measure_runtime(None)
    assert len(one.periodic._duties) == duties
    assert len(gc.callbacks) == hooks
