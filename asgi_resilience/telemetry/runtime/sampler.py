"""Asks every probe and feeds a sink: on the event loop what is known there, in a thread what the system is asked for.

Reading from the system can block (a file system that does not answer), so it never happens on the loop; and one round is
over before the next begins.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from typing import Any

import anyio
import anyio.to_thread

from asgi_resilience.context import report_failure
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.process_life import starts_anew
from asgi_resilience.telemetry.process_sink import process_sink
from asgi_resilience.telemetry.runtime.event_loop import LoopLag, tasks
from asgi_resilience.telemetry.runtime.garbage import GarbagePauses
from asgi_resilience.telemetry.runtime.machine import Machine
from asgi_resilience.telemetry.runtime.own_process import OwnProcess
from asgi_resilience.telemetry.runtime.probes import Probe, Reading, added_probes
from asgi_resilience.telemetry.runtime.rate_limits import RateLimits
from asgi_resilience.telemetry.runtime.system import find_system
from asgi_resilience.telemetry.runtime.thread_pools import thread_pools

__all__ = ("RuntimeMetrics",)


class RuntimeMetrics:
    """Measures the process and its machine each time `sample` is called; every 15 s is often enough.

    Args:
        sink: Where the numbers go; None: the process's sink, whichever it is at that time.
        on_loop: Asked on the event loop; None: loop lag, tasks, thread pools, garbage collection, rate limits.
        in_thread: Asked in a thread; None: what the system knows of the process and the machine.
    """

    def __init__(
        self,
        sink: MetricSink | None = None,
        *,
        on_loop: Sequence[Probe] | None = None,
        in_thread: Sequence[Probe] | None = None,
    ) -> None:
        self._sink = sink
        if on_loop is None:
            on_loop = (LoopLag(), tasks, thread_pools, GarbagePauses(), RateLimits())
        if in_thread is None:
            system = find_system()
            in_thread = (OwnProcess(system), Machine(system))
        self._on_loop = tuple(on_loop)
        self._in_thread = tuple(in_thread)
        self._running: object = None
        starts_anew(self)

    def after_fork(self) -> None:
        """The round that its parent is in is not one of the child's."""
        self._running = None

    def sample(self) -> None:
        """Start one round on the running event loop, unless the last one is not over yet. Never raises.

        Without a loop, or while nobody listens, nothing happens.
        """
        if self._running is None and self._listening() is not NULL:
            self._running = object()
            try:
                self._running = _spawn(self._round)
            except RuntimeError:  # no event loop runs here
                self._running = None

    def close(self) -> None:
        """Stop watching event loop and garbage collector."""
        for probe in self._on_loop:
            close: Callable[[], None] | None = getattr(probe, "close", None)
            if close is not None:
                close()

    def _listening(self) -> MetricSink:
        return process_sink() if self._sink is None else self._sink

    async def _round(self) -> None:
        try:
            self._feed(_ask((*self._on_loop, *added_probes())))
            self._feed(
                await anyio.to_thread.run_sync(
                    _ask, self._in_thread, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
                )
            )
        except Exception as error:  # noqa: BLE001 - a system task of trio must not fail
            report_failure(self, error)
        finally:
            self._running = None

    def _feed(self, readings: Iterable[Reading]) -> None:
        sink = self._listening()
        for metric, value, tags in readings:
            if metric.kind == "counter":
                sink.increment(metric.name, value, tags)
            elif metric.kind == "gauge":
                sink.gauge(metric.name, value, tags)
            else:
                sink.histogram(metric.name, value, tags)


def _ask(probes: Iterable[Probe]) -> list[Reading]:
    found: list[Reading] = []
    for probe in probes:
        try:
            found.extend(probe())
        except Exception as error:  # noqa: BLE001 - it hurts nobody else
            report_failure(probe, error)
    return found


def _spawn(main: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """A task of the event loop's own, without the variables of whoever is running now."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.spawn_system_task(main)
    loop = asyncio.get_running_loop()  # before the coroutine is made, which would else never be awaited
    return loop.create_task(main(), context=Context())
