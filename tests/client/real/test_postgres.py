"""asyncpg and a real PostgreSQL: deadlocks, serialization failures, and connections that are cut."""

import asyncio
import importlib

import pytest

from asgi_resilience.client import AttemptFailed, AttemptTimedOut, GaveUp, RetryPolicy

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(base=0.01)


@pytest.fixture(scope="module")
def dsn(tmp_path_factory):
    """A PostgreSQL server of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        try:
            pgserver = importlib.import_module("pgserver")
        except ImportError:
            pytest.skip("pgserver has no wheel for this Python")
        server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
async def pool(dsn):
    """Connections that notice a deadlock soon, and a table of two accounts."""
    settings = {"deadlock_timeout": "50ms"}
    async with asyncpg.create_pool(dsn, min_size=2, max_size=4, server_settings=settings) as pool:
        await pool.execute("DROP TABLE IF EXISTS accounts")
        await pool.execute("CREATE TABLE accounts (id int PRIMARY KEY, cents int)")
        await pool.execute("INSERT INTO accounts VALUES (1, 1000), (2, 1000)")
        yield pool


async def test_a_deadlock(pool, make, events):
    """Of two transactions that wait for each other one is ended by the database (40P01), and repeated as a whole."""
    postgres, both = make("postgres", retry=QUICK), asyncio.Barrier(2)
    first = {1, 2}

    @postgres
    async def transfer(source, target):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE accounts SET cents = cents - 100 WHERE id = $1", source)
            if (
                source in first
            ):  # on the first attempt of each: both hold a lock before either wants the other's
                first.discard(source)
                await both.wait()
            await connection.execute("UPDATE accounts SET cents = cents + 100 WHERE id = $1", target)

    await asyncio.gather(transfer(1, 2), transfer(2, 1))
    assert [row["cents"] for row in await pool.fetch("SELECT cents FROM accounts ORDER BY id")] == [
        1000,
        1000,
    ]
    (failed,) = [each for each in events if isinstance(each, AttemptFailed)]
    assert isinstance(failed.error, asyncpg.DeadlockDetectedError)
    assert failed.rule == "deadlock or serialization failure"
    assert postgres.breaker.outcomes.streak == 0


async def test_a_serialization_failure(pool, make, events):
    """Of two serializable transactions that contradict each other, one is repeated (40001)."""
    postgres, both = make("postgres", retry=QUICK), asyncio.Barrier(2)
    first = {1, 2}

    @postgres
    async def withdraw(account):
        async with pool.acquire() as connection, connection.transaction(isolation="serializable"):
            total = await connection.fetchval("SELECT sum(cents) FROM accounts")
            if account in first:
                first.discard(account)
                await both.wait()
            if total >= 2000:
                await connection.execute("UPDATE accounts SET cents = cents - 1500 WHERE id = $1", account)

    await asyncio.gather(withdraw(1), withdraw(2))
    assert await pool.fetchval("SELECT sum(cents) FROM accounts") == 500
    assert [type(each.error) for each in events if isinstance(each, AttemptFailed)] == [
        asyncpg.SerializationError
    ]


async def test_a_connection_that_is_cut(pool, make, events):
    """A connection that the server ends, during a query or between two, is a failure, and another one is tried."""
    postgres, cut = make("postgres", retry=QUICK), []

    async def end(pid, running):
        while await pool.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid) != running:  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)
        await pool.execute("SELECT pg_terminate_backend($1)", pid)

    @postgres
    async def answer():
        async with pool.acquire() as connection:
            if len(cut) < 2:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                cut.append(pid)
                if len(cut) == 1:
                    await asyncio.gather(
                        connection.execute("SELECT pg_sleep(60)"), end(pid, "SELECT pg_sleep(60)")
                    )
                await end(pid, "SELECT pg_backend_pid()")
                while not connection.is_closed():  # noqa: ASYNC110 - it is another process's doing
                    await asyncio.sleep(0.01)
            return await connection.fetchval("SELECT 42")

    assert await answer() == 42
    assert [each.rule for each in events if isinstance(each, AttemptFailed)] == [
        "database connection failure",
        "database connection closed",
    ]


async def test_a_constraint(pool, make, events):
    """A violated constraint is an answer: it is neither repeated nor held against the database."""
    postgres = make("postgres")
    for _ in range(10):
        with pytest.raises(asyncpg.UniqueViolationError):
            await postgres.call(pool.execute, "INSERT INTO accounts VALUES (1, 0)")
    assert len(events) == 10
    assert postgres.breaker.label == "closed"


async def test_a_slow_query(pool, make, events):
    """A query that takes too long is cancelled, on the server too, and its connection can be used again."""
    postgres = make("postgres", timeout=0.1, retry=RetryPolicy(max_retries=1, base=0.01))
    with pytest.raises(AttemptTimedOut):
        await postgres.call(pool.execute, "SELECT pg_sleep(60)")
    assert [each.reason for each in events if isinstance(each, GaveUp)] == ["retries_exhausted"]
    running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    while await pool.fetchval(running):  # noqa: ASYNC110 - it is another process's doing
        await asyncio.sleep(0.01)
    assert await postgres.call(pool.fetchval, "SELECT 1") == 1


async def test_a_database_that_is_not_there(make, events):
    """A refused connection is repeated, and opens the circuit."""
    postgres = make("postgres", retry=QUICK)
    for _ in range(2):
        with pytest.raises(OSError):
            await postgres.call(asyncpg.connect, host="127.0.0.1", port=9, database="x", user="x")
    assert postgres.breaker.label == "open"
