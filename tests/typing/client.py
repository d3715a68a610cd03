"""How the client is used, for the type checkers: mypy and pyright read it, nobody runs it."""

import asyncio
from typing import assert_type

import httpx2

from asgi_resilience.client import (
    BreakerPolicy,
    BudgetPolicy,
    Cached,
    Call,
    Dependency,
    DependencyStatus,
    Event,
    Previous,
    ResilientClient,
    ResilientTransport,
    RetryPolicy,
    StateChanged,
    add_listener,
    dependencies,
)

postgres = Dependency(
    "postgres",
    timeout=10.0,
    retry=RetryPolicy(max_retries=2, budget=BudgetPolicy(ratio=0.1)),
    breaker=BreakerPolicy(failures_in_a_row=3),
    fallback=(Previous(), Cached(ttl=60.0)),
)


async def fetch(query: str, *, limit: int = 10) -> list[str]:
    """A call with arguments and a result."""
    return [query] * limit


@postgres
async def decorated(number: int) -> str:
    """Keeps its types."""
    return str(number)


async def calls() -> None:
    """Arguments and results are those of the function."""
    assert_type(await postgres.call(fetch, "SELECT 1", limit=3), list[str])
    assert_type(await postgres.call(asyncio.sleep, 1.0, "slept"), str)
    assert_type(await decorated(7), str)
    assert_type(await postgres.using(timeout=None).call(fetch, "x"), list[str])
    await postgres.call(fetch, 7)  # type: ignore[arg-type]
    await postgres.call(fetch, "x", offset=7)  # type: ignore[call-arg]
    await decorated("7")  # type: ignore[arg-type]


async def clients() -> None:
    """The client is httpx2's."""
    async with ResilientClient(base_url="https://provider.example", dependency=postgres) as client:
        assert_type(await client.get("/"), httpx2.Response)
    httpx2.AsyncClient(transport=ResilientTransport(postgres, idempotency_key=True))


def listener(event: Event) -> None:
    """Tells events apart by their class."""
    if isinstance(event, StateChanged):
        assert_type(event.reason, str)


add_listener(listener)
assert_type([each.status() for each in dependencies()], list[DependencyStatus])
Dependency("redis", fallback=Call(fetch), breaker=None, retry=None, timeout=None, listeners=[listener])
Dependency("redis", timeout="soon")  # type: ignore[arg-type]
