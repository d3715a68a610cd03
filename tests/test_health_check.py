"""Checks of dependencies: one run at a time, each with its own deadline, answers kept for a moment."""

import asyncio
import logging
import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from asgi_resilience.health_check import HealthCheck, HealthChecks
from asgi_resilience.testing import FailingDependency, Slow, VirtualTimeLoop

pytestmark = pytest.mark.anyio


def checks(found=(), *, timeout=0.8, ttl=1.0, clock: Callable[[], float] = anyio.current_time):
    return HealthChecks(found, timeout=timeout, ttl=ttl, clock=clock)


async def fine():
    return None


async def status(check, **options):
    _, statuses = await checks({"it": check}, **options).ask()
    return statuses["it"]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (None, "healthy"),
        (True, "healthy"),
        (1, "healthy"),
        (b"PONG", "healthy"),
        ("healthy", "healthy"),
        ("degraded", "degraded"),
        ("unhealthy", "unhealthy"),
        (False, "unhealthy"),
        (0, "unhealthy"),
        ([], "unhealthy"),
        ("unhealty", "unhealthy"),
        (ConnectionError("refused"), "unhealthy"),
        (SystemExit(1), "unhealthy"),
        (TimeoutError(), "unhealthy"),
        (ExceptionGroup("several", [OSError()]), "unhealthy"),
        (Slow(0.79), "healthy"),
        (Slow(0.81), "unhealthy"),
        (Slow(float("inf")), "unhealthy"),
    ],
)
async def test_what_an_answer_means(outcome, expected):
    """None and what is true are healthy, what is false, raised or late is not, and statuses mean themselves (#124)."""
    assert await status(FailingDependency(outcome)) == expected


async def test_a_check_that_is_not_async_is_unhealthy():
    """A check must be awaitable: what would block the event loop is a failure that shows at once."""
    assert await status(lambda: True) == "unhealthy"


async def test_a_cancellation_that_a_check_lets_out_is_unhealthy():
    """A check that ends as cancelled, for reasons of its own, has not answered, whatever it answered before."""
    found = checks({"it": FailingDependency(None, asyncio.CancelledError())}, ttl=0)
    assert (await found.ask())[0] == "healthy"
    assert (await found.ask())[0] == "unhealthy"


@pytest.mark.parametrize(
    ("critical", "optional", "expected"),
    [
        ("healthy", "healthy", "healthy"),
        ("healthy", "degraded", "degraded"),
        ("healthy", "unhealthy", "degraded"),
        ("degraded", "healthy", "degraded"),
        ("unhealthy", "healthy", "unhealthy"),
        ("unhealthy", "unhealthy", "unhealthy"),
    ],
)
async def test_what_is_not_critical_degrades_at_worst(critical, optional, expected):
    """The whole is as bad as its worst part, and a part that is not critical counts as degraded at worst."""
    found = checks(
        [
            HealthCheck("database", FailingDependency(critical)),
            HealthCheck("model", FailingDependency(optional), critical=False),
        ]
    )
    assert await found.ask() == (expected, {"database": critical, "model": optional})


async def test_without_dependencies_all_is_well():
    """No checks, nothing unhealthy."""
    assert await checks().ask() == ("healthy", {})


async def test_checks_run_at_the_same_time():
    """The answer takes as long as the slowest check, and no longer than its own timeout (#119)."""
    found = checks(
        [
            HealthCheck("slow", FailingDependency(Slow(0.5))),
            HealthCheck("slower", FailingDependency(Slow(0.6))),
            HealthCheck("never", FailingDependency(Slow(9.0)), timeout=0.7),
        ]
    )
    began = anyio.current_time()
    _, statuses = await found.ask()
    assert statuses == {"slow": "healthy", "slower": "healthy", "never": "unhealthy"}
    assert anyio.current_time() - began == pytest.approx(0.7)


async def test_answers_are_kept_for_a_moment():
    """Within the time to live nobody asks again, afterwards somebody does (#120)."""
    database = FailingDependency(None, False)
    found = checks({"database": database}, ttl=1.0)
    assert (await found.ask())[0] == "healthy"
    await anyio.sleep(0.9)
    assert (await found.ask())[0] == "healthy"
    assert len(database.calls) == 1
    await anyio.sleep(0.2)
    assert (await found.ask())[0] == "unhealthy"
    assert len(database.calls) == 2


async def test_a_flood_of_questions_is_one_check():
    """Whoever asks while a check runs shares its answer (#120)."""
    database = FailingDependency(Slow(0.5, "degraded"))
    found = checks({"database": database}, ttl=0)
    answers = []

    async def ask():
        answers.append((await found.ask())[0])

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    assert answers == ["degraded"] * 100
    assert len(database.calls) == 1


async def test_who_stops_waiting_disturbs_nobody():
    """The first to ask may be cancelled: the check goes on for the others, ends at its time, and is not run again."""
    database = FailingDependency(Slow(0.5))
    found = checks({"database": database})
    answers = []

    async def ask():
        answers.append(await found.ask())

    async with anyio.create_task_group() as others, anyio.create_task_group() as first:
        first.start_soon(ask)
        await anyio.sleep(0.1)
        others.start_soon(ask)
        await anyio.sleep(0.1)
        first.cancel_scope.cancel()
    assert answers == [("healthy", {"database": "healthy"})]
    assert len(database.calls) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_native_cancellation_of_who_asks_disturbs_nobody():
    """A server that cancels the task of the first prober does not cancel the check, and no task stays behind."""
    database = FailingDependency(Slow(0.5))
    found = checks({"database": database})
    before = asyncio.all_tasks()
    first, second = asyncio.create_task(found.ask()), asyncio.create_task(found.ask())
    await anyio.sleep(0.1)
    first.cancel()
    assert (await second)[0] == "healthy"
    assert first.cancelled()
    assert len(database.calls) == 1
    await anyio.lowlevel.checkpoint()
    assert asyncio.all_tasks() == before


