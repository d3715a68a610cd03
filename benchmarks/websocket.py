"""What does a message over a websocket cost?"""

from collections.abc import Callable

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send
from benchmarks.answer import Answer, Table
from benchmarks.costs import BARE, UNIT, measure
from benchmarks.costs import steps as steps_of_one
from benchmarks.subject import UNIT_LAYERS, everything, http_scope, log_to_nowhere, no_ops, send
from benchmarks.timing import Effort, Request

__all__ = ("QUESTION", "answer", "steps", "subjects")

QUESTION = "What does a message over a websocket cost?"
WHOLE = "whole stack"
OPEN = 2  # at once
MEASURED = 1000  # messages each way: enough to make the connection's own cost vanish


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers every message with itself."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def talk(app: ASGIApp) -> Request:
    """A client that says a thousand things and leaves."""

    def request():
        left = MEASURED + 1

        async def receive() -> Message:
            nonlocal left
            left -= 1
            if left == MEASURED:
                return {"type": "websocket.connect"}
            if left < 0:
                return {"type": "websocket.disconnect", "code": 1000}
            return {"type": "websocket.receive", "text": "price of anvils?"}

        scope = {**http_scope(), "type": "websocket", "scheme": "ws", "subprotocols": []}
        del scope["method"]
        return app(scope, receive, send)

    return request


def subjects() -> dict[str, Request]:
    """Everything that is measured, by name."""
    log_to_nowhere()
    return {BARE: talk(echo), UNIT: talk(no_ops(UNIT_LAYERS, echo)), WHOLE: talk(everything(echo))}


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return steps_of_one(_effort(effort))


def _effort(effort: Effort) -> Effort:
    return effort.scaled(OPEN / MEASURED)


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure."""
    found = Answer("websocket", QUESTION)
    spec = "benchmarks.websocket:subjects"
    scales = measure(spec, _effort(effort), progress, found, WHOLE, counted=OPEN, burst=OPEN)
    found.tables.append(
        Table(
            "A question and its answer through the whole stack, in those through a no-op layer",
            [*scales],
            {WHOLE: [costs.of(WHOLE) for costs in scales.values()]},
        )
    )
    found.picture = found.tables[0]
    for scale, costs in scales.items():
        found.figures[f"message.{scale}"] = costs.of(WHOLE)
    found.notes.append("A no-op layer wraps `send` only; the whole stack looks at `receive` once, too.")
    return found


if __name__ == "__main__":
    from benchmarks.command import main

    main("websocket")
