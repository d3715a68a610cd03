"""The circuit breaker: its states, its three outcomes, and what stock aiobreaker gets wrong."""

import asyncio
import pickle
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from aiobreaker import CircuitBreakerError, CircuitBreakerListener, CircuitBreakerState

from asgi_resilience.client import BreakerPolicy, Outcome
from asgi_resilience.client.breaker import CircuitOpen, PolicyBreaker
from asgi_resilience.client.events import StateChanged, WouldOpen
from asgi_resilience.context import failures

pytestmark = pytest.mark.anyio


class NeutralError(Exception):
    """Says nothing about the dependency."""


class MissingError(Exception):
    """The dependency answered."""


def judge(error):
    """By class."""
    kinds = {NeutralError: Outcome.NEUTRAL, MissingError: Outcome.ANSWERED}
    return kinds.get(type(error), Outcome.FAILURE)


@pytest.fixture
def emitted():
    """What the breaker has said."""
    return []


@pytest.fixture
def breaker(clock, emitted):
    """A breaker of the default policy."""
    return PolicyBreaker("db", judge=judge, emit=emitted.append, clock=clock)


async def succeed():
    return "value"


async def fail(error=OSError):
    raise error


async def failing(breaker, times=1, error=OSError):
    """Let calls fail."""
    for _ in range(times):
        with pytest.raises(error):
            await breaker.call_async(fail, error)


async def test_five_failures_open_it(breaker, emitted):
    """The fifth failure in a row opens the circuit, and its caller sees the original exception."""
    await failing(breaker, 4)
    assert breaker.label == "closed"
    await failing(breaker)
    assert breaker.label == "open"
    assert emitted == [StateChanged("db", "closed", "open", "5 failures in a row", 0)]


@pytest.mark.parametrize("odd", [True, False])
async def test_half_of_ten_opens_it(breaker, odd):
    """Five failures among ten calls open it at the tenth, be that a failure or a success."""
    for number in range(10):
        assert breaker.label == "closed"
        if number % 2 == odd:
            await failing(breaker)
        else:
            await breaker.call_async(succeed)
    assert breaker.label == "open"


async def test_a_rejected_call(breaker):
    """While it is open, nothing is called; the rejection names the time left, and the last real error as its cause."""
    await failing(breaker, 5)
    breaker.clock.now = 10.0
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(pytest.fail, "called")
    assert (rejected.value.dependency, rejected.value.retry_after) == ("db", 20.0)
    assert isinstance(rejected.value, CircuitBreakerError)
    assert isinstance(rejected.value.__cause__, OSError)
    assert str(rejected.value) == rejected.value.message == "db: circuit open, tried again in 20 s"
    assert rejected.value.time_remaining == timedelta(seconds=20)
    assert abs(rejected.value.reopen_time - datetime.now(UTC) - timedelta(seconds=20)) < timedelta(seconds=5)


async def test_the_rejection_can_be_pickled():
    """A rejection survives the way to another process."""
    copy = pickle.loads(pickle.dumps(CircuitOpen("db", 3.0)))
    assert (copy.dependency, copy.retry_after, str(copy)) == ("db", 3.0, str(CircuitOpen("db", 3.0)))


async def test_waiting_for_it(breaker):
    """The method `sleep_until_open` of aiobreaker sleeps for the time left, in every time zone."""
    await CircuitOpen("db", 12.5).sleep_until_open()
    assert asyncio.get_running_loop().time() == 12.5


async def test_three_successes_close_it(breaker, emitted):
    """After thirty seconds the next calls are probes; the third success in a row closes the circuit."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    labels = []
    for _ in range(4):
        await breaker.call_async(succeed)
        labels.append(breaker.label)
    assert labels == ["half_open", "half_open", "closed", "closed"]
    assert breaker.last_error is None
    assert [(each.old, each.new, each.reason) for each in emitted[1:]] == [
        ("open", "half_open", "time for probes"),
        ("half_open", "closed", "3 successes in a row"),
    ]


async def test_one_failed_probe_opens_it_again(breaker):
    """A probe that fails opens the circuit for its whole time again; its caller sees its exception."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    await breaker.call_async(succeed)
    await failing(breaker, error=TimeoutError)
    assert (breaker.label, breaker.retry_after()) == ("open", 30.0)
    assert isinstance(breaker.last_error, TimeoutError)


