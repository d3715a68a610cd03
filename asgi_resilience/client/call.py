"""One logical call: its attempts, what became of each, and whether there is another one.

    retry(breaker(attempt_timeout(func)))

The first attempt is made without backoff; only when it has failed, and its rule allows a retry at all, does the call
hand itself to backoff's loop.
"""

from asyncio import AbstractEventLoop, CancelledError, get_running_loop
from collections.abc import Awaitable, Callable, Hashable, Mapping
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.deadline import DeadlineExceeded, current_deadline
from asgi_resilience.client.events import (
    AttemptFailed,
    BudgetExhausted,
    GateClosed,
    GaveUp,
    GiveUpReason,
    Rejected,
    RejectionReason,
    RetryScheduled,
)
from asgi_resilience.client.faults import faulty, injected
from asgi_resilience.client.gate import RateLimited
from asgi_resilience.client.mistakes import refuse_not_awaitable
from asgi_resilience.client.retry import retry
from asgi_resilience.context import current_request

if TYPE_CHECKING:
    from asgi_resilience.client.classification import Verdict
    from asgi_resilience.client.dependency import Dependency
    from asgi_resilience.client.own_cancel import OwnCancel

__all__ = ("Call",)

R = TypeVar("R")

_NOTE: Final = "asgi_resilience: "


