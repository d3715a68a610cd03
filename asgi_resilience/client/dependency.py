"""A dependency: one thing outside of this process that calls are made to, and all that is known about its health.

    fallback(retry(breaker(attempt_timeout(call)))), bounded by the deadline of the request that it is made for

One `Dependency` per real dependency: its breaker, its retry budget and its gate are shared by everyone who calls it. What
differs from call to call (a longer timeout for a transaction, no retry for an insert) is a variant of the same one, made
by `using`.
"""

import copy
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial, wraps
from random import random
from time import perf_counter
from typing import Any, Final, Literal, ParamSpec, TypeVar

from asgi_resilience.client.breaker import PolicyBreaker
from asgi_resilience.client.budget import RetryBudget
from asgi_resilience.client.call import Call
from asgi_resilience.client.classification import Outcome, Verdict, classify
from asgi_resilience.client.degraded import FallbackUse
from asgi_resilience.client.event_metrics import CallOutcome, outcome_of
from asgi_resilience.client.events import Event, Listener
from asgi_resilience.client.fallback import Fallback
from asgi_resilience.client.gate import Gate
from asgi_resilience.client.matrix import DEFAULT_RULES
from asgi_resilience.client.mistakes import check_decorated, refuse_not_callable
from asgi_resilience.client.nested_retries import warn_of_nested_retries
from asgi_resilience.client.registry import DependencyStatus, register
from asgi_resilience.client.retry import RetryPolicy
from asgi_resilience.client.sleepers import Sleepers
from asgi_resilience.client.telemetry import Telemetry
from asgi_resilience.client.time_limit import TimeLimits
from asgi_resilience.client.window import BreakerPolicy
from asgi_resilience.metric_sink import MetricSink

__all__ = ("Dependency",)

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_UNCHANGED: Final[Any] = object()
_LATELY: Final = 10.0  # seconds for which a fallback counts as in use: as long as probes are apart