@pytest.mark.parametrize(
    ("close_after", "outcomes", "label"),
    [
        (1, "S", "closed"),
        (1, "F", "open"),
        (2, "S", "half_open"),
        (2, "SS", "closed"),
        (2, "SF", "open"),
        (3, "SSS", "closed"),
        (3, "SSF", "open"),
        (3, "SNSAS", "closed"),
        (3, "NNNNAAAA", "half_open"),
        (3, "NSF", "open"),
        (5, "SSSS", "half_open"),
    ],
)
async def test_probes(clock, close_after, outcomes, label):
    """Thresholds and outcomes of probes, as other breakers publish them: success, failure, neutral, a mere answer."""
    policy = BreakerPolicy(close_after=close_after)
    breaker = PolicyBreaker("db", policy, judge=judge, clock=clock)
    breaker.half_open()
    for outcome in outcomes:
        if outcome == "S":
            await breaker.call_async(succeed)
        else:
            await failing(breaker, error={"F": OSError, "N": NeutralError, "A": MissingError}[outcome])
    assert breaker.label == label


async def test_closed_again_it_starts_from_nothing(breaker):
    """What happened before the circuit opened no longer counts when it is closed again."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    for _ in range(3):
        await breaker.call_async(succeed)
    await failing(breaker, 4)
    assert breaker.label == "closed"


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


async def test_three_of_a_herd_get_through(breaker):
    """Of five hundred calls at the moment of half-open, three are probes and the others are rejected."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    herd = Gates(breaker)
    await herd.begin(500)
    assert herd.rejected == 497
    assert herd.tasks[3].exception().retry_after == 1.0
    for number in range(3):
        await herd.end(number)
    assert breaker.label == "closed"


async def test_probes_are_never_more_than_successes_needed(breaker):
    """A success takes its place for good: with one of three done, two may be in flight."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    herd = Gates(breaker)
    await herd.begin(10)
    assert herd.rejected == 8
    await herd.end(0)
    await herd.end(1)
    assert breaker.label == "closed"


async def test_a_cancelled_probe_gives_its_place_back(breaker):
    """Probes that are cancelled say nothing, and others may take their place."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    herd = Gates(breaker)
    await herd.begin(3)
    for task in herd.tasks:
        task.cancel()
    await asyncio.wait(herd.tasks)
    for _ in range(3):
        await breaker.call_async(succeed)
    assert breaker.label == "closed"


@pytest.mark.parametrize("error", [NeutralError, MissingError])
async def test_a_probe_that_says_nothing_gives_its_place_back(breaker, error):
    """A neutral error, or a mere answer, neither closes nor opens a half-open circuit."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    await failing(breaker, 20, error)
    assert breaker.label == "half_open"
    for _ in range(3):
        await breaker.call_async(succeed)
    assert breaker.label == "closed"


async def test_probes_that_never_end(breaker):
    """Probes that hang for `half_open_for` seconds count as a failure: the circuit opens, and is probed again later."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    hanging = Gates(breaker)
    await hanging.begin(3)
    breaker.clock.now = 59.0
    with pytest.raises(CircuitOpen):
        await breaker.call_async(succeed)
    assert breaker.label == "half_open"
    breaker.clock.now = 60.0
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(succeed)
    assert (breaker.label, rejected.value.retry_after) == ("open", 30.0)
    breaker.clock.now = 90.0
    await breaker.call_async(succeed)
    for number in range(3):
        await hanging.end(number, OSError())
    assert breaker.label == "half_open"


async def test_a_late_success_does_not_close(breaker):
    """A probe of an earlier half-open state changes nothing when it ends in a later one."""
    await failing(breaker, 5)
    breaker.clock.now = 30.0
    early = Gates(breaker)
    await early.begin(3)
    await early.end(0, OSError())
    assert breaker.label == "open"
    await early.end(1)
    assert (breaker.label, breaker.retry_after()) == ("open", 30.0)
    breaker.clock.now = 60.0
    await breaker.call_async(succeed)
    await breaker.call_async(succeed)
    await early.end(2)
    assert breaker.label == "half_open"


async def test_late_failures_do_not_prolong(breaker, emitted):
    """Calls that began while it was closed, and fail while it is open, neither open it again nor make it longer."""
    stragglers = Gates(breaker)
    await stragglers.begin(8)
    for number in range(5):
        await stragglers.end(number, OSError())
    breaker.clock.now = 20.0
    for number in range(5, 8):
        await stragglers.end(number, TimeoutError())
    assert breaker.retry_after() == 10.0
    assert isinstance(breaker.last_error, OSError)
    assert not isinstance(breaker.last_error, TimeoutError)
    assert len(emitted) == 1


