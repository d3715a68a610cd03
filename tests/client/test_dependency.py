"""A dependency: how it is called, varied, listed, watched and shut down."""

import asyncio
import functools
import gc
import logging

import pytest

from asgi_resilience.client import (
    BreakerPolicy,
    Call,
    CircuitOpen,
    Dependency,
    Rejected,
    RetryPolicy,
    aclose_all,
    dependencies,
)
from asgi_resilience.testing import FailingDependency, Slow

pytestmark = pytest.mark.anyio


async def double(number, *, plus=0):
    """An async function."""
    return 2 * number + plus


async def test_a_function_and_its_arguments(make):
    """Positional and keyword arguments go to the function, whatever their names."""

    async def echo(*args, **kwargs):
        return args, kwargs

    assert await make().call(double, 4, plus=1) == 9
    assert await make().call(echo, 1, self=2, func=3, call=4) == ((1,), {"self": 2, "func": 3, "call": 4})


class Client:
    """What a driver looks like."""

    async def fetch(self):
        return "fetched"

    def get(self):
        return self.fetch()

    async def __call__(self):
        return "called"


@pytest.mark.parametrize(
    ("func", "result"),
    [
        (functools.partial(double, 4), 8),
        (Client().fetch, "fetched"),
        (Client().get, "fetched"),
        (Client(), "called"),
        (lambda: asyncio.sleep(0, "slept"), "slept"),
        (lambda: asyncio.ensure_future(Client().fetch()), "fetched"),
    ],
)
async def test_everything_that_gives_an_awaitable(make, func, result):
    """Partials, methods, sync functions that return an awaitable as redis-py's do, and callable objects can be called."""
    assert await make().call(func) == result


async def stream():
    """An async generator."""
    yield 1


@pytest.mark.parametrize(
    ("func", "mistake"),
    [
        (lambda: 7, r"expected an awaitable, got int: a sync function blocks the event loop; use an async one, or db.call\(asyncio.to_thread"),
        (stream, "stream.*: an async generator can't be retried once it has given out its first item"),
        ("fetch", "expects an async function and its arguments, got 'fetch'"),
        (None, "expects an async function and its arguments, got None"),
    ],
)  # fmt: skip
async def test_mistakes_are_named(make, func, mistake):
    """What is no async function is a TypeError that says what to do, and is neither retried nor counted."""
    dependency = make()
    for _ in range(10):
        with pytest.raises(TypeError, match=mistake):
            await dependency.call(func)
    assert dependency.breaker.outcomes.streak == 0


async def test_a_coroutine_that_was_made_already(make):
    """A coroutine object is refused, and closed, so that it does not warn of never having been awaited."""
    coroutine = double(4)
    with pytest.raises(TypeError, match=r"got a coroutine that was made already.*db\.call\(double, …\)"):
        await make().call(coroutine)
    assert coroutine.cr_frame is None


async def test_as_a_decorator(make):
    """A decorated function keeps its name, goes through the dependency, and takes the same arguments."""
    calls = []

    @make()
    async def load(number):
        """Loads."""
        calls.append(number)
        if len(calls) == 1:
            raise ConnectionError
        return number

    assert (load.__name__, load.__doc__) == ("load", "Loads.")
    assert await load(number=7) == 7
    assert calls == [7, 7]


async def test_a_decorated_callable_object(make):
    """An object with an async `__call__`, and a partial, can be decorated."""
    decorated = make()(functools.partial(double, 4))
    assert await decorated(plus=1) == 9
    service = FailingDependency("value")
    assert await make()(service)() == "value"


@pytest.mark.parametrize(
    ("func", "mistake"),
    [
        (stream, "@db on the async generator stream"),
        (len, "@db on len: expected an async function; a sync one blocks the event loop"),
        (lambda: None, "expected an async function"),
        (functools.partial(print), "@db on print"),
        (3, "expects an async function and its arguments, got 3"),
    ],
)
async def test_decorating_what_is_no_async_function(make, func, mistake):
    """A mistake is a TypeError at the decoration, not a function that silently is not protected."""
    with pytest.raises(TypeError, match=mistake):
        make()(func)


async def test_a_variant_shares_what_is_known(make):
    """A variant has its own timeout, retries and fallback; breaker, gate and budget are those of the dependency."""
    postgres = make("postgres", timeout=10.0)
    transaction = postgres.using(timeout=30.0, retry=None)
    assert (postgres.timeout, transaction.timeout) == (10.0, 30.0)
    assert await transaction.call(FailingDependency(Slow(20.0, "value"))) == "value"
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await transaction.call(FailingDependency(ConnectionError()))
    assert postgres.breaker.label == "open"
    assert transaction.using(timeout=None).timeout is None
    assert postgres.retry is not None
    assert postgres in dependencies()
    assert transaction not in dependencies()


async def test_the_registry(make):
    """Every dependency that somebody holds is listed, in the order in which they were made."""
    held = [make("first"), make("second"), make("third")]
    assert [each for each in dependencies() if each in held] == held
    names = [each.name for each in held]
    del held
    gc.collect()
    assert not set(names) & {each.name for each in dependencies()}


async def test_one_breaker_per_backend(make, caplog):
    """A second dependency of one name is warned about: each has a breaker, and neither sees all."""
    first = make("twice")
    with caplog.at_level(logging.WARNING, "asgi_resilience.client"):
        second = make("twice")
    assert first is not second
    assert "twice: made twice" in caplog.text


