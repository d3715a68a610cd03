"""What does a message of a stream cost, and is its body ever copied?"""

import asyncio
from collections.abc import Callable
from functools import partial

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send
from benchmarks.answer import Answer, Table
from benchmarks.costs import BARE, UNIT, measure
from benchmarks.costs import steps as steps_of_one
from benchmarks.subject import (
    UNIT_LAYERS,
    everything,
    http_scope,
    log_to_nowhere,
    no_ops,
    receive,
    request_of,
)
from benchmarks.timing import Effort, Request

__all__ = ("QUESTION", "answer", "chunks", "events", "steps")

QUESTION = "What does a message of a stream cost, and is its body ever copied?"
WHOLE = "whole stack"
CHUNK = bytes(64 * 1024)
EVENT = b'data: {"price": 41.5}\n\n'
CHUNKS, EVENTS = 16_384, 10_000  # 1 GiB, and a day of a quiet feed
OPEN = 2  # at once
MEASURED = 1000  # messages of one response while time is taken: enough to make the response's own cost vanish


def download(count: int = MEASURED) -> ASGIApp:
    """An app that sends large chunks as fast as it can."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(count):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def feed(count: int = MEASURED) -> ASGIApp:
    """An app that sends small events, and lets the event loop turn in between."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(count):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def _subjects(app: ASGIApp) -> dict[str, Request]:
    log_to_nowhere()
    apps = {BARE: app, UNIT: no_ops(UNIT_LAYERS, app), WHOLE: everything(app)}
    return {name: request_of(each) for name, each in apps.items()}


chunks = partial(_subjects, download())
events = partial(_subjects, feed())


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return 2 * steps_of_one(_effort(effort))


def _effort(effort: Effort) -> Effort:
    return effort.scaled(OPEN / MEASURED)


def copied(app: ASGIApp, body: bytes) -> int:
    """How many messages of a long response arrive at the server with another body than the app has sent."""
    others = 0

    async def send(message: Message) -> None:
        nonlocal others
        arrived = message.get("body")
        others += bool(arrived) and arrived is not body

    asyncio.run(_call(everything(app), send))
    return others


async def _call(app: ASGIApp, send: Send) -> None:
    await app(http_scope(), receive, send)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("streaming", QUESTION)
    table = Table("A message through the whole stack, in messages through a no-op layer", [])
    for name, what in ("chunks", "chunk of 64 KiB"), ("events", "event of 23 bytes, in a turn of its own"):
        spec = f"benchmarks.streaming:{name}"
        scales = measure(spec, _effort(effort), progress, found, WHOLE, label=name, counted=OPEN, burst=OPEN)
        table.columns = [*scales]
        table.rows[what] = [costs.of(WHOLE) for costs in scales.values()]
        for scale, costs in scales.items():
            found.figures[f"{name}.{scale}"] = costs.of(WHOLE)
    found.tables.append(table)
    found.picture = table
    found.figures["copied"] = copied(download(CHUNKS), CHUNK) + copied(feed(EVENTS), EVENT)
    found.notes.append(
        f"{CHUNKS:,} chunks (1 GiB) and {EVENTS:,} events went through the whole stack;"
        f" {found.figures['copied']:.0f} of their bodies were copied."
    )
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("streaming")
