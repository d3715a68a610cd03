"""The threads that blocking calls run in: when all are busy, `def` endpoints and `to_thread` wait in line."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import anyio.to_thread

from asgi_resilience.metric_names import (
    RUNTIME_THREAD_POOL_BUSY,
    RUNTIME_THREAD_POOL_SIZE,
    RUNTIME_THREAD_POOL_WAITING,
    RUNTIME_THREADS,
)
from asgi_resilience.telemetry.runtime.probes import Reading

__all__ = ("thread_pools",)


def thread_pools() -> Iterator[Reading]:
    """The limiter of anyio, which Starlette's `def` endpoints share, and the default executor of an asyncio loop.

    The executor is only known once it was used, and not at all on uvloop, which hides it.
    """
    yield Reading(RUNTIME_THREADS, threading.active_count())
    limiter = anyio.to_thread.current_default_thread_limiter()
    yield from _pool(
        "anyio", limiter.total_tokens, limiter.borrowed_tokens, limiter.statistics().tasks_waiting
    )
    trio: Any = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        # There is no public way to the executor, nor to its numbers: where one of these is missing, so are they.
        executor: Any = getattr(asyncio.get_running_loop(), "_default_executor", None)
        try:
            idle = executor._idle_semaphore._value  # noqa: SLF001 - as said
            busy = len(executor._threads) - idle  # noqa: SLF001 - as said
            size, waiting = executor._max_workers, executor._work_queue.qsize()  # noqa: SLF001 - as said
        except AttributeError:
            return
        yield from _pool("executor", size, busy, waiting)


def _pool(name: str, size: float, busy: int, waiting: int) -> Iterator[Reading]:
    tags = (f"pool:{name}",)
    yield Reading(RUNTIME_THREAD_POOL_SIZE, size, tags)
    yield Reading(RUNTIME_THREAD_POOL_BUSY, busy, tags)
    yield Reading(RUNTIME_THREAD_POOL_WAITING, waiting, tags)
