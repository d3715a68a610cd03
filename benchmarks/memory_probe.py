"""One measurement of memory in a fresh process: `python -m benchmarks.memory_probe NAME ARGUMENTS`; prints JSON."""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def resident() -> int:
    """Bytes of memory that the process has now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import resource

    return pages * resource.getpagesize()


def imported(modules: str) -> dict[str, Any]:
    """The import of some modules."""
    gc.disable()
    before, began = resident(), time.process_time()
    for module in modules.split(","):
        import_module(module)
    seconds = time.process_time() - began
    return {"seconds": seconds, "resident": resident() - before, "modules": sorted(sys.modules)}


def opened(count: str, which: str) -> float:
    """Bytes per request while so many are open at once, each waiting for the same event."""
    import asyncio

    from benchmarks.subject import everything, hello, http_scope, log_to_nowhere, receive, send

    log_to_nowhere()

    async def run() -> float:
        event = asyncio.Event()

        async def patient(scope: Any, receive: Any, send: Any) -> None:
            await event.wait()
            await hello(scope, receive, send)

        app = (
            everything(patient, rate_limit="1000000/minute", timeout=3600.0) if which == "stack" else patient
        )

        async def burst(size: int) -> float:
            before = tracemalloc.get_traced_memory()[0]
            tasks = [asyncio.create_task(app(http_scope(), receive, send)) for _ in range(size)]
            await asyncio.sleep(0.05)
            held = tracemalloc.get_traced_memory()[0] - before
            event.set()
            await asyncio.gather(*tasks)
            event.clear()
            return held

        await burst(100)
        tracemalloc.start()
        return await burst(int(count)) / int(count)

    return asyncio.run(run())


def served(count: str) -> dict[str, float]:
    """How much memory so many requests leave behind, and how many objects only the garbage collector frees."""
    import asyncio

    from benchmarks.subject import everything, log_to_nowhere, request_of
    from benchmarks.timing import serve

    log_to_nowhere()

    async def run() -> dict[str, float]:
        request = request_of(everything(rate_limit="1000000/minute"))
        await serve(request, 20_000)  # every one of the 4,096 clients has asked
        gc.collect()
        before = resident()
        await serve(request, int(count))
        gc.collect()
        growth = resident() - before
        gc.disable()
        await serve(request, 1000)
        return {"growth": growth, "garbage": gc.collect() * int(count) / 1000}

    return asyncio.run(run())


def clients(count: str) -> dict[str, float]:
    """What the quotas of so many clients leave behind."""
    from asgi_resilience.quota.gcra import RateLimit
    from asgi_resilience.quota.memory import MemoryQuota

    quota, rules = MemoryQuota(), (RateLimit.parse("100/minute"),)
    before = resident()
    for number in range(int(count)):
        quota.take(f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", rules)
    return {"growth": resident() - before, "kept": len(quota)}


PROBES: dict[str, Callable[..., Any]] = {
    "import": imported,
    "open": opened,
    "served": served,
    "clients": clients,
}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])))
