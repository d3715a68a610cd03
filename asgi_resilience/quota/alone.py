"""What a process decides by itself while it can't ask how much the others have admitted."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import ceil
from typing import Final, Literal, TypeAlias, get_args

from asgi_resilience.quota.gcra import Decision, Rules, decide
from asgi_resilience.quota.memory import MemoryQuota

__all__ = ("Alone", "WhenLost", "scaled", "seen_as")

WhenLost: TypeAlias = Literal["local", "open", "closed"]
_SECOND: Final = 1_000_000_000


class Alone:
    """The quota store for the time without the shared one.

    Args:
        when_lost: `"local"`: hold every client to a share of its limit; `"open"`: admit everything; `"closed"`: refuse
            everything, each time for a second.
        share: Of the limit and the burst, for `"local"`: above 0, at most 1.
        clock: Seconds, monotonic.

    Raises:
        ValueError: An option is out of its range; it names the option of the shared store.
    """

    def __init__(
        self, when_lost: WhenLost, share: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if when_lost not in get_args(WhenLost):
            raise ValueError(f"when_lost={when_lost!r}: expected 'local', 'open' or 'closed'")
        if not 0 < share <= 1:
            raise ValueError(f"local_share={share!r}: expected above 0, at most 1")
        self._share = share
        self._quota = MemoryQuota(clock=clock)
        self._policy = {"local": self._local, "open": _admit, "closed": _refuse}[when_lost]

    def take(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """Admit a request of the client `key`, or refuse it."""
        return self._policy(key, rules, cost)

    def _local(self, key: str, rules: Rules, cost: int) -> Decision:
        part = scaled(rules, self._share)
        most = min(rule.tolerance // rule.interval for rule in part)
        return seen_as(rules, self._quota.take(key, part, min(cost, most)))


def _admit(_: str, rules: Rules, cost: int) -> Decision:
    return decide(rules, None, time.monotonic_ns(), cost)


def _refuse(_: str, rules: Rules, _cost: int) -> Decision:
    now = time.monotonic_ns()
    return Decision(rules, tuple(now + rule.tolerance for rule in rules), now, _SECOND)


@lru_cache(maxsize=256)
def scaled(rules: Rules, share: float) -> Rules:
    """The same rules with this share of the limit and of the burst, each at least 1."""
    return tuple(
        replace(
            rule,
            limit=max(1, int(rule.limit * share)),
            burst=None if rule.burst is None else max(1, ceil(rule.burst * share)),
        )
        for rule in rules
    )


def seen_as(rules: Rules, decision: Decision) -> Decision:
    """A decision of scaled rules in terms of the whole ones: as many are left, and the wait is the same."""
    state = tuple(
        decision.now + rule.tolerance - decision.remaining_of(index) * rule.interval
        for index, rule in enumerate(rules)
    )
    return Decision(rules, state, decision.now, decision.wait)
