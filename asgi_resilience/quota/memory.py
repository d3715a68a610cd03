"""The quota store inside the process: a hard bound on keys, no timers, no scans.

States stand in a dict. A heap holds each key once, with the time at which its client had everything back *when it was
filed*; requests make that time later without touching the heap, so an entry at the top is looked at before it is
believed, and filed again when it has moved. The work of clearing up is spread over the calls, a bounded bit to each.

When the store is full, the client who is nearest to having everything back is forgotten: it loses least. Whoever is
being refused is the furthest from it. So a flood of new keys pushes out other new keys, not the clients that a limit is
holding, unless there is nothing else: should all the keys be held, the newcomer itself is not remembered.
"""

import time
from collections.abc import Callable
from heapq import heappop, heappush, heappushpop, heapreplace
from threading import Lock
from typing import Final

from asgi_resilience.quota.gcra import Decision, Rules, State, decide

__all__ = ("MemoryQuota",)

_NANOSECONDS: Final = 1_000_000_000
_SWEPT: Final = 2
"""Entries cleared per call: more than one call can add, so that the backlog shrinks."""
_LOOKS: Final = 16
"""Entries looked at before one is forgotten to make room."""


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
        self._clock = clock
        self._states: dict[str, State] = {}
        self._filed: list[tuple[int, str]] = []
        self._lock = Lock()

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
            now = int(self._clock() * _NANOSECONDS)
            known = self._states.get(key)
            decision = decide(rules, known, now, cost)
            self._states[key] = decision.state
            filed = self._filed
            if known is None:
                expiry = max(decision.state)
                if len(self._states) > self._max_keys:
                    self._forget(heappushpop(filed, (expiry, key)), now)
                else:
                    heappush(filed, (expiry, key))
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

    def _forget(self, candidate: tuple[int, str], now: int) -> None:
        filed, states = self._filed, self._states
        for _ in range(_LOOKS):
            expiry = max(states[candidate[1]])
            if expiry == candidate[0]:
                break
            candidate = heappushpop(filed, (expiry, candidate[1]))
        del states[candidate[1]]
        if candidate[0] > now:
            self.evicted += 1
