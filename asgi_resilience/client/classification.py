"""Which failure means what: rules as data, the first that matches decides.

A rule says everything about one kind of error at once: how often to retry it, how long to wait in between, and what
the circuit breaker hears of it. The table itself stands in `matrix`; a service puts its own rules in front:

    RetryPolicy(rules=(Rule("quota spent", errors=("acme.QuotaExhausted",), max_retries=0), *DEFAULT_RULES))
"""

import enum
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary

from asgi_resilience.client.facts import Facts, facts_of

__all__ = ("Backoff", "Outcome", "Rule", "Verdict", "classify")

Backoff: TypeAlias = Literal["exponential", "linear", "immediate"]

_BACKOFFS: Final = ("exponential", "linear", "immediate")


class Outcome(enum.Enum):
    """What an attempt tells the circuit breaker about its dependency."""

    SUCCESS = "success"
    """It works."""
    FAILURE = "failure"
    """It does not."""
    NEUTRAL = "neutral"
    """Nothing: the attempt never reached it, or ended for reasons of the caller's."""
    ANSWERED = "answered"
    """It answered, but did not do the work (404, a constraint violation): a success while the circuit is closed, neutral
    while it is half-open, where only work that is done may close it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the decision matrix.

    A rule matches when one of its conditions holds; `when` must hold in addition where it is given.

    Attributes:
        name: For events and logs.
        max_retries: Attempts after the first. 0: never. Judged against all retries of the call, so that rules never
            multiply.
        backoff: `"exponential"`: base · 2ⁿ; `"linear"`: base · (n + 1); `"immediate"`: no wait. n counts retries from 0.
        base: Seconds; None: the policy's.
        outcome: What the breaker hears.
        errors: Exception classes, or their dotted names, so that no driver needs to be imported. Subclasses match.
        statuses: HTTP statuses.
        codes: The service's own error codes.
        sqlstates: SQLSTATEs, of five characters, or classes, of two.
        when: A predicate on the exception; alone, it is the condition.
        shared_wait: `Retry-After` holds back every caller of the dependency, not just this one.
        bug: The error is a mistake in the program: no fallback hides it.

    Raises:
        ValueError: `max_retries` is negative, or `base` is not positive, or `backoff` is unknown.
    """

    name: str
    max_retries: int
    backoff: Backoff = "exponential"
    base: float | None = None
    outcome: Outcome = Outcome.FAILURE
    errors: tuple[type[BaseException] | str, ...] = ()
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    sqlstates: frozenset[str] = frozenset()
    when: Callable[[BaseException], bool] | None = None
    shared_wait: bool = False
    bug: bool = False

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(f"max_retries={self.max_retries!r} of rule {self.name!r}: expected 0 or more")
        if self.base is not None and not 0 < self.base < float("inf"):
            raise ValueError(f"base={self.base!r} of rule {self.name!r}: expected more than 0 seconds")
        if self.backoff not in _BACKOFFS:
            raise ValueError(
                f"backoff={self.backoff!r} of rule {self.name!r}: expected one of {', '.join(_BACKOFFS)}"
            )

    def matches(self, error: BaseException, facts: Facts, names: AbstractSet[str]) -> bool:
        """Whether this rule is about `error`, whose class and bases have these dotted `names`."""
        conditions = self.errors or self.statuses or self.codes or self.sqlstates
        if conditions and not (
            (facts.status is not None and facts.status in self.statuses)
            or (facts.code is not None and facts.code in self.codes)
            or (
                facts.sqlstate is not None
                and not self.sqlstates.isdisjoint((facts.sqlstate, facts.sqlstate[:2]))
            )
            or any(
                each in names if isinstance(each, str) else isinstance(error, each) for each in self.errors
            )
        ):
            return False
        return bool(self.when(error)) if self.when is not None else bool(conditions)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one failure.

    Attributes:
        rule: The row that matched.
        facts: What the exception told.
    """

    rule: Rule
    facts: Facts


UNKNOWN: Final = Rule("unknown error", max_retries=0)
"""What no rule knows is not retried, and counts against the dependency."""


def classify(error: BaseException, rules: Sequence[Rule]) -> Verdict:
    """Find the first rule that matches.

    An `ExceptionGroup` is judged by its leaves: retried only if every leaf would be, as often as the least of them, and
    a failure of the dependency if any leaf is one.
    """
    if isinstance(error, BaseExceptionGroup):
        return _classify_group(cast("BaseExceptionGroup[BaseException]", error).exceptions, rules)
    facts = facts_of(error)
    names = _names(type(error))
    for rule in rules:
        if rule.matches(error, facts, names):
            return Verdict(rule, facts)
    return Verdict(UNKNOWN, facts)


def _classify_group(leaves: Sequence[BaseException], rules: Sequence[Rule]) -> Verdict:
    verdicts = [classify(each, rules) for each in leaves]
    least = min(verdicts, key=lambda verdict: (verdict.rule.max_retries, not verdict.rule.bug))
    if any(each.rule.outcome is Outcome.FAILURE for each in verdicts):
        return replace(least, rule=replace(least.rule, outcome=Outcome.FAILURE))
    return least


_known_names: Final["WeakKeyDictionary[type, frozenset[str]]"] = WeakKeyDictionary()


def _names(kind: type) -> frozenset[str]:
    names = _known_names.get(kind)
    if names is None:
        names = frozenset(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
        _known_names[kind] = names
    return names
