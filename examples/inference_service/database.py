"""PostgreSQL: three retries with growing waits, a circuit breaker, and 503 with `DATABASE_CONNECTION_FAILED`."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from asgi_resilience.client import BreakerPolicy, Dependency
from asgi_resilience.health_checks import postgres_check
from asgi_resilience.telemetry.application import database_connections_active, database_query_duration
from examples.inference_service.errors import Refuse
from examples.inference_service.limits import Limits
from examples.inference_service.tracing import span

__all__ = ("Database",)

_MATCH = "SELECT id, sport, league, home, away, starts_at FROM matches WHERE id = $1"
_STATS = "SELECT team, elo, form, goals_for, goals_against FROM teams WHERE team = ANY($1)"
_NEWEST = """
    SELECT body FROM predictions
    WHERE match_id = $1 AND created_at > now() - make_interval(secs => $2)
    ORDER BY created_at DESC LIMIT 1"""
_INSERT = "INSERT INTO predictions (id, match_id, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_COUNT = """
    INSERT INTO prediction_counts AS c (sport, day, total) VALUES ($1, current_date, 1)
    ON CONFLICT (sport, day) DO UPDATE SET total = c.total + 1"""

_EVER = 10.0 * 365 * 86400


class Database:
    """What the service reads from PostgreSQL, and writes into it."""

    def __init__(self, pool: asyncpg.Pool, limits: Limits) -> None:
        self._pool = pool
        self._check = postgres_check(pool)
        self._acquire = limits.db_acquire
        self.calls = Dependency(
            "postgres",
            timeout=limits.db_query,
            breaker=BreakerPolicy(open_for=limits.breaker_open),
            fallback=Refuse("DATABASE_CONNECTION_FAILED"),
        )
        self._in_features = self.calls.using(timeout=limits.db_query_in_features)
        self._transaction = self.calls.using(timeout=limits.db_transaction)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, limits: Limits) -> AsyncIterator["Database"]:
        """A pool that connects when it must: the service starts, and says why it can't work, without its database."""
        pool = asyncpg.create_pool(
            url, min_size=0, max_size=20, timeout=limits.db_connect, command_timeout=limits.db_query
        )
        async with pool:
            yield cls(pool, limits)

    async def match(self, match_id: str) -> dict[str, Any] | None:
        """The match, or None."""
        row = await self.calls.call(self._row, "Match Data", _MATCH, match_id)
        return None if row is None else {**row, "starts_at": row["starts_at"].isoformat()}

    async def team_stats(self, teams: list[str]) -> dict[str, dict[str, float]]:
        """What is known of each team."""
        rows = await self._in_features.call(self._rows, "Team Stats", _STATS, teams)
        return {row.pop("team"): row for row in rows}

    async def newest_prediction(self, match_id: str, *, age: float = _EVER) -> dict[str, Any] | None:
        """The newest prediction of a match that is at most `age` seconds old."""
        row = await self.calls.call(self._row, "Newest Prediction", _NEWEST, match_id, age)
        return None if row is None else json.loads(row["body"])

    async def save(self, prediction: dict[str, Any]) -> None:
        """Keep a prediction, and count it: both or neither. A retry repeats both, and finds the first one's row."""
        await self._transaction.call(self._save, prediction)

    async def health(self) -> None:
        """Raise when the database does not answer; past the circuit breaker."""
        await self._check.check()

    async def _save(self, prediction: dict[str, Any]) -> None:
        with (
            span("database.query", "Save Prediction to DB"),
            database_query_duration.timed(operation="Save Prediction"),
        ):
            async with self._connection() as connection, connection.transaction():
                found = await connection.execute(
                    _INSERT, prediction["id"], prediction["match_id"], json.dumps(prediction)
                )
                if found == "INSERT 0 1":
                    await connection.execute(_COUNT, prediction["sport"])

    async def _row(self, name: str, query: str, *arguments: object) -> dict[str, Any] | None:
        rows = await self._rows(name, query, *arguments)
        return rows[0] if rows else None

    async def _rows(self, name: str, query: str, *arguments: object) -> list[dict[str, Any]]:
        with (
            span("database.query", f"Database Query - {name}"),
            database_query_duration.timed(operation=name),
        ):
            async with self._connection() as connection:
                return [dict(row) for row in await connection.fetch(query, *arguments)]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        async with self._pool.acquire(timeout=self._acquire) as connection:
            database_connections_active.set(self._pool.get_size() - self._pool.get_idle_size())
            yield connection
