"""The quota store inside the process: a hard bound on keys, no timers, no scans.

States stand in a dict. A heap holds each key once, with the time at which its client had everything back *when it was
filed*; requests make that time later without touching the heap, so an entry at the top is looked at before it is
believed, and filed again when it has moved. The work of clearing up is spread over the calls, a bounded bit to each.

When the store is full, the client who is nearest to having everything back is forgotten: it loses least. Whoever is
being refused is the furthest from it. So a flood of new keys pushes out other new keys, not the clients that a limit is
holding; should all the keys be held, it is the newcomer that is not remembered.
"""

import time
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from threading import Lock
from typing import Final
from weakref import WeakSet

from asgi_resilience.quota.gcra import Decision, Rules, State, decide

__all__ = ("MemoryQuota", "live_quotas")

_NANOSECONDS: Final = 1_000_000_000
_SWEPT: Final = 2
"""Entries cleared per call: more than one call can add, so that the backlog shrinks."""
_LOOKS: Final = 16
"""Entries looked at to make room: filing that many again is all that one call may cost."""


class MemoryQuota:
    """Counts in this process, and only in this one: N workers admit N times the limit.

    Safe to call from several threads. Nothing in it waits.

    Args:
        max_keys: How many clients are remembered at once, 1 or more; a key costs about 300 bytes. Default 100,000.
        clock: Seconds, monotonic.

    Attributes:
        evicted: How many clients were forgotten before they had everything back, since the start.

    Raises:
        ValueError: `max_keys` is below 1.
    """

    def __init__(self, max_keys: int = 100_000, *, clock: Callable[[], float] = time.monotonic) -> None:
        if max_keys < 1:
            raise ValueError(f"max_keys={max_keys!r}: expected 1 or more")
        self.evicted = 0
        self._max_keys = max_keys
        # The same clock, without the way through a float, where there is one.
        self._now = time.monotonic_ns if clock is time.monotonic else lambda: int(clock() * _NANOSECONDS)
        self._states: dict[str, State] = {}
        self._filed: list[tuple[int, str]] = []
        self._lock = Lock()
        _live.add(self)

    def __len__(self) -> int:
        """How many clients are remembered now."""
        return len(self._states)

    def take(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """Admit a request of the client `key`, or refuse it.

        Args:
            key: Who asks. The same key always comes with the same rules.
            rules: All must admit it; otherwise none is charged.
            cost: What it costs of each, at most the smallest burst.

        Raises:
            ValueError: As `decide`.
        """
        with self._lock:
            now = self._now()
            states, filed = self._states, self._filed
            known = states.get(key)
            decision = decide(rules, known, now, cost)
            if known is not None:
                states[key] = decision.state
            elif len(states) < self._max_keys:
                states[key] = decision.state
                heappush(filed, (max(decision.state), key))
            else:
                self._make_room(key, decision.state, now)
            if filed[0][0] <= now:
                self._sweep(now)
            return decision

    def _sweep(self, now: int) -> None:
        filed, states = self._filed, self._states
        for _ in range(_SWEPT):
            if not filed or filed[0][0] > now:
                return
            key = filed[0][1]
            expiry = max(states[key])
            if expiry > now:
                heapreplace(filed, (expiry, key))
            else:
                heappop(filed)
                del states[key]

    def _make_room(self, key: str, state: State, now: int) -> None:
        filed, states = self._filed, self._states
        for _ in range(_LOOKS):
            expiry, oldest = filed[0]
            actual = max(states[oldest])
            if actual != expiry:
                heapreplace(filed, (actual, oldest))
                continue
            newcomer = max(state)
            self.evicted += min(expiry, newcomer) > now
            if expiry <= newcomer:
                heapreplace(filed, (newcomer, key))
                del states[oldest]
                states[key] = state
            return
        self.evicted += (
            1  # all that were looked at have asked again meanwhile: the newcomer has the least to lose
        )


_live: Final[WeakSet[MemoryQuota]] = WeakSet()


def live_quotas() -> tuple[MemoryQuota, ...]:
    """Every store of this process that is in use, in no order: for those who measure them."""
    return tuple(_live)
