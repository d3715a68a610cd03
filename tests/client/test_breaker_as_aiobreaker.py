"""The breaker for those who know aiobreaker: its names, its errors, its listeners."""

import asyncio
import pickle
from datetime import UTC, timedelta

import pytest
from aiobreaker import CircuitBreakerListener, CircuitBreakerState

from asgi_resilience.client.breaker import CircuitOpen
from asgi_resilience.context import failures
from tests.client.breakers import failing, succeed

pytestmark = pytest.mark.anyio


class Listener(CircuitBreakerListener):
    """Keeps what it hears, and raises if it is told to."""

    def __init__(self, error=None):
        self.heard = []
        self._error = error

    def _hear(self, *what):
        self.heard.append(what)
        if self._error is not None:
            raise self._error

    def before_call(self, breaker, func, *args, **kwargs):
        self._hear("before_call")

    def failure(self, breaker, exception):
        self._hear("failure", type(exception))

    def success(self, breaker):
        self._hear("success")

    def state_change(self, breaker, old, new):
        self._hear("state_change", old.state.name, new.state.name, breaker.current_state.name)


async def test_aiobreakers_own_surface(breaker):
    """Who knows aiobreaker finds its names: open, half_open, close, and the state's name."""
    assert (breaker.current_state, breaker.opens_at, breaker.time_until_open) == (
        CircuitBreakerState.CLOSED,
        None,
        None,
    )
    breaker.open()
    assert breaker.current_state is CircuitBreakerState.OPEN
    assert breaker.time_until_open == timedelta(seconds=30)
    assert breaker.opens_at.tzinfo is UTC
    breaker.half_open()
    assert breaker.current_state is CircuitBreakerState.HALF_OPEN
    breaker.close()
    assert breaker.current_state is CircuitBreakerState.CLOSED
    assert (breaker.name, breaker.fail_max, breaker.timeout_duration) == ("db", 5, timedelta(seconds=30))


async def test_aiobreakers_listeners(breaker):
    """A listener of aiobreaker's hears of calls and states, and finds the breaker in its new state."""
    listener = Listener()
    breaker.add_listener(listener)
    await breaker.call_async(succeed)
    await failing(breaker, 5)
    assert listener.heard[:4] == [("before_call",), ("success",), ("before_call",), ("failure", OSError)]
    assert listener.heard[-1] == ("state_change", "CLOSED", "OPEN", "OPEN")
    breaker.remove_listener(listener)
    breaker.reset()
    assert listener.heard[-1] == ("state_change", "CLOSED", "OPEN", "OPEN")


async def test_a_listener_that_raises(breaker):
    """A listener's exception changes no outcome; it is counted."""
    before = failures.get("Listener", 0)
    breaker.add_listener(Listener(RuntimeError("listener")))
    assert await breaker.call_async(succeed) == "value"
    await failing(breaker, 5)
    assert breaker.label == "open"
    assert failures["Listener"] - before == 2 + 5 * 2 + 1


async def test_arguments_named_like_aiobreakers(breaker):
    """Keyword arguments go to the function, also those that are called `breaker` and `exception`."""

    async def echo(**kwargs):
        return kwargs

    assert await breaker.call_async(echo, breaker=1, exception=2) == {"breaker": 1, "exception": 2}


async def test_the_rejection_can_be_pickled():
    """A rejection survives the way to another process."""
    copy = pickle.loads(pickle.dumps(CircuitOpen("db", 3.0)))
    assert (copy.dependency, copy.retry_after, str(copy)) == ("db", 3.0, str(CircuitOpen("db", 3.0)))


async def test_waiting_for_it(breaker):
    """The method `sleep_until_open` of aiobreaker sleeps for the time left, in every time zone."""
    await CircuitOpen("db", 12.5).sleep_until_open()
    assert asyncio.get_running_loop().time() == 12.5
