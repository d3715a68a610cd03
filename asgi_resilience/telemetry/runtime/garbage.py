"""How long the garbage collector stops everything."""

import gc
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter

from asgi_resilience.metric_names import RUNTIME_GC_COLLECTIONS, RUNTIME_GC_PAUSE_MAX, RUNTIME_GC_PAUSE_TOTAL
from asgi_resilience.telemetry.runtime.probes import Reading

__all__ = ("GarbagePauses",)


class GarbagePauses:
    """Times each collection, from the first time that it is asked.

    The collector calls it at both ends of each collection, in whichever thread that happens; two never overlap.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._watching = False
        self._forget()

    def _forget(self) -> None:
        self._collections = [0] * len(gc.get_count())
        self._total = self._longest = 0.0

    def __call__(self) -> Iterator[Reading]:
        """The collections since the last time; nothing at first."""
        if not self._watching:
            self._watching = True
            gc.callbacks.append(self._collecting)
            return
        collections, total, longest = self._collections, self._total, self._longest
        self._forget()
        for generation, number in enumerate(collections):
            yield Reading(RUNTIME_GC_COLLECTIONS, number, (f"generation:{generation}",))
        yield Reading(RUNTIME_GC_PAUSE_TOTAL, 1000 * total)
        yield Reading(RUNTIME_GC_PAUSE_MAX, 1000 * longest)

    def close(self) -> None:
        """Stop watching."""
        if self._watching:
            self._watching = False
            gc.callbacks.remove(self._collecting)
            self._began = None
            self._forget()

    def _collecting(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = self._clock()
        elif self._began is not None:  # else it began before it was watched
            pause = self._clock() - self._began
            self._collections[info["generation"]] += 1
            self._total += pause
            self._longest = max(self._longest, pause)