async def test_a_check_that_nobody_waits_for_ends_at_its_deadline():
    """After everybody has gone, the task is over at the check's timeout at the latest."""
    ended = []

    async def hangs():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())

    began = anyio.current_time()
    with anyio.move_on_after(0.1):
        await checks({"it": hangs}).ask()
    assert ended == []
    await anyio.sleep(1.0)
    assert ended == [pytest.approx(began + 0.8)]


async def test_a_check_that_is_deaf_to_cancellation_holds_nobody_up():
    """The answer comes at the deadline; meanwhile the check is not started on top of itself (#124)."""
    calls = []

    async def deaf():
        calls.append(anyio.current_time())
        with anyio.CancelScope(shield=True):
            await anyio.sleep(10)

    found = checks({"driver": deaf}, ttl=0)
    began = anyio.current_time()
    assert (await found.ask())[0] == "unhealthy"
    assert anyio.current_time() - began == pytest.approx(0.8)
    await anyio.sleep(1)
    asked = anyio.current_time()
    assert (await found.ask())[0] == "unhealthy"
    assert anyio.current_time() == asked
    assert len(calls) == 1
    await anyio.sleep(10)
    found_late = anyio.current_time()
    assert (await found.ask())[0] == "unhealthy"
    assert anyio.current_time() - found_late == pytest.approx(0.8)
    assert len(calls) == 2


@pytest.mark.real_time
async def test_a_check_that_hangs_in_a_thread_holds_nobody_up():
    """A driver that blocks its thread makes its dependency unhealthy, and the answer comes in time (#124)."""
    release = threading.Event()

    async def driver():
        await anyio.to_thread.run_sync(release.wait)

    found = checks({"driver": driver}, timeout=0.05)
    with anyio.fail_after(5):
        assert (await found.ask())[0] == "unhealthy"
    release.set()


def test_another_event_loop_does_not_wait_for_a_dead_one():
    """A run that died with its event loop is forgotten by the next loop that asks."""
    calls = []

    async def hangs():
        calls.append(1)
        if len(calls) == 1:
            await anyio.sleep_forever()

    found = HealthChecks({"it": hangs}, timeout=0.8, ttl=1.0, clock=lambda: 0.0)
    first = VirtualTimeLoop()
    with pytest.raises(TimeoutError):
        first.run_until_complete(asyncio.wait_for(found.ask(), 0.1))
    assert len(calls) == 1
    second = VirtualTimeLoop()
    assert second.run_until_complete(found.ask())[0] == "healthy"
    for task in asyncio.all_tasks(first):
        task.cancel()
    first.run_until_complete(asyncio.sleep(0))
    assert second.run_until_complete(found.ask())[0] == "healthy"
    first.close()
    second.close()


def test_an_event_loop_waits_for_its_own_runs_only():
    """Two event loops that ask at the same time, in two threads, both get their answer."""
    here = threading.get_ident()
    asked, release = threading.Event(), threading.Event()

    async def first():
        if threading.get_ident() == here:  # the other loop asks while this one waits
            await anyio.to_thread.run_sync(other.start)
            await anyio.to_thread.run_sync(asked.wait, 10)

    async def second():
        if threading.get_ident() != here:
            asked.set()
            await anyio.to_thread.run_sync(release.wait, 10)

    found = HealthChecks({"first": first, "second": second}, timeout=20.0, ttl=0, clock=lambda: 0.0)
    answers = []
    other = threading.Thread(target=lambda: answers.append(asyncio.run(found.ask())))
    try:
        answers.append(asyncio.run(found.ask()))
    finally:
        release.set()
        other.join(10)
    assert answers == 2 * [("healthy", {"first": "healthy", "second": "healthy"})]


async def test_changes_are_logged_and_nothing_else(caplog):
    """A line when a dependency fails, with the cause, and one when it is well again: not one per probe."""
    caplog.set_level(logging.INFO, "asgi_resilience.health")
    database = FailingDependency(None, ConnectionError("refused"), ConnectionError("refused"), None, None)
    found = checks({"database": database}, ttl=0)
    for _ in range(5):
        await found.ask()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "Dependency database is unhealthy"),
        ("INFO", "Dependency database is healthy"),
    ]
    exc_info = caplog.records[0].exc_info
    assert exc_info is not None
    assert isinstance(exc_info[1], ConnectionError)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: HealthCheck("", fine), "name=''"),
        (lambda: HealthCheck("db", fine, timeout=0), "timeout=0 of db"),
        (lambda: HealthCheck("db", fine, timeout=float("nan")), "timeout=nan of db"),
        (lambda: checks([HealthCheck("db", fine), HealthCheck("db", fine)]), "two are called 'db'"),
        (lambda: checks(timeout=0), "check_timeout=0"),
        (lambda: checks(timeout=float("inf")), "check_timeout=inf"),
        (lambda: checks(ttl=-1), "cache_ttl=-1"),
    ],
)
def test_a_wrong_option_is_named(wrong, message):
    """The error names the option and its value."""
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_check_must_be_callable():
    """What can't be called is refused when it is named, not when it is asked."""
    with pytest.raises(TypeError, match="check='SELECT 1' of db"):
        checks({"db": "SELECT 1"})


async def test_a_mapping_gives_the_names():
    """In a mapping, the key is the name, of functions and of checks alike."""
    found = checks({"a": fine, "b": HealthCheck("whatever", FailingDependency(False), critical=False)})
    assert await found.ask() == ("degraded", {"a": "healthy", "b": "unhealthy"})