async def test_its_status(make):
    """A status tells state, time left, streak, ratio, last error and how many wait."""
    dependency = make("db", retry=None)
    status = dependency.status()
    assert (status.name, status.state, status.healthy, status.last_error) == ("db", "closed", True, None)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await dependency.call(FailingDependency(ConnectionError()))
    await asyncio.sleep(12.0)
    status = dependency.status()
    assert (status.state, status.retry_after, status.healthy, status.last_error) == (
        "open",
        18.0,
        False,
        "ConnectionError",
    )
    assert repr(dependency) == "<Dependency db: open>"


async def test_the_status_counts(make):
    """Streak and ratio are those of the window, and who waits for a retry is counted."""
    dependency = make("db", breaker=BreakerPolicy(failures_in_a_row=99, window=4, failure_ratio=2.0))
    waiting = asyncio.create_task(dependency.call(FailingDependency(ConnectionError())))
    await asyncio.sleep(0.5)
    status = dependency.status()
    assert (status.failures_in_a_row, status.failure_ratio, status.waiting) == (3, None, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert dependency.status().waiting == 0


async def test_its_health(make):
    """Unhealthy while calls are rejected; degraded once probes may go out, since only traffic can close the circuit."""
    dependency = make("db", retry=None)
    assert await dependency.health() == "healthy"
    dependency.breaker.open()
    assert await dependency.health() == "unhealthy"
    await asyncio.sleep(30.0)
    assert await dependency.health() == "degraded"
    await dependency.call(FailingDependency("value"))
    assert (dependency.breaker.label, await dependency.health()) == ("half_open", "degraded")
    dependency.breaker.metrics_only()
    assert await dependency.health() == "healthy"
    assert await make("other", breaker=None).health() == "healthy"


async def test_its_health_with_a_fallback(make):
    """Degraded while a fallback would answer what is rejected, and for 10 s after one has, also one of a variant."""
    dependency = make("db", retry=None, fallback=Call(double))
    dependency.breaker.open()
    assert await dependency.health() == "degraded"
    dependency = make("other", retry=None)
    assert await dependency.using(fallback=Call(double)).call(FailingDependency(2), 4) == 2
    assert await dependency.health() == "healthy"

    async def fail(number):
        raise ConnectionError(number)

    assert await dependency.using(fallback=Call(double)).call(fail, 4) == 8
    assert await dependency.health() == "degraded"
    dependency.breaker.open()
    assert await dependency.health() == "degraded"
    await asyncio.sleep(10.0)
    assert await dependency.health() == "unhealthy"
    dependency.breaker.close()
    assert await dependency.health() == "healthy"


async def test_without_a_breaker(make):
    """`breaker=None` never rejects."""
    dependency = make("db", breaker=None, retry=None)
    for _ in range(50):
        with pytest.raises(ConnectionError):
            await dependency.call(FailingDependency(ConnectionError()))
    status = dependency.status()
    assert (status.state, status.healthy, status.retry_after) == ("forced_closed", True, 0.0)
    assert repr(dependency) == "<Dependency db: no breaker>"


async def test_shutting_down_everything(make):
    """`aclose_all` shuts down every dependency: whoever waits for a retry gets its error."""
    one, two = make("one"), make("two")
    waiting = [asyncio.create_task(each.call(FailingDependency(ConnectionError()))) for each in (one, two)]
    await asyncio.sleep(0.05)
    await aclose_all()
    for task in waiting:
        with pytest.raises(ConnectionError):
            await task


@pytest.mark.parametrize("heard", [True, False])
async def test_rejections_nobody_hears_of(make, events, heard):
    """An open circuit rejects the same way whether anybody listens or not, and lets probes through in time."""
    dependency = make("db", retry=None, listeners=[events.append] if heard else [])
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await dependency.call(FailingDependency(ConnectionError()))
    for _ in range(3):
        with pytest.raises(CircuitOpen) as rejected:
            await dependency.call(FailingDependency("value"))
        assert (rejected.value.retry_after, type(rejected.value.__cause__)) == (30.0, ConnectionError)
    assert dependency.breaker.state.rejected == 3
    assert sum(isinstance(each, Rejected) for each in events) == (3 if heard else 0)
    await asyncio.sleep(30.0)
    assert await dependency.call(FailingDependency("value")) == "value"
    dependency.breaker.admit()
    assert dependency.breaker.label == "half_open"


@pytest.mark.parametrize("name", ["", "9lives", "a b", "a,b", "a:b", "ä", "x" * 65])
async def test_names_that_are_none(name):
    """A name must fit into a metric tag and a header."""
    with pytest.raises(ValueError, match="name="):
        Dependency(name)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_timeouts_that_are_none(make, timeout):
    """A timeout is a positive number of seconds, or None; also that of a variant."""
    with pytest.raises(ValueError, match=r"timeout=.* of db"):
        make(timeout=timeout)
    with pytest.raises(ValueError, match="timeout="):
        make().using(timeout=timeout)


async def test_ten_thousand_at_once(make):
    """Ten thousand concurrent calls end as they would one by one."""
    dependency = make("db", timeout=5.0, retry=RetryPolicy(max_retries=0), breaker=None)

    async def call(number):
        await asyncio.sleep(number % 10)
        return number

    results = await asyncio.gather(
        *(dependency.call(call, number) for number in range(10_000)), return_exceptions=True
    )
    late = [each for each in results if isinstance(each, TimeoutError)]
    assert len(late) == 5_000
    assert [each for each in results if not isinstance(each, TimeoutError)] == [
        n for n in range(10_000) if n % 10 < 5
    ]