class Dependency:
    """Calls something that can fail, as well as it can be called.

        postgres = Dependency("postgres", timeout=10.0)
        row = await postgres.call(pool.fetchrow, "SELECT 1")

        @postgres
        async def user(user_id: int) -> User: ...

    Args:
        name: For logs, metrics and headers: a letter, then letters, digits, `_`, `.` and `-`, at most 64 in all.
        timeout: Seconds for each attempt; None: as long as the request's deadline lets it. Default 10.0.
        retry: None: never.
        breaker: None: no circuit breaker.
        fallback: What answers when nothing has helped; several are tried in order.
        listeners: Hear of this dependency's events.
        metrics: Gets this dependency's numbers; None: the sink of `set_metric_sink`.
        rnd: The source of jitter, uniform between 0.0 and 1.0.

    Attributes:
        name: As given.
        retry: As given.
        fallbacks: As given, in order.
        breaker: The circuit breaker: `force_open()`, `force_closed()`, `metrics_only()` and `reset()` rule it by hand.

    Raises:
        ValueError: The name or the timeout is out of its range.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout: float | None = 10.0,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008 - frozen
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - frozen
        fallback: Fallback | Sequence[Fallback] | None = None,
        listeners: Sequence[Listener] = (),
        metrics: MetricSink | None = None,
        rnd: Callable[[], float] = random,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"name={name!r}: expected a letter, then up to 63 letters, digits, '_', '.' and '-'"
            )
        self.name = name
        self.retry = retry
        self.rnd = rnd
        self.limits = _limits(name, timeout)
        self.fallbacks = _fallbacks(fallback)
        self.fallback_use = FallbackUse()
        self.sleepers = Sleepers()
        self.gate = Gate(name, self.sleepers, jitter=0.25 if retry is None else retry.jitter, rnd=rnd)
        self.budget = None if retry is None or retry.budget is None else RetryBudget(retry.budget)
        self.breaker = (
            None if breaker is None else PolicyBreaker(name, breaker, judge=self._judge, emit=self.emit)
        )
        self._telemetry = Telemetry(name, listeners, metrics)
        self._seen: set[type] = set()
        register(self)

    def using(
        self,
        *,
        timeout: float | None = _UNCHANGED,
        retry: RetryPolicy | None = _UNCHANGED,
        fallback: Fallback | Sequence[Fallback] | None = _UNCHANGED,
    ) -> "Dependency":
        """The same dependency for other calls: it shares breaker, budget and gate, and differs in what is given here.

            transaction = postgres.using(timeout=30.0)
            insert = postgres.using(retry=None)

        Raises:
            ValueError: As for the class.
        """
        variant = copy.copy(self)
        if timeout is not _UNCHANGED:
            variant.limits = _limits(self.name, timeout)
        if retry is not _UNCHANGED:
            variant.retry = retry
        if fallback is not _UNCHANGED:
            variant.fallbacks = _fallbacks(fallback)
        return variant

    @property
    def timeout(self) -> float | None:
        """Seconds for each attempt."""
        return self.limits.timeout

    async def call(self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Await `func(*args, **kwargs)` under every policy of this dependency.

        Returns:
            What `func` returned, or a fallback in its place; then `current_request().degraded` names this dependency.

        Raises:
            Exception: What the last attempt raised, unchanged but for a note that tells of the attempts.
            CircuitOpen: The circuit is open; nothing was sent.
            RateLimited: The dependency wants to be left alone for longer than this call can wait; nothing was sent.
            AttemptTimedOut: The last attempt took longer than `timeout`.
            DeadlineExceeded: The request has no time left.
            TypeError: `func` is no async function.
        """
        if not callable(func):
            refuse_not_callable(self.name, func)
        if self.fallbacks or self._telemetry.measured:
            return await self.make(Call(self, func, args, kwargs))
        if self.breaker is not None and self.breaker.shut and not self._telemetry.hears_rejections:
            self.breaker.admit()  # nobody hears of it, so it costs nothing to speak of
        call: Call[R] = Call(self, func, args, kwargs)
        return await call.result()

    def __call__(self, func: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorate an async function, so that every call of it goes through this dependency.

        Raises:
            TypeError: `func` is no async function.
        """
        check_decorated(self.name, func)

        @wraps(func)
        async def through(*args: P.args, **kwargs: P.kwargs) -> R:
            return await self.call(func, *args, **kwargs)

        return through

    def status(self) -> DependencyStatus:
        """How it is doing, for a health check or a status page."""
        breaker = self.breaker
        return DependencyStatus(
            name=self.name,
            state="forced_closed" if breaker is None else breaker.label,
            retry_after=0.0 if breaker is None else breaker.retry_after(),
            failures_in_a_row=0 if breaker is None else breaker.outcomes.streak,
            failure_ratio=None if breaker is None else breaker.outcomes.ratio,
            last_error=None
            if breaker is None or breaker.last_error is None
            else type(breaker.last_error).__qualname__,
            waiting=self.gate.waiting + len(self.sleepers),
        )

    async def health(self) -> Literal["healthy", "degraded", "unhealthy"]:
        """What its circuit breaker and its fallbacks say, for the health layer: asks nobody.

        Unhealthy only while calls are rejected for some more time, and no fallback answers them. Then it is degraded, so
        that a service that gets no traffic while it is unhealthy gets some again: only calls can close the circuit.
        Degraded, too, for 10 s after a fallback has answered.
        """
        fell_back = self.fallback_use.age() < _LATELY
        if self.breaker is not None and self.breaker.retry_after() > 0:
            return "degraded" if self.fallbacks or fell_back else "unhealthy"
        return "healthy" if self.status().healthy and not fell_back else "degraded"

    async def aclose(self) -> None:
        """Shut down: whoever waits for a retry or at the gate gets its error now, and there are no retries any more.

        Attempts that have begun may end. What a fallback has queued is handed back.
        """
        self.sleepers.wake()
        for fallback in self.fallbacks:
            await fallback.aclose()

    # ------------------------------------------------------------------------------------ for the rest of the package

    async def make(self, call: Call[R]) -> R:
        """Make a call with its fallbacks, and count it."""
        if not self._telemetry.measured:
            return await self._answered(call)
        began = perf_counter()
        outcome: CallOutcome = "cancelled"
        try:
            result = await self._answered(call)
            outcome = "degraded" if call.degraded else "ok"
        except Exception as error:
            outcome = outcome_of(self.classify(error), error)
            raise
        finally:
            self._telemetry.call(outcome, perf_counter() - began)
        return result

    def classify(self, error: Exception) -> Verdict:
        """The row of the decision matrix for an error."""
        return classify(error, DEFAULT_RULES if self.retry is None else self.retry.rules)

    def look_below(self, func: Callable[..., Any]) -> None:
        """Warn, once for each kind of client, when what is called retries by itself."""
        owner: object = getattr(func, "__self__", func)
        kind = type(owner)
        if self.retry is not None and kind not in self._seen:
            self._seen.add(kind)
            warn_of_nested_retries(self.name, func)

    def report(self, error: Exception) -> None:
        """A call that was counted as a success has failed after all: its stream broke off."""
        if self.breaker is not None and self._judge(error) is Outcome.FAILURE:
            self.breaker.state.on_failure(error)

    def emit(self, event: Event) -> None:
        """Tell the log, the metrics and the listeners."""
        self._telemetry.emit(event)

    async def _answered(self, call: Call[R]) -> R:
        proceed: Callable[[], Awaitable[R]] = call.result
        for fallback in self.fallbacks:
            proceed = partial(fallback.run, call, proceed)
        return await proceed()

    def _judge(self, error: Exception) -> Outcome:
        return self.classify(error).rule.outcome

    def __repr__(self) -> str:
        state = "no breaker" if self.breaker is None else self.breaker.label
        return f"<Dependency {self.name}: {state}>"


def _limits(name: str, timeout: float | None) -> TimeLimits:
    if timeout is not None and not 0 < timeout < float("inf"):
        raise ValueError(f"timeout={timeout!r} of {name}: expected more than 0 seconds, or None")
    return TimeLimits(name, timeout)


def _fallbacks(fallback: Fallback | Sequence[Fallback] | None) -> tuple[Fallback, ...]:
    if fallback is None:
        return ()
    return (fallback,) if isinstance(fallback, Fallback) else tuple(fallback)
