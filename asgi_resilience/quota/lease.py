"""Tokens that a process takes in advance, a batch at a time, and spends without asking anybody.

A batch is what the client has lately used in one lease, so a busy client costs one question in that time, and a quiet one a
question each time. What was taken counts as used at once: the shared limit is never exceeded by what is asked of it. But
tokens may be spent later than they were taken, so in any span of time the processes together admit at most as many
requests more than the limit as they held tokens at its beginning. Tokens that were not spent expire with their lease.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final

from asgi_resilience.quota.gcra import Decision, Rules

__all__ = ("Leases", "Reserve")

_NANOSECONDS: Final = 1_000_000_000
_LONGEST: Final = 3600.0
_SHORTEST: Final = 0.1
"""Of a lease: a rate that was measured for a shorter time says little, and would take too much."""

Reserve = Callable[[str, Rules, int, int], Awaitable[tuple[int, Decision]]]
"""Asks the shared store for at least so many tokens and at most so many; how many it gave, and its decision."""


class _Question:
    """A question to the shared store that is on its way, for those who wait for the same answer."""

    __slots__ = ("answered", "error", "waiting")

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.error: Exception | None = None
        self.waiting = 0


class _Lease:
    __slots__ = ("expires", "left", "question", "refused", "refused_cost", "since", "synced", "used")

    def __init__(self) -> None:
        self.question: _Question | None = None
        self.left = self.used = 0
        self.since = self.expires = 0.0
        self.synced: Decision | None = None
        self.refused = 0.0
        self.refused_cost = 1

    def spend(self, cost: int, now: float) -> Decision | None:
        """Spend tokens of one's own, or know that there are none to be had; None: ask."""
        synced = self.synced
        if synced is None:
            return None
        if self.left >= cost and now < self.expires:
            self.left -= cost
            self.used += cost
            return self._decision(synced, now, 0)
        if now < self.refused and cost >= self.refused_cost:
            return self._decision(synced, now, ceil((self.refused - now) * _NANOSECONDS))
        return None

    def keep(self, granted: int, decision: Decision, cost: int, now: float, seconds: float) -> Decision:
        """Take over what the shared store has given, and spend of it what was asked for."""
        self.synced = decision
        self.since, self.expires = now, now + seconds
        self.left, self.used = max(0, granted - cost), min(granted, cost)
        self.refused, self.refused_cost = now + decision.retry_after, cost
        return self._decision(decision, now, decision.wait)

    def _decision(self, synced: Decision, now: float, wait: int) -> Decision:
        """What the shared store would say: its last word, as if what is left here had not been taken."""
        moment = synced.now + round((now - self.since) * _NANOSECONDS)
        state = tuple(
            max(moment, tat - self.left * rule.interval)
            for tat, rule in zip(synced.state, synced.rules, strict=True)
        )
        return Decision(synced.rules, state, moment, wait)


class Leases:
    """The tokens that this process holds, for asyncio.

    Args:
        reserve: Asks the shared store.
        seconds: For how long tokens may be spent: above 0, at most an hour.
        share: Of the smallest burst, how much a lease takes at most, but for those who wait already: above 0, at most 1.
        max_keys: How many clients are remembered, 1 or more.
        clock: Seconds, monotonic.

    Raises:
        ValueError: An option is out of its range; it names the option of the shared store.
    """

    def __init__(
        self,
        reserve: Reserve,
        *,
        seconds: float = 1.0,
        share: float = 0.02,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < seconds <= _LONGEST:
            raise ValueError(f"lease={seconds!r}: expected seconds above 0, at most an hour")
        if not 0 < share <= 1:
            raise ValueError(f"lease_share={share!r}: expected above 0, at most 1")
        if max_keys < 1:
            raise ValueError(f"max_keys={max_keys!r}: expected 1 or more")
        self._reserve = reserve
        self._seconds = seconds
        self._share = share
        self._max_keys = max_keys
        self._clock = clock
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered now."""
        return len(self._leases)

    def outstanding(self, key: str) -> int:
        """How many tokens of a client may still be spent here."""
        lease = self._leases.get(key)
        return lease.left if lease is not None and self._clock() < lease.expires else 0

    async def take(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """Admit a request of the client `key`, or refuse it; asks the shared store when no token is left.

        Whoever comes while the question is on its way waits for the same answer, also when it is a failure.

        Raises:
            Exception: What the shared store raises.
        """
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease()
            if len(self._leases) > self._max_keys:
                self._leases.popitem(last=False)
        while True:
            decision = lease.spend(cost, self._clock())
            if decision is not None:
                return decision
            question = lease.question
            if question is None:
                return await self._renew(lease, key, rules, cost)
            question.waiting += cost
            await question.answered.wait()
            if question.error is not None:
                raise question.error

    async def _renew(self, lease: _Lease, key: str, rules: Rules, cost: int) -> Decision:
        question = lease.question = _Question()
        try:
            # Who has come in this turn of the event loop is to be asked for, too.
            await asyncio.sleep(0)
            want = max(cost + question.waiting, self._worth(lease, rules))
            granted, decision = await self._reserve(key, rules, cost, want)
        except Exception as error:
            question.error = error
            raise
        finally:
            lease.question = None
            question.answered.set()
        if key in self._leases:
            self._leases.move_to_end(key)
        return lease.keep(granted, decision, cost, self._clock(), self._seconds)

    def _worth(self, lease: _Lease, rules: Rules) -> int:
        """How many tokens the client will use in a lease, as far as it may have them in advance."""
        lasted = max(_SHORTEST * self._seconds, self._clock() - lease.since)
        most = self._share * min(rule.tolerance // rule.interval for rule in rules)
        return int(min(lease.used * self._seconds / lasted, most))
