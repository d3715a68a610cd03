"""The circuit breaker: aiobreaker's state machine with the states that this policy needs.

    closed ──── 5 failures in a row, or half of the last 10 ────▶ open
    open ────── 30 s later, the next call is a probe ───────────▶ half-open
    half-open ─ 3 successes in a row ───────────────────────────▶ closed
    half-open ─ 1 failure, or probes that never end ────────────▶ open

aiobreaker calls `before_call`, `on_success` and `on_failure` of the state that a call started in. Three rules make
outcomes safe under concurrency:

- Each state object owns its counters, and changes the breaker only while it is its state: late outcomes change nothing.
- A call ends in one of three ways. Success and failure are aiobreaker's own; for neutral, `is_system_error` raises the
  call's exception, so that neither of the two is counted and the caller gets what it would have got anyway.
- aiobreaker's clock, the wall clock through a deprecated function, is never reached.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from aiobreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerListener, CircuitBreakerState
from aiobreaker.state import CircuitClosedState, CircuitHalfOpenState, CircuitOpenState

from asgi_resilience.client.classification import Outcome
from asgi_resilience.client.clock import loop_time
from asgi_resilience.client.events import BreakerState, Event, StateChanged, WouldOpen
from asgi_resilience.client.guarded_listener import GuardedListener
from asgi_resilience.client.window import BreakerPolicy, OutcomeWindow

__all__ = ("CircuitOpen", "PolicyBreaker")

_State: TypeAlias = "_Closed | _Open | _HalfOpen"
_PROBING: Final = 1.0  # seconds to name while probes are out; when the verdict falls, nobody knows


class CircuitOpen(CircuitBreakerError):
    """The circuit of `dependency` is open for another `retry_after` seconds: the call was rejected, and nothing was sent.

    `__cause__` is the last error that counted.
    """

    def __init__(self, dependency: str, retry_after: float) -> None:
        self.dependency = dependency
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The message, as aiobreaker's error has it."""
        return f"{self.dependency}: circuit open, tried again in {self.retry_after:.3g} s"

    @property
    def reopen_time(self) -> datetime:
        """When the dependency will be tried again, counted from now."""
        return datetime.now(UTC) + self.time_remaining

    @property
    def time_remaining(self) -> timedelta:
        """`retry_after`, as aiobreaker's error has it."""
        return timedelta(seconds=self.retry_after)


class _Closed(CircuitClosedState):
    """Calls go through, and their outcomes are watched."""

    label: BreakerState = "closed"
    rejected = 0
    _breaker: "PolicyBreaker"

    def __init__(self, breaker: "PolicyBreaker") -> None:
        super().__init__(breaker)
        self.outcomes = OutcomeWindow(breaker.policy)

    def on_success(self) -> None:
        if self._breaker.state is self and (reason := self.outcomes.success()) is not None:
            self._trip(reason)

    def on_failure(self, exception: Exception) -> None:
        if self._breaker.state is self:
            self._breaker.last_error = exception
            if (reason := self.outcomes.failure(self._breaker.clock())) is not None:
                self._trip(reason)

    def _trip(self, reason: str) -> None:
        self._breaker.become(_Open, reason)


class _MetricsOnly(_Closed):
    """Calls go through, and what would have opened the circuit is reported."""

    label: BreakerState = "metrics_only"

    def _trip(self, reason: str) -> None:
        self.outcomes.clear()
        self._breaker.emit(WouldOpen(self._breaker.name, reason))


class _ForcedClosed(_Closed):
    """Calls go through, whatever their outcome."""

    label: BreakerState = "forced_closed"

    def on_success(self) -> None: ...

    def on_failure(self, exception: Exception) -> None: ...


class _Open(CircuitOpenState):
    """Calls are rejected, until the time for probes has come."""

    label: BreakerState = "open"
    _breaker: "PolicyBreaker"

    def __init__(self, breaker: "PolicyBreaker") -> None:
        super().__init__(breaker)
        self.rejected = 0
        self._until = breaker.clock() + breaker.policy.open_for

    def left(self) -> float:
        return min(self._until - self._breaker.clock(), self._breaker.policy.open_for)

    def before_call(self, *_args: Any, **_kwargs: Any) -> None:
        if (left := self.left()) > 0:
            self.rejected += 1
            raise CircuitOpen(self._breaker.name, left) from self._breaker.last_error


class _ForcedOpen(_Open):
    """Calls are rejected, until somebody says otherwise."""

    label: BreakerState = "forced_open"

    def __init__(self, breaker: "PolicyBreaker") -> None:
        super().__init__(breaker)
        self._until = float("inf")


