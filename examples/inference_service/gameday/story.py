"""The story: what is broken when. Nothing is mended before the last chapter."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from examples.inference_service.parts.system import System

__all__ = ("BROKEN", "STORY", "Chapter")

BROKEN: Final = frozenset(("redis", "provider", "model", "postgres"))
"""The parts that the story breaks."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the story.

    Attributes:
        title: For people.
        seconds: How long it takes.
        rehearsal_seconds: How long it takes in a rehearsal.
        begin: What happens at its beginning.
        opens: The circuit breaker that must open in it.
    """

    title: str
    seconds: float
    rehearsal_seconds: float
    begin: Callable[[System], Coroutine[Any, Any, None]]
    opens: str | None = None


async def _nothing(_: System) -> None:
    """All is well."""


async def _kill_redis(system: System) -> None:
    await asyncio.to_thread(system.parts["redis"].kill)


async def _limit_provider(system: System) -> None:
    await _fault(system, "PROVIDER_URL", {"mode": "limit", "per_second": 1, "retry_after": 2})


async def _stall_model(system: System) -> None:
    await _fault(system, "MODEL_URL", {"mode": "stall"})


async def _kill_database(system: System) -> None:
    await asyncio.to_thread(system.parts["postgres"].kill)


async def _mend_everything(system: System) -> None:
    await _fault(system, "PROVIDER_URL", {"mode": "ok"})
    await _fault(system, "MODEL_URL", {"mode": "ok"})
    await asyncio.to_thread(system.parts["redis"].start)
    await asyncio.to_thread(system.parts["postgres"].start)


async def _fault(system: System, double: str, fault: dict[str, Any]) -> None:
    async with httpx2.AsyncClient() as client:
        (await client.post(f"{system.urls[double]}/admin/faults", json=fault)).raise_for_status()


STORY = (
    Chapter("healthy", 20.0, 2.0, _nothing),
    Chapter("Redis killed", 30.0, 3.0, _kill_redis, opens="redis"),
    Chapter(
        "provider limits", 30.0, 3.0, _limit_provider
    ),  # a 429 is no sign of illness: its circuit stays closed
    Chapter("model stalls", 45.0, 4.0, _stall_model, opens="model-service"),
    Chapter("database killed", 30.0, 3.0, _kill_database, opens="postgres"),
    Chapter("everything back", 60.0, 7.0, _mend_everything),
)
