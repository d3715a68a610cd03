"""A stage of our own work: a time limit, and fallbacks, like any dependency.

It has no circuit breaker and repeats nothing, because what it is made of does. An error that has a code already is an
answer, and goes through it as it is.
"""

from collections.abc import Sequence
from typing import Final

from asgi_resilience import AppError
from asgi_resilience.client import DEFAULT_RULES, Dependency, Fallback, Outcome, RetryPolicy, Rule

__all__ = ("stage",)

_ANSWER = Rule("has a code already", max_retries=0, outcome=Outcome.ANSWERED, errors=(AppError,))
_NO_RETRIES: Final = RetryPolicy(rules=(_ANSWER, *DEFAULT_RULES), max_retries=0)


def stage(name: str, *, seconds: float, fallback: Sequence[Fallback] = ()) -> Dependency:
    """A stage that may take so many seconds."""
    return Dependency(name, timeout=seconds, retry=_NO_RETRIES, breaker=None, fallback=fallback)
