"""Retries: how long to wait before the next attempt, and backoff's loop that waits and tries again.

backoff asks a wait generator for each delay and sends it the exception; a generator that returns means: give up. That is
the whole use made of it. Its own limits (`max_tries`, `max_time`), its jitter and its logger stay off: they count wall
clock time, shorten a `Retry-After`, and can be turned into endless retries by a `TypeError`.
"""

import asyncio
import inspect
import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import random
from typing import Any, Final, Protocol

import backoff

from asgi_resilience.client.budget import BudgetPolicy
from asgi_resilience.client.classification import Rule, Verdict
from asgi_resilience.client.matrix import DEFAULT_RULES

__all__ = ("Retried", "RetryPolicy", "retry")

_logger: Final = logging.getLogger("asgi_resilience.client")
_VERSION: Final = "2.2.1"
_DOUBLINGS: Final = 60
"""More of them overflow nothing, and exceed every cap."""
_REMOVED: Final = "iscoroutinefunction"
_TIMER_SLACK: Final = 0.005
"""Seconds added to what a server asks for: its clock and ours tick differently, and early is worse than late."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failed attempts are repeated.

    Attributes:
        rules: The decision matrix; the first rule that matches decides.
        max_retries: An upper bound over all rules; None (the default): only theirs.
        base: Seconds of the first wait; default 0.1.
        cap: The longest wait of our own, in seconds, jitter included; default 5.0. A `Retry-After` is not cut to it.
        jitter: The share by which a wait varies; default 0.25. A `Retry-After` is only ever lengthened.
        max_retry_after: A call that is asked to wait for more seconds gives up at once; default 60.0.
        budget: How much of the load may be retries; None: no limit.

    Raises:
        ValueError: A value is out of its range.
    """

    rules: tuple[Rule, ...] = field(default=DEFAULT_RULES, repr=False)
    max_retries: int | None = None
    base: float = 0.1
    cap: float = 5.0
    jitter: float = 0.25
    max_retry_after: float = 60.0
    budget: BudgetPolicy | None = field(default_factory=BudgetPolicy)

    def __post_init__(self) -> None:
        if self.max_retries is not None and self.max_retries < 0:
            raise ValueError(
                f"max_retries={self.max_retries!r}: expected 0 or more; it counts attempts after the first"
            )
        for name in ("base", "cap", "max_retry_after"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r}: expected more than 0 seconds")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter={self.jitter!r}: expected 0.0 to below 1.0")

    def retries(self, rule: Rule) -> int:
        """How many retries a rule may have under this policy."""
        return rule.max_retries if self.max_retries is None else min(rule.max_retries, self.max_retries)

    def delay(self, verdict: Verdict, retried: int, rnd: Callable[[], float] = random) -> float:
        """Seconds to wait after a failure.

        Args:
            verdict: What was decided about it.
            retried: Retries made so far.
            rnd: Uniform between 0.0 and 1.0.
        """
        rule, asked = verdict.rule, verdict.facts.retry_after
        base = self.base if rule.base is None else rule.base
        if rule.backoff == "immediate":
            own = 0.0
        else:
            factor = 2.0 ** min(retried, _DOUBLINGS) if rule.backoff == "exponential" else retried + 1.0
            own = min(self.cap, min(self.cap, base * factor) * (1 + self.jitter * (2 * rnd() - 1)))
        if not asked:
            return own
        return max(own, asked * (1 + self.jitter * rnd()) + _TIMER_SLACK)


class Retried(Protocol):
    """What is repeated: one call, which knows its own history."""

    async def again(self) -> Any:
        """Make the next attempt; the first time, raise the error of the attempt that was made before."""
        ...

    def next_delay(self, error: Exception) -> float | None:
        """Seconds until the next attempt; None: give up, `error` is final."""
        ...

    async def before_sleep(self, error: Exception) -> None:
        """The sleep between two attempts begins."""
        ...


async def retry(call: Retried) -> Any:
    """Repeat a call whose first attempt has failed, until it succeeds or its error is final."""
    token = _call.set(call)
    try:
        return await _again(call)
    finally:
        _call.reset(token)


_call: ContextVar[Retried] = ContextVar("asgi_resilience.client.retried")


def _delays(call: Retried) -> Generator[float, Any, None]:
    delay: float | None = 0.0  # what the first, empty send of backoff gets
    while delay is not None:
        error = yield delay
        delay = call.next_delay(error)
        # A generator that holds the exception while it sleeps makes a ring of exception, traceback and frame.
        del error


async def _before_sleep(details: Any) -> None:
    await details["args"][0].before_sleep(details["exception"])


@contextmanager
def _decorating() -> Generator[None]:
    """Let backoff ask `asyncio.iscoroutinefunction`, which Python deprecates from 3.14 and lacks from 3.16."""
    missing = not hasattr(asyncio, _REMOVED)
    if missing:
        setattr(asyncio, _REMOVED, inspect.iscoroutinefunction)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f".*{_REMOVED}", DeprecationWarning)
            yield
    finally:
        if missing:
            delattr(asyncio, _REMOVED)


if backoff.__version__ != _VERSION:  # a fork installs itself under the same name
    _logger.warning(
        "backoff is %s instead of %s; retries were tested with the latter", backoff.__version__, _VERSION
    )

with _decorating():
    # Once for all calls: decorating costs several times what a retry does. backoff calls `_call.get` for each call.
    @backoff.on_exception(
        _delays, Exception, jitter=None, logger=None, on_backoff=_before_sleep, call=_call.get
    )
    async def _again(call: Retried) -> Any:
        return await call.again()
