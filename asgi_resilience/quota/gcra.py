"""The rate-limit algorithm, apart from time, storage and HTTP: GCRA, the generic cell rate algorithm.

A limit of 100 per minute is one request each 600 ms (the interval), of which up to `burst` may come early at once (the
tolerance: burst × interval). The whole state of a client is one number, the theoretical arrival time: when it would
have used up everything it took, had it kept to the interval.

    tat = max(tat, now) + interval              what the request would make of it
    tat - now ≤ tolerance                       admitted, and tat is kept; otherwise refused, and nothing is spent
    (tolerance - (tat - now)) // interval       requests left
    tat - tolerance                             when a refused one would be admitted

In any span of t seconds at most burst + t/interval requests are admitted. Times are whole nanoseconds, so that the last
request of a burst is not lost to rounding. ATM Forum, Traffic Management 4.0 (af-tm-0056), §4.4.2.
"""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Protocol, TypeAlias

__all__ = ("AsyncQuotaStore", "Decision", "QuotaStore", "RateLimit", "Rules", "State", "decide")

_FORM = re.compile(
    r"\s*([0-9]{1,10})\s*/\s*(s|seconds?|m|minutes?|h|hours?|d|days?)\s*", re.ASCII | re.IGNORECASE
)
_UNITS: Final = {"s": ("second", 1.0), "m": ("minute", 60.0), "h": ("hour", 3600.0), "d": ("day", 86400.0)}
_NAMES: Final = {seconds: name for name, seconds in _UNITS.values()}
_NANOSECONDS: Final = 1_000_000_000
_MOST: Final = 1_000_000_000
_SHORTEST, _LONGEST = 0.001, 366 * 86400.0
_FASTEST: Final = 1_000_000
"""Requests a second; above it the rounding of the interval to whole nanoseconds would show."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` requests in `per` seconds, evenly refilled; at most `burst` of them at once.

    Attributes:
        limit: Requests, 1 to 1,000,000,000; at most a million per second.
        per: Seconds, 0.001 to a year.
        burst: How many may come at once after a pause, 1 to 1,000,000,000. None: as many as `limit`.
        name: What clients and logs call it. None: `second`, `minute`, `hour` or `day`, else the seconds, as in `90s`.
        interval: Nanoseconds in which one request is earned back, rounded up.
        tolerance: Nanoseconds that a full burst is worth.

    Raises:
        ValueError: A value is out of range; it names the attribute, the value and the range.
    """

    limit: int
    per: float
    burst: int | None = None
    name: str | None = None
    interval: int = field(init=False, repr=False, compare=False)
    tolerance: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_count("limit", self.limit)
        if not (isfinite(self.per) and _SHORTEST <= self.per <= _LONGEST):
            raise ValueError(f"per={self.per!r}: expected {_SHORTEST} to {_LONGEST:.0f} seconds")
        if self.limit > self.per * _FASTEST:
            raise ValueError(f"limit={self.limit!r} per {self.per!r} s: expected at most {_FASTEST} a second")
        if self.burst is not None:
            _check_count("burst", self.burst)
        if self.name is not None and not self.name:
            raise ValueError("name='': expected a name, or None for one that follows from `per`")
        interval = -(-round(self.per * _NANOSECONDS) // self.limit)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "tolerance", interval * (self.burst or self.limit))
        if self.name is None:
            object.__setattr__(self, "name", _NAMES.get(self.per) or f"{self.per:g}s")

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """A limit in words: `"100/minute"`; units are second, minute, hour and day, also plural or as s, m, h, d.

        Raises:
            ValueError: The text has another form, or a number that is out of range; it names the text and the form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"rate limit {text!r}: expected 'N/second', 'N/minute', 'N/hour' or 'N/day'")
        try:
            return cls(int(match[1]), _UNITS[match[2][0].lower()][1])
        except ValueError as error:
            raise ValueError(f"rate limit {text!r}: {error}") from None

    @classmethod
    def parse_many(cls, text: str) -> "Rules":
        """Limits that hold together: `"10/second, 100/minute"`.

        Raises:
            ValueError: As `parse`.
        """
        return tuple(cls.parse(part) for part in text.split(","))


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ValueError(f"{name}={value!r}: expected a whole number from 1 to {_MOST}")


Rules: TypeAlias = tuple[RateLimit, ...]
State: TypeAlias = tuple[int, ...]
"""The theoretical arrival times of one client, in nanoseconds: one for each rule, in their order."""


class Decision:
    """What became of one request, and what is left.

    Attributes:
        rules: The rules that were asked.
        state: What to keep of this client, after an admission and after a refusal.
        now: When, in nanoseconds.
        wait: Nanoseconds after which a refused request will be admitted, if nothing else is; 0: it is admitted.
    """

    __slots__ = ("now", "rules", "state", "wait")

    def __init__(self, rules: Rules, state: State, now: int, wait: int) -> None:
        self.rules = rules
        self.state = state
        self.now = now
        self.wait = wait

    @property
    def allowed(self) -> bool:
        """Whether the request is admitted."""
        return not self.wait

    @property
    def retry_after(self) -> float:
        """Seconds after which a refused request will be admitted; 0.0 for an admitted one."""
        return self.wait / _NANOSECONDS

    @property
    def remaining(self) -> int:
        """How many more requests would be admitted now: the fewest that any rule has left."""
        return min(map(self.remaining_of, range(len(self.rules))))

    @property
    def reset_after(self) -> float:
        """Seconds after which a client that asks for nothing more has everything back."""
        return (max(self.state) - self.now) / _NANOSECONDS

    def remaining_of(self, index: int) -> int:
        """How many requests one rule has left."""
        rule = self.rules[index]
        return (rule.tolerance - self.state[index] + self.now) // rule.interval

    def __repr__(self) -> str:
        return f"<Decision {'allowed' if self.allowed else 'refused'} remaining={self.remaining} retry_after={self.retry_after}>"


def decide(rules: Rules, state: State | None, now: int, cost: int = 1) -> Decision:
    """Whether a request that costs `cost` is admitted at `now` (nanoseconds); pure.

    All rules must admit it, and only then does it spend anything of any of them. `state` is None for a client that is
    not known: it has everything. An arrival time further ahead than the tolerance means that the clock went back; it
    is taken for a burst just used up, so that a client waits an interval and not for the clock to catch up.

    Raises:
        ValueError: `cost` is below 1, or above the burst of a rule and can never be admitted.
    """
    if cost != 1:
        _check_cost(rules, cost)
    if state is None:
        return Decision(rules, tuple([now + cost * rule.interval for rule in rules]), now, 0)
    if len(rules) == 1:  # nearly always, and at less than half the cost without the list
        rule, tat = rules[0], state[0]
        spent = (tat if tat > now else now) + cost * rule.interval  # noqa: FURB136 - a call would cost more than all this
        if spent - now <= rule.tolerance:
            return Decision(rules, (spent,), now, 0)
        return _refuse(rules, state, now, cost)
    spends: list[int] = []
    for rule, tat in zip(rules, state, strict=True):
        spent = max(tat, now) + cost * rule.interval
        if spent - now > rule.tolerance:
            return _refuse(rules, state, now, cost)
        spends.append(spent)
    return Decision(rules, tuple(spends), now, 0)


def _refuse(rules: Rules, state: State, now: int, cost: int) -> Decision:
    held: list[int] = []
    wait = 0
    for rule, tat in zip(rules, state, strict=True):
        ahead = tat - now
        if ahead < 0:
            ahead = 0
        elif ahead > rule.tolerance:  # the clock went back
            ahead = rule.tolerance
        held.append(now + ahead)
        wait = max(wait, ahead + cost * rule.interval - rule.tolerance)
    return Decision(rules, tuple(held), now, wait)


def _check_cost(rules: Rules, cost: int) -> None:
    most = min(rule.tolerance // rule.interval for rule in rules)
    if not 1 <= cost <= most:
        raise ValueError(f"cost={cost!r}: expected 1 to {most}, the smallest burst")


class QuotaStore(Protocol):
    """Where the states are kept, when that takes no waiting; `take` decides and records in one step."""

    def take(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """Admit a request of the client `key`, or refuse it. The same key always comes with the same rules."""
        ...


class AsyncQuotaStore(Protocol):
    """Where the states are kept, when that takes waiting, as for a store that several machines share."""

    async def take_async(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """As `QuotaStore.take`."""
        ...