class Call(Generic[R]):
    """A call of `func` through a dependency.

    Attributes:
        dependency: The dependency.
        func: What is called.
        args: With these.
        kwargs: And these.
        attempts: How many were made.
        verdict: What was decided about the last failure.
        degraded: A fallback has answered.
    """

    # Most calls succeed at once, and never need more than these defaults.
    attempts = 0
    degraded = False
    verdict: "Verdict | None" = None
    _began = 0.0
    _failed: Exception | None = None
    _context: BaseException | None = None
    _sleeper: "OwnCancel | None" = None

    def __init__(
        self,
        dependency: "Dependency",
        func: Callable[..., Awaitable[R]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.dependency = dependency
        self.func = func
        self.args = args
        self.kwargs = kwargs

    async def result(self) -> R:
        """Make the call: attempt it, and retry as the policy says.

        Raises:
            Exception: What the last attempt raised, unchanged but for a note.
        """
        dependency, attempts = self.dependency, self.attempts
        loop = get_running_loop()
        now = loop.time()
        if not attempts:
            self._began = now
            if dependency.budget is not None:
                dependency.budget.deposit(now)
        try:
            record = current_request()
            deadline = None if record is None else record.deadline
            if deadline is not None and now >= deadline:
                raise DeadlineExceeded(dependency.name)  # noqa: TRY301 - a rejection is handled like any other failure
            if now < dependency.gate.closed_until:
                now = await dependency.gate.wait(now, self._patience(now, deadline), loop.time)
            if dependency.breaker is None:
                return await self._timed(loop, now, deadline)
            return await dependency.breaker.state.call_async(self._timed, loop, now, deadline)
        except Exception as error:
            self._context = error.__context__
            self.verdict = dependency.classify(error)
            if self.attempts == attempts:
                self._rejected(error)
            else:
                self._attempt_failed(error, now)
            if attempts or dependency.retry is None or not dependency.retry.retries(self.verdict.rule):
                raise
            self._failed = error
        return await self._retried()

    async def _timed(self, loop: AbstractEventLoop, now: float, deadline: float | None) -> R:
        self.attempts += 1
        with self.dependency.limits.start(loop, now, deadline):
            if injected and (plan := injected.get(self.dependency.name)) is not None:
                return await faulty(plan, self.dependency.name, self.func, self.args, self.kwargs)
            awaitable = self.func(*self.args, **self.kwargs)
            kind: type = type(awaitable)
            if kind is not CoroutineType and not isawaitable(awaitable):
                refuse_not_awaitable(self.dependency.name, self.func, awaitable)
            return await awaitable

    def _patience(self, now: float, deadline: float | None) -> float | None:
        """Until when to wait at the gate: as long as for a retry."""
        policy = self.dependency.retry
        if policy is None:
            return deadline
        longest = now + policy.max_retry_after
        return longest if deadline is None else min(longest, deadline)

    def _rejected(self, error: Exception) -> None:
        reason: RejectionReason = "circuit_open"
        if isinstance(error, DeadlineExceeded):
            reason = "deadline"
        elif isinstance(error, RateLimited):
            reason = "rate_limited"
        self.dependency.emit(Rejected(self.dependency.name, reason, getattr(error, "retry_after", None)))

    def _attempt_failed(self, error: Exception, began: float) -> None:
        dependency, now = self.dependency, loop_time()
        dependency.look_below(self.func)
        assert self.verdict is not None
        rule, asked = self.verdict.rule, self.verdict.facts.retry_after
        dependency.emit(
            AttemptFailed(dependency.name, self.attempts, error, rule.name, rule.outcome, now - began)
        )
        if rule.shared_wait and asked and dependency.gate.close(asked, now):
            dependency.emit(GateClosed(dependency.name, asked))

    # ------------------------------------------------------------------------------------------------ and the others

    async def _retried(self) -> R:
        dependency = self.dependency
        try:
            result: R = await retry(self)
        except CancelledError:
            # A shutdown ends the sleep between two attempts; everyone else's cancellation goes on.
            if self._sleeper is None or not self._sleeper.fired or not self._sleeper.settle():
                raise
        except Exception as error:
            error.__context__ = self._context  # backoff raises it while it handles its generator's end
            raise
        else:
            return result
        finally:
            dependency.sleepers.leave(self._sleeper)
        try:
            assert self._failed is not None
            self._give_up(self._failed, "shutdown", loop_time())
            raise self._failed
        finally:
            self._failed = (
                None  # a call that holds its exception makes a ring of exception, traceback and frame
            )

    @property
    def identity(self) -> Hashable:
        """What makes two calls the same call: the function and all its arguments."""
        return (self.func, self.args, tuple(sorted(self.kwargs.items())))

    async def again(self) -> R:
        """Make the next attempt; the first time, raise the error of the attempt that was made before."""
        if self._sleeper is None:
            assert self._failed is not None
            try:
                raise self._failed
            finally:
                self._failed = None
        self.dependency.sleepers.leave(self._sleeper)
        self._failed = None
        return await self.result()

    async def before_sleep(self, error: Exception) -> None:
        """The sleep between two attempts begins."""
        self._failed = error
        self._sleeper = self.dependency.sleepers.enter()

    def next_delay(self, error: Exception) -> float | None:
        """Seconds until the next attempt; None: give up, `error` is final."""
        dependency, policy, verdict, now = self.dependency, self.dependency.retry, self.verdict, loop_time()
        assert policy is not None
        assert verdict is not None
        asked, deadline = verdict.facts.retry_after, current_deadline()
        delay = policy.delay(verdict, self.attempts - 1, dependency.rnd)
        reason = self._reason_to_give_up(error, delay, now, deadline)
        if reason is not None:
            if policy.retries(verdict.rule):
                self._give_up(error, reason, now)
            return None
        if asked and deadline is not None:
            delay = min(delay, asked + (deadline - now - asked) / 2)
        dependency.emit(RetryScheduled(dependency.name, self.attempts + 1, delay, verdict.rule.name, asked))
        return delay

    def may_be_repeated(self, error: Exception) -> bool:  # noqa: ARG002 - for calls that know more
        """Whether making the same call again, after `error`, does no harm."""
        return True

    def _reason_to_give_up(
        self, error: Exception, delay: float, now: float, deadline: float | None
    ) -> GiveUpReason | None:
        dependency, policy, verdict = self.dependency, self.dependency.retry, self.verdict
        assert policy is not None
        assert verdict is not None
        asked, breaker = verdict.facts.retry_after, dependency.breaker
        if self.attempts > policy.retries(verdict.rule):
            return "retries_exhausted"
        if not self.may_be_repeated(error):
            return "not_replayable"
        if dependency.sleepers.closed:
            return "shutdown"
        if breaker is not None and breaker.retry_after() > delay:
            return "circuit_open"  # the next attempt would be rejected; this error says more
        if asked is not None and asked > policy.max_retry_after:
            return "retry_after_too_long"
        if deadline is not None and now + (asked or delay) >= deadline:
            return "deadline"
        if dependency.budget is not None and not dependency.budget.withdraw(now):
            dependency.emit(BudgetExhausted(dependency.name, self.attempts + 1))
            return "budget_exhausted"
        return None

    def _give_up(self, error: Exception, reason: GiveUpReason, now: float) -> None:
        dependency = self.dependency
        assert self.verdict is not None
        elapsed = now - self._began
        dependency.emit(
            GaveUp(dependency.name, self.attempts, reason, error, elapsed, self.verdict.facts.retry_after)
        )
        if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
            error.add_note(
                f"{_NOTE}{dependency.name}: gave up after {self.attempts} attempt(s) in {elapsed:.3f} s: "
                f"{reason.replace('_', ' ')}"
            )
