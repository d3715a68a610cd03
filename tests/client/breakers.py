"""What the tests of the circuit breaker share."""

import asyncio

import pytest

from asgi_resilience.client import Outcome
from asgi_resilience.client.breaker import CircuitOpen


class NeutralError(Exception):
    """Says nothing about the dependency."""


class MissingError(Exception):
    """The dependency answered."""


def judge(error):
    """By class."""
    kinds = {NeutralError: Outcome.NEUTRAL, MissingError: Outcome.ANSWERED}
    return kinds.get(type(error), Outcome.FAILURE)


async def succeed():
    return "value"


async def fail(error=OSError):
    raise error


async def failing(breaker, times=1, error=OSError):
    """Let calls fail."""
    for _ in range(times):
        with pytest.raises(error):
            await breaker.call_async(fail, error)


class Gates:
    """Calls that end when they are told to."""

    def __init__(self, breaker):
        self._breaker = breaker
        self._ends = []
        self.tasks = []

    async def begin(self, count=1):
        """Begin calls; a rejected one is over."""
        for _ in range(count):
            end = asyncio.get_running_loop().create_future()
            self._ends.append(end)

            async def wait(end=end):
                return await end

            self.tasks.append(asyncio.create_task(self._breaker.call_async(wait)))
        await asyncio.sleep(0)

    async def end(self, number, error=None):
        """End one of them."""
        if error is None:
            self._ends[number].set_result(number)
        else:
            self._ends[number].set_exception(error)
        await asyncio.wait((self.tasks[number],))
        return self.tasks[number].exception()

    @property
    def rejected(self):
        """How many were rejected."""
        return sum(each.done() and isinstance(each.exception(), CircuitOpen) for each in self.tasks)
