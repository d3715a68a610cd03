"""The breaker against a model of it: any order of calls, ends and pauses leaves both in the same state."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from asgi_resilience.client.breaker import CircuitOpen, PolicyBreaker
from asgi_resilience.client.classification import Outcome

SUCCESS, FAILURE, NEUTRAL, ANSWERED = Outcome


class Model:
    """What the breaker is, in a few lines: no concurrency, no library."""

    def __init__(self):
        self.become("closed", 0.0)

    def become(self, state, now):
        self.state, self.since, self.generation = state, now, object()
        self.outcomes, self.flying, self.good = [], 0, 0

    def admit(self, now):
        if self.state == "open" and now >= self.since + 30:
            self.become("half_open", now)
        if self.state == "half_open" and self.flying + self.good >= 3:
            if now >= self.since + 30:
                self.become("open", now)
            return None
        self.flying += 1
        return None if self.state == "open" else self.generation

    def end(self, generation, outcome, now):
        if generation is not self.generation:
            return
        self.flying -= 1
        if self.state == "half_open" and outcome is SUCCESS:
            self.good += 1
            if self.good == 3:
                self.become("closed", now)
        elif self.state == "half_open" and outcome is FAILURE:
            self.become("open", now)
        elif self.state == "closed" and outcome is not NEUTRAL:
            self.outcomes.append(outcome is FAILURE)
            last = self.outcomes[-10:]
            if self.outcomes[-5:] == [True] * 5 or (len(last) == 10 and sum(last) >= 5):
                self.become("open", now)


class Raised(Exception):
    """Carries what it says about the dependency."""

    def __init__(self, outcome):
        self.outcome = outcome


class Breaker(RuleBasedStateMachine):
    """Drives both."""

    calls = Bundle("calls")

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.model = Model()
        self.runner = asyncio.Runner()
        self.breaker = PolicyBreaker("db", judge=lambda error: error.outcome, clock=lambda: self.now)

    def teardown(self):
        self.runner.close()

    @rule(target=calls)
    def begin(self):
        """A call begins; it is admitted by both, or by neither."""
        generation = self.model.admit(self.now)

        async def begun():
            end = asyncio.get_running_loop().create_future()

            async def call():
                return await end

            task = asyncio.create_task(self.breaker.call_async(call))
            await asyncio.sleep(0)
            return task, end

        task, end = self.runner.run(begun())
        rejected = task.done() and isinstance(task.exception(), CircuitOpen)
        assert rejected == (generation is None)
        return task, end, generation

    @rule(call=consumes(calls), outcome=st.sampled_from((SUCCESS, FAILURE, NEUTRAL, ANSWERED, None)))
    def end(self, call, outcome):
        """A call ends, or is cancelled."""
        task, end, generation = call
        if generation is None:
            return

        async def ended():
            if outcome is None:
                task.cancel()
            elif outcome is SUCCESS:
                end.set_result(None)
            else:
                end.set_exception(Raised(outcome))
            await asyncio.wait((task,))
            return task.cancelled() or task.exception()

        self.runner.run(ended())
        heard = (
            NEUTRAL
            if outcome is None or (outcome is ANSWERED and self.model.state == "half_open")
            else outcome
        )
        self.model.end(generation, heard, self.now)

    @rule(seconds=st.sampled_from((1.0, 10.0, 29.0, 30.0)))
    def wait(self, seconds):
        """Time passes."""
        self.now += seconds

    @rule(outcome=st.sampled_from((SUCCESS, FAILURE)), times=st.integers(1, 6))
    def burst(self, outcome, times):
        """Several calls, one after the other."""
        for _ in range(times):
            call = self.begin()
            self.end(call, outcome)

    @invariant()
    def same_state(self):
        """Both are in the same state."""
        assert self.breaker.label == self.model.state


Breaker.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestBreaker(Breaker.TestCase):
    """The breaker is what its model says."""