class _HalfOpen(CircuitHalfOpenState):
    """A few calls go through as probes; the others are rejected."""

    label: BreakerState = "half_open"
    _breaker: "PolicyBreaker"

    def __init__(self, breaker: "PolicyBreaker") -> None:
        super().__init__(breaker)
        self.rejected = 0
        self._succeeded = self._flying = 0
        self._until = breaker.clock() + breaker.policy.half_open_for

    async def call_async(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        breaker = self._breaker
        if self._succeeded + self._flying >= breaker.policy.close_after:
            if breaker.state is self and breaker.clock() >= self._until:
                breaker.become(_Open, "probes that did not end")
            self.rejected += 1
            raise CircuitOpen(breaker.name, breaker.retry_after() or _PROBING) from breaker.last_error
        self._flying += 1
        try:
            return await super().call_async(func, *args, **kwargs)
        finally:
            self._flying -= 1

    def on_success(self) -> None:
        if self._breaker.state is self:
            self._succeeded += 1
            if self._succeeded >= self._breaker.policy.close_after:
                self._breaker.become(_Closed, f"{self._succeeded} successes in a row")

    def on_failure(self, exception: Exception) -> None:
        if self._breaker.state is self:
            self._breaker.last_error = exception
            self._breaker.become(_Open, "a probe failed")


class PolicyBreaker(CircuitBreaker):
    """An aiobreaker circuit breaker that follows a `BreakerPolicy`.

    Args:
        name: Of the dependency.
        policy: When it opens and closes.
        judge: What an exception says about the dependency.
        emit: Hears of every change of state, after it.
        clock: Monotonic seconds; default: the running event loop's.
    """

    listeners: tuple[GuardedListener, ...] = ()
    shut = False  # open; `admit` tells whether its time is over

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy = BreakerPolicy(),  # noqa: B008 - frozen
        *,
        judge: Callable[[Exception], Outcome] = lambda _: Outcome.FAILURE,
        emit: Callable[[Event], None] = lambda _: None,
        clock: Callable[[], float] = loop_time,
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.emit = emit
        self.last_error: Exception | None = None  # that counted as a failure
        self._judge = judge
        self._now: _State = _Closed(self)
        super().__init__(policy.failures_in_a_row, timedelta(seconds=policy.open_for), name=name)

    @property
    def state(self) -> _State:
        """The state object that calls go through."""
        return self._now

    @property
    def current_state(self) -> CircuitBreakerState:
        """The state, by aiobreaker's name; the forced ones count as what they do."""
        return self._now.state

    @property
    def opens_at(self) -> datetime | None:
        """When the dependency will be tried again; None unless the circuit is open. Aware, in UTC."""
        left = self.time_until_open
        return None if left is None else datetime.now(UTC) + left

    @property
    def time_until_open(self) -> timedelta | None:
        """How long until the dependency will be tried again; None unless the circuit is open."""
        return timedelta(seconds=self.retry_after()) if isinstance(self._now, _Open) else None

    def is_system_error(self, exception: Exception) -> bool:
        """Whether `exception` is a failure of the dependency. Raises `exception` itself when it says nothing about it."""
        outcome = self._judge(exception)
        if outcome is Outcome.NEUTRAL or (outcome is Outcome.ANSWERED and isinstance(self._now, _HalfOpen)):
            raise exception
        return outcome is Outcome.FAILURE

    def add_listener(self, listener: CircuitBreakerListener) -> None:
        """Register an aiobreaker listener; what it raises is reported once and changes nothing."""
        self.listeners = (*self.listeners, GuardedListener(listener))

    def remove_listener(self, listener: CircuitBreakerListener) -> None:
        """Unregister a listener; nothing happens when it is none."""
        self.listeners = tuple(each for each in self.listeners if each.listener is not listener)

    def open(self) -> None:
        """Reject calls for `open_for` seconds."""
        self.become(_Open, "opened by hand")

    def half_open(self) -> None:
        """Let probes through."""
        self.become(_HalfOpen, "time for probes")

    def close(self) -> None:
        """Let calls through, and forget what was."""
        self.become(_Closed, "closed by hand")

    @property
    def label(self) -> BreakerState:
        """The name of the state."""
        return self._now.label

    def retry_after(self) -> float:
        """Seconds until a call may get through; 0.0 unless the circuit is open."""
        return max(0.0, self._now.left()) if isinstance(self._now, _Open) else 0.0

    @property
    def outcomes(self) -> OutcomeWindow:
        """The outcomes that the present state has seen; empty unless calls go through."""
        return self._now.outcomes if isinstance(self._now, _Closed) else OutcomeWindow(self.policy)

    def admit(self) -> None:
        """Raise `CircuitOpen` as an open circuit does to a call, unless its time is over."""
        if isinstance(self._now, _Open):
            self._now.before_call()

    def force_open(self) -> None:
        """Reject every call until `reset`."""
        self.become(_ForcedOpen, "forced")

    def force_closed(self) -> None:
        """Let every call through until `reset`, whatever happens."""
        self.become(_ForcedClosed, "forced")

    def metrics_only(self) -> None:
        """Let every call through until `reset`, and report what would have opened the circuit."""
        self.become(_MetricsOnly, "forced")

    def reset(self) -> None:
        """Start again: closed, with nothing remembered."""
        self.become(_Closed, "reset")

    def become(self, state: type[_State], reason: str) -> None:
        """Change the state, then tell of it: whoever hears of it finds the breaker in its new state."""
        old, self._now = self._now, state(self)
        self.shut = isinstance(self._now, _Open)
        if isinstance(self._now, _Closed):
            self.last_error = None
        self._state_storage.state = self._now.state
        for listener in self.listeners:
            listener.state_change(self, old, self._now)
        self.emit(StateChanged(self.name, old.label, self._now.label, reason, old.rejected))
