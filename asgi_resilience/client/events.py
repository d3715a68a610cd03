"""What happens to outbound calls, as values: one frozen type per thing that can happen.

A listener is a function of one event. It hears of what has happened and can't change it: what it raises is reported once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from asgi_resilience.client.classification import Outcome

__all__ = (
    "AttemptFailed",
    "BreakerState",
    "BudgetExhausted",
    "Event",
    "FallbackUsed",
    "GateClosed",
    "GaveUp",
    "GiveUpReason",
    "Listener",
    "Rejected",
    "RejectionReason",
    "RetryScheduled",
    "StateChanged",
    "WouldOpen",
)

BreakerState: TypeAlias = Literal[
    "closed", "open", "half_open", "forced_open", "forced_closed", "metrics_only"
]
RejectionReason: TypeAlias = Literal["circuit_open", "rate_limited", "deadline"]
GiveUpReason: TypeAlias = Literal[
    "retries_exhausted",
    "budget_exhausted",
    "circuit_open",
    "deadline",
    "retry_after_too_long",
    "not_replayable",
    "shutdown",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a call.

    Attributes:
        dependency: The name of the dependency.
    """

    dependency: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """One attempt ended in an error.

    Attributes:
        attempt: 1 is the first.
        error: What was raised. It is about to go to the caller: read it, keep it not.
        rule: The row of the decision matrix.
        outcome: What the breaker heard.
        duration: Seconds.
    """

    attempt: int
    error: Exception
    rule: str
    outcome: Outcome
    duration: float


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """Another attempt will be made.

    Attributes:
        attempt: The one that will be made.
        delay: Seconds until then.
        rule: The row of the decision matrix.
        retry_after: Seconds that the dependency asked for, if it did.
    """

    attempt: int
    delay: float
    rule: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetExhausted(Event):
    """A retry was suppressed: retries are too large a share of the load already.

    Attributes:
        attempt: The one that was not made.
    """

    attempt: int


@dataclass(frozen=True, slots=True)
class GateClosed(Event):
    """The dependency asked to be left alone, and all its callers obey.

    Attributes:
        seconds: For how long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """The circuit breaker changed its state.

    Attributes:
        old: Before.
        new: After.
        reason: Why.
        rejected: How many calls were turned away in the state that ended.
    """

    old: BreakerState
    new: BreakerState
    reason: str
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class WouldOpen(Event):
    """A breaker that only measures would have opened.

    Attributes:
        reason: Why.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected(Event):
    """A call was turned away before anything was sent.

    Attributes:
        reason: Why.
        retry_after: Seconds after which a call may get through; None: unknown.
    """

    reason: RejectionReason
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class FallbackUsed(Event):
    """A fallback answered in place of the dependency.

    Attributes:
        fallback: Its class.
        error: What it stood in for; None: an error of a moment ago, after which no attempt was made.
    """

    fallback: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class GaveUp(Event):
    """A call that could have been retried ended in its error.

    Attributes:
        attempts: How many were made.
        reason: Why there is not another one.
        error: What the caller gets.
        elapsed: Seconds since the call began.
        retry_after: Seconds that the dependency asked for, if it did.
    """

    attempts: int
    reason: GiveUpReason
    error: Exception
    elapsed: float
    retry_after: float | None = None


Listener: TypeAlias = Callable[[Event], None]
