"""One round after another, on the loop and in a thread, and nothing that goes wrong hurts anybody."""

import contextvars
import threading
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from asgi_resilience import context, process_life
from asgi_resilience.metric_names import API_REQUESTS_DURATION, METRICS, RUNTIME_GC_COLLECTIONS, RUNTIME_TASKS
from asgi_resilience.telemetry.process_sink import set_process_sink
from asgi_resilience.telemetry.runtime import probes
from asgi_resilience.telemetry.runtime.probes import Reading, add_probe
from asgi_resilience.telemetry.runtime.sampler import RuntimeMetrics
from tests.telemetry.kept_numbers import KeptNumbers

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def sink(monkeypatch):
    """What was measured."""
    monkeypatch.setattr(context, "failures", {})
    monkeypatch.setattr(probes, "_added", [])  # of dependencies that other tests have left behind
    return KeptNumbers()


async def until(condition):
    """Wait for a round, part of which is done in a thread."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - a round tells nobody of its end
            await anyio.sleep(0.001)


async def test_a_round(sink):
    """Each kind of metric feeds its method; what is asked in a thread is not asked on the loop."""
    threads = []

    def on_loop():
        threads.append(threading.current_thread())
        yield Reading(RUNTIME_GC_COLLECTIONS, 2, ("generation:0",))
        yield Reading(API_REQUESTS_DURATION, 12.5)

    def in_thread():
        threads.append(threading.current_thread())
        yield Reading(RUNTIME_TASKS, 7)

    metrics = RuntimeMetrics(sink, on_loop=(on_loop,), in_thread=(in_thread,))
    metrics.sample()
    assert sink.all == []
    await until(lambda: ("gauge", "runtime.tasks", 7, ()) in sink.all)
    assert sink.all[:2] == [
        ("increment", "runtime.gc.collections", 2, ("generation:0",)),
        ("histogram", "api.requests.duration", 12.5, ()),
    ]
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()
    metrics.close()


async def test_a_system_that_does_not_answer(sink):
    """While a round is not over the next one does not begin; the loop goes on."""
    go, asked = threading.Event(), []

    def stuck():
        asked.append(1)
        go.wait(5)
        return ()

    metrics = RuntimeMetrics(sink, on_loop=(), in_thread=(stuck,))
    for _ in range(3):
        metrics.sample()
        await anyio.sleep(0.01)
    assert asked == [1]
    go.set()
    await until(lambda: metrics._running is None)
    metrics.sample()
    await until(lambda: metrics._running is None)
    assert asked == [1, 1]


async def test_failures(sink):
    """A probe that raises, in the middle or at all, is reported and keeps no other from being asked; so does a sink."""

    def broken():
        yield Reading(RUNTIME_TASKS, 1)
        raise OSError("no such process")

    def fine():
        return [Reading(RUNTIME_TASKS, 2)]

    metrics = RuntimeMetrics(sink, on_loop=(broken, fine), in_thread=(broken, fine))
    metrics.sample()
    await until(lambda: metrics._running is None)
    assert [value for _, _, value, _ in sink.all] == [1, 2, 1, 2]
    assert list(context.failures.values()) == [2]

    class Full(KeptNumbers):
        def gauge(self, name, /, value, tags=()):
            raise OSError("full")

    metrics = RuntimeMetrics(Full(), on_loop=(fine,), in_thread=())
    metrics.sample()
    await until(lambda: metrics._running is None)
    assert context.failures["RuntimeMetrics"] == 1


async def test_nobody_listens(sink):
    """Without a sink nothing is asked; with the process's sink everything is, also what others have added."""
    asked = []

    def probe():
        asked.append(variable.get(None))
        return ()

    variable = contextvars.ContextVar("request")
    variable.set("of a request")
    metrics = RuntimeMetrics(on_loop=(probe,), in_thread=())
    metrics.sample()
    await anyio.lowlevel.checkpoint()
    assert asked == []
    before, remove = set_process_sink(sink), add_probe(probe)
    try:
        metrics.sample()
        await until(lambda: metrics._running is None)
    finally:
        set_process_sink(before)
        remove()
    assert asked == [None, None]


async def test_the_loop_ends_in_the_middle(sink, anyio_backend_name):
    """A round ends with its loop, which waits for no thread; on the next loop another one may begin."""
    begun, go, ended = threading.Event(), threading.Event(), []

    def stuck():
        begun.set()
        go.wait(5)
        ended.append(1)
        return ()

    metrics = RuntimeMetrics(sink, on_loop=(), in_thread=(stuck,))

    async def main():
        metrics.sample()
        await until(begun.is_set)

    await anyio.to_thread.run_sync(partial(anyio.run, main, backend=anyio_backend_name))
    assert metrics._running is None
    assert ended == []
    go.set()


async def test_a_fork_in_the_middle(sink):
    """A child that is forked in the middle of a round, which its parent ends, begins one of its own."""
    go = threading.Event()

    def stuck():
        go.wait(5)
        return ()

    metrics = RuntimeMetrics(sink, on_loop=(), in_thread=(stuck,))
    metrics.sample()
    await anyio.sleep(0.01)
    assert metrics._running is not None
    assert metrics in process_life._all
    metrics.after_fork()  # as in the child
    assert metrics._running is None
    go.set()
    await anyio.sleep(0.01)


@pytest.mark.filterwarnings("error")
def test_without_a_loop(sink):
    """Without a running event loop nothing happens."""
    metrics = RuntimeMetrics(sink, on_loop=(list,), in_thread=())
    metrics.sample()
    assert metrics._running is None


async def test_everything(sink):
    """What is measured by default is in the table of metrics: kinds and tags are as they stand there."""
    metrics = RuntimeMetrics(sink)
    for _ in range(2):
        metrics.sample()
        await until(lambda: metrics._running is None)
        await anyio.sleep(0.02)
    metrics.close()
    kinds = {"increment": "counter", "gauge": "gauge"}
    for method, name, value, tags in sink.all:
        assert kinds[method] == METRICS[name].kind
        assert tuple(tag.partition(":")[0] for tag in tags) == METRICS[name].tags
        assert value >= 0
    found = {name for _, name, _, _ in sink.all}
    assert found >= {
        "runtime.tasks",
        "runtime.threads",
        "runtime.gc.pause.max",
        "runtime.cpu.usage",
        "disk.usage",
    }
    assert found >= {
        "runtime.memory.rss",
        "runtime.open_files",
        "cpu.usage",
        "memory.usage",
        "network.throughput",
    }
    assert context.failures == {}
