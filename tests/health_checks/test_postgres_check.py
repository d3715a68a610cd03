"""`SELECT 1` against a real PostgreSQL that is stopped and started, through each kind of pool."""

import asyncio
import contextlib
import logging

import pytest

from asgi_resilience.health_checks import postgres_check

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def asyncpg_pool(dsn):
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        yield pool


@contextlib.asynccontextmanager
async def psycopg_pool(dsn):
    psycopg_pool = pytest.importorskip("psycopg_pool", reason="psycopg_pool is not installed")
    async with psycopg_pool.AsyncConnectionPool(
        dsn, min_size=1, max_size=2, timeout=0.3, open=False, reconnect_timeout=10
    ) as pool:
        yield pool


@contextlib.asynccontextmanager
async def psycopg_pool_of_dicts(dsn):
    rows = pytest.importorskip("psycopg.rows", reason="psycopg is not installed")
    psycopg_pool = pytest.importorskip("psycopg_pool", reason="psycopg_pool is not installed")
    async with psycopg_pool.AsyncConnectionPool(
        dsn, min_size=1, max_size=2, timeout=0.3, open=False, kwargs={"row_factory": rows.dict_row}
    ) as pool:
        yield pool


@contextlib.asynccontextmanager
async def sqlalchemy_engine(dsn):
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio", reason="SQLAlchemy is not installed")
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    engine = sqlalchemy.create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
    yield engine
    await engine.dispose()


POOLS = [asyncpg_pool, psycopg_pool, psycopg_pool_of_dicts, sqlalchemy_engine]


@pytest.mark.parametrize("make_pool", POOLS, ids=lambda each: each.__name__)
async def test_stopped_and_started_again(postgres, report, caplog, make_pool):
    """Healthy while PostgreSQL runs, unhealthy while it does not, and healthy again soon after it is back."""
    caplog.set_level(logging.CRITICAL, "psycopg.pool")  # tells of each attempt
    async with make_pool(postgres.dsn) as pool:
        check = postgres_check(pool, timeout=2.0)
        assert await report(check) == ("healthy", {"database": "healthy"})
        await asyncio.to_thread(postgres.stop)
        try:
            assert await report(check) == ("unhealthy", {"database": "unhealthy"})
        finally:
            await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(20):
            while (await report(check))[0] != "healthy":  # noqa: ASYNC110 - it is another process's doing
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("make_pool", POOLS, ids=lambda each: each.__name__)
async def test_its_connections_are_measured(postgres, report, numbers, make_pool):
    """With a sink, the connections to the server and their limit are measured: not again within 15 s."""
    async with make_pool(postgres.dsn) as pool:
        check = postgres_check(pool, name="main")
        for _ in range(2):
            assert await report(check) == ("healthy", {"main": "healthy"})
    assert [name for _, name, _, _ in numbers.all] == ["postgresql.connections", "postgresql.connections.max"]
    measured = numbers.clear()
    assert 1 <= measured["postgresql.connections dependency:main"] <= 10
    assert measured["postgresql.connections.max dependency:main"] == 100


async def test_no_connection_is_free(postgres, report):
    """A pool whose connections are all in use is unhealthy once the check's time is over, and fine when one is free."""
    async with asyncpg_pool(postgres.dsn) as pool:
        check = postgres_check(pool, timeout=0.1)
        async with pool.acquire(), pool.acquire():
            assert (await report(check))[0] == "unhealthy"
        assert (await report(check))[0] == "healthy"


async def test_what_is_logged_has_no_password(report, caplog):
    """A database that refuses is told of by the class of the error, without the password of the connection string."""
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio", reason="SQLAlchemy is not installed")
    engine = sqlalchemy.create_async_engine("postgresql+asyncpg://app:hunter2secret@127.0.0.1:9/main")
    with caplog.at_level(logging.WARNING, "asgi_resilience.health"):
        assert (await report(postgres_check(engine, critical=False)))[0] == "degraded"
    await engine.dispose()
    assert "Dependency database is unhealthy" in caplog.text
    assert "ConnectionRefusedError" in caplog.text
    assert "hunter2secret" not in caplog.text


@pytest.mark.parametrize("pool", [None, "postgresql://app:hunter2secret@127.0.0.1/main", object()])
def test_what_is_no_pool(pool):
    """Something else than a pool is an error when the check is made; it tells the class, and no connection string."""
    with pytest.raises(TypeError, match=r"expected an asyncpg\.Pool, a psycopg_pool") as raised:
        postgres_check(pool)
    assert "hunter2secret" not in str(raised.value)


def test_engines_that_block():
    """An engine for threads is refused: it would stop the event loop."""
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    with pytest.raises(TypeError, match=r"pool is a sqlalchemy\.engine\.base\.Engine"):
        postgres_check(sqlalchemy.create_engine("postgresql+psycopg://127.0.0.1/main"))
