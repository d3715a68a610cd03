"""PostgreSQL: `SELECT 1` through the pool that the application uses."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.health_checks.measurement import Measurement
from asgi_resilience.health_checks.outage import asked_safely, kind_of
from asgi_resilience.metric_names import POSTGRESQL_CONNECTIONS, POSTGRESQL_CONNECTIONS_MAX
from asgi_resilience.metric_sink import MetricSink, Tags

__all__ = ("postgres_check",)

Query = Callable[[str], Awaitable[Any]]

_EXPECTED: Final = "an asyncpg.Pool, a psycopg_pool.AsyncConnectionPool, or an AsyncEngine of SQLAlchemy"
_CONNECTIONS: Final = """
    SELECT (SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::int
"""


def postgres_check(
    pool: Any, *, name: str = "database", critical: bool = True, timeout: float | None = 0.5
) -> HealthCheck:
    """Healthy when `SELECT 1` comes back through `pool`.

    It waits for a free connection like every query, so a pool that is exhausted for longer than the timeout is unhealthy.
    While a sink is set, `postgresql.connections` and `postgresql.connections.max` are measured every 15 s.

    Args:
        pool: An `asyncpg.Pool`, a `psycopg_pool.AsyncConnectionPool`, or an `AsyncEngine` of SQLAlchemy.
        name: As for `HealthCheck`.
        critical: As for `HealthCheck`.
        timeout: Seconds; None: as the layer says.

    Raises:
        TypeError: `pool` is nothing of the kind; a single connection is not, since only one task may use it at a time.
        ValueError: As for `HealthCheck`.
    """
    row = _row_through(pool)

    async def measure(sink: MetricSink, tags: Tags) -> None:
        used, most = await row(_CONNECTIONS)
        sink.gauge(POSTGRESQL_CONNECTIONS.name, float(used), tags)
        sink.gauge(POSTGRESQL_CONNECTIONS_MAX.name, float(most), tags)

    measurement = Measurement(name, measure)

    async def ask() -> None:
        await row("SELECT 1")
        await measurement.take()

    return HealthCheck(name, asked_safely(ask), critical=critical, timeout=timeout)


def _row_through(pool: Any) -> Query:
    if hasattr(pool, "fetchrow") and hasattr(pool, "acquire"):
        return _through_asyncpg(pool)
    if hasattr(pool, "connection") and hasattr(pool, "__aenter__"):
        return _through_psycopg(pool)
    if hasattr(pool, "sync_engine") and hasattr(pool, "connect"):
        return _through_sqlalchemy(pool)
    raise TypeError(f"pool is a {kind_of(pool)}: expected {_EXPECTED}")


def _through_asyncpg(pool: Any) -> Query:
    async def row(sql: str) -> Any:
        return await pool.fetchrow(sql)

    return row


def _through_psycopg(pool: Any) -> Query:
    async def row(sql: str) -> Any:
        async with pool.connection() as connection:
            cursor = await connection.execute(sql)
            found = await cursor.fetchone()
            return list(found.values()) if hasattr(found, "values") else found  # as its row factory makes it

    return row


def _through_sqlalchemy(engine: Any) -> Query:
    async def row(sql: str) -> Any:
        async with engine.connect() as connection:
            return (await connection.exec_driver_sql(sql)).one()

    return row