async def test_a_late_outcome_of_an_earlier_closed_state(breaker):
    """A call that began before a reset is not counted after it."""
    early = Gates(breaker)
    await early.begin(4)
    breaker.reset()
    for number in range(4):
        await early.end(number, OSError())
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_neutral_errors_are_not_counted(breaker):
    """A neutral error neither breaks a streak nor adds to it, and reaches the caller unchanged."""
    await failing(breaker, 4)
    await failing(breaker, 50, NeutralError)
    assert breaker.label == "closed"
    await failing(breaker)
    assert breaker.label == "open"


async def test_answers_are_successes_while_closed(breaker):
    """A dependency that says no to a request is well: its answer ends a streak."""
    await failing(breaker, 4)
    await failing(breaker, 1, MissingError)
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_cancellations_are_not_counted(breaker):
    """A cancelled call says nothing, and its cancellation goes on."""
    calls = Gates(breaker)
    await calls.begin(20)
    for task in calls.tasks:
        task.cancel()
    await asyncio.wait(calls.tasks)
    assert all(task.cancelled() for task in calls.tasks)
    assert breaker.label == "closed"
    assert breaker.outcomes.streak == 0


async def test_a_rejection_does_not_grow(breaker):
    """The thousandth rejection has as long a traceback as the first, and so has its cause."""
    await failing(breaker, 5)
    lengths = set()
    for _ in range(1000):
        try:
            await breaker.call_async(succeed)
        except CircuitOpen as error:
            cause = error.__cause__
            lengths.add(
                (
                    len(traceback.extract_tb(error.__traceback__)),
                    len(traceback.extract_tb(cause.__traceback__)),
                )
            )
    assert len(lengths) == 1


async def test_rejections_are_counted(breaker, emitted):
    """What leaves a state says how many calls it rejected."""
    await failing(breaker, 5)
    for _ in range(7):
        with pytest.raises(CircuitOpen):
            await breaker.call_async(succeed)
    breaker.clock.now = 30.0
    await breaker.call_async(succeed)
    assert emitted[-1].rejected == 7


async def test_force_open(breaker):
    """Forced open, it rejects until it is reset, however long that is."""
    breaker.force_open()
    breaker.clock.now = 1e9
    with pytest.raises(CircuitOpen) as rejected:
        await breaker.call_async(succeed)
    assert rejected.value.retry_after == breaker.retry_after() == 30.0
    assert breaker.label == "forced_open"
    breaker.reset()
    assert await breaker.call_async(succeed) == "value"


async def test_force_closed(breaker):
    """Forced closed, it lets everything through, and counts nothing."""
    breaker.force_closed()
    await failing(breaker, 50)
    assert await breaker.call_async(succeed) == "value"
    assert breaker.label == "forced_closed"
    breaker.reset()
    await failing(breaker, 4)
    assert breaker.label == "closed"


async def test_metrics_only(breaker, emitted):
    """A breaker that only measures lets everything through, and says each time that it would have opened."""
    breaker.metrics_only()
    await failing(breaker, 10)
    assert breaker.label == "metrics_only"
    assert emitted[1:] == [WouldOpen("db", "5 failures in a row")] * 2


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


async def test_a_policy_of_its_own(clock):
    """Each number of the policy is the one that counts."""
    policy = BreakerPolicy(failures_in_a_row=2, open_for=5.0, close_after=1)
    breaker = PolicyBreaker("db", policy, clock=clock)
    await failing(breaker, 2)
    assert breaker.retry_after() == 5.0
    clock.now = 5.0
    await breaker.call_async(succeed)
    assert breaker.label == "closed"


async def test_the_event_loops_clock_is_the_default():
    """Without a clock, the running loop's counts."""
    breaker = PolicyBreaker("db")
    await failing(breaker, 5)
    await asyncio.sleep(29.0)
    assert breaker.label == "open"
    assert breaker.retry_after() == pytest.approx(1.0)
    await asyncio.sleep(1.0)
    assert await breaker.call_async(succeed) == "value"


async def test_arguments_named_like_aiobreakers(breaker):
    """Keyword arguments go to the function, also those that are called `breaker` and `exception`."""

    async def echo(**kwargs):
        return kwargs

    assert await breaker.call_async(echo, breaker=1, exception=2) == {"breaker": 1, "exception": 2}
