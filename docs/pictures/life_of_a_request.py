"""The life of a request: one is really made, on virtual time, to a service whose dependency fails at first."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from asgi_resilience import Settings, current_request, wrap
from asgi_resilience.client import AttemptFailed, Dependency, RetryPolicy, RetryScheduled
from asgi_resilience.client.events import Event
from asgi_resilience.context import Receive, Scope, Send
from asgi_resilience.metric_sink import NULL
from asgi_resilience.testing import FailingDependency, Slow, VirtualTimeLoop, asgi_request
from docs.pictures.drawing import Drawing

__all__ = ("Life", "draw", "live")

_LEFT: Final = 110
_SECOND: Final = 250.0  # pixels
_TIMEOUT: Final = 2.0


@dataclass
class Life:
    """When things happened, in seconds since the request arrived.

    Attributes:
        attempts: Of the outbound call: beginning, end, and whether it went well.
        answered: When the response started.
        chunks: When each part of the body left; the last one ends the request.
        worked: When the background task was done.
        deadline: When the request would have been given up.
    """

    attempts: list[tuple[float, float, bool]] = field(default_factory=list)
    answered: float = 0.0
    chunks: list[float] = field(default_factory=list)
    worked: float = 0.0
    deadline: float = 0.0


async def _live() -> Life:
    life = Life()
    clock = asyncio.get_running_loop().time
    database = FailingDependency(Slow(0.2, ConnectionResetError()), Slow(0.3, "rows"))
    began = 0.0

    def heard(event: Event) -> None:
        nonlocal began
        if isinstance(event, AttemptFailed):
            life.attempts.append((began, clock(), False))
        if isinstance(event, RetryScheduled):
            began = clock() + event.delay

    postgres = Dependency("postgres", retry=RetryPolicy(jitter=0.0), listeners=[heard])

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        record = current_request()
        assert record is not None
        assert record.deadline is not None
        life.deadline = record.deadline
        await postgres.call(database)
        life.attempts.append((began, clock(), True))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more in (True, True, False):
            await send({"type": "http.response.body", "body": b"rows", "more_body": more})
            await asyncio.sleep(0.3)
        life.worked = clock()

    settings = Settings(access_log=False, metric_sink=NULL, timeout=_TIMEOUT, rate_limit="100/minute")
    answer = await asgi_request(wrap(app, settings))
    life.answered, *life.chunks = answer.times
    return life


def live() -> Life:
    """What happened."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_live())


def _at(seconds: float) -> float:
    return _LEFT + seconds * _SECOND


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def draw() -> str:
    """A lane for each who takes part, and the time from left to right."""
    life = live()
    end = life.chunks[-1]
    drawing = Drawing(
        720,
        300,
        "The life of a request",
        f"The request gets its id, its quota and its deadline at once. The first attempt of an outbound call fails after "
        f"{_ms(life.attempts[0][1])}; the second one succeeds after {_ms(life.attempts[1][1])}. The response starts at "
        f"{_ms(life.answered)} and ends at {_ms(end)}, when the log line, the metrics and the span are made. A "
        f"background task goes on until {_ms(life.worked)}. The deadline would have been at {_ms(life.deadline)}.",
    )
    for seconds in (0.0, 0.5, 1.0, 1.5, 2.0):
        drawing.line(f"M{_at(seconds):g} 50V262", "axis")
        drawing.text(_at(seconds), 280, _ms(seconds), "note", "middle")
    _layers(drawing, life)
    _lane(drawing, 100, "response", [(life.answered, end, "good", "")])
    for chunk in life.chunks:
        drawing.line(f"M{_at(chunk):g} 98V122", "line")
    drawing.text(_at(life.answered) - 6, 114, f"ttfb_ms {life.answered * 1000:.0f}", "note", "end")
    drawing.text(_at(end) + 6, 114, f"duration_ms {end * 1000:.0f}", "note")
    _lane(drawing, 150, "handler", [(0.0, end, "box", ""), (end, life.worked, "off", "background")])
    (first, failed, _), (again, answered, _) = life.attempts
    lanes = [(first, failed, "bad", ""), (failed, again, "wait", ""), (again, answered, "good", "")]
    _lane(drawing, 200, "outbound", lanes)
    drawing.text(_at(first), 236, "attempt 1", "note")
    drawing.text(_at((failed + again) / 2), 250, "wait", "note", "middle")
    drawing.text(_at(again), 236, "attempt 2", "note")
    return drawing.svg()


def _layers(drawing: Drawing, life: Life) -> None:
    """What the stack does, and when."""
    end = life.chunks[-1]
    for seconds, *lines in (
        (0.0, "gives id, trace, deadline;", "counts against the quota"),
        (life.answered, "adds header", "fields"),
        (end, "writes the line; counts;", "finishes the span"),
        (life.deadline, "would give", "up: 504"),
    ):
        drawing.line(f"M{_at(seconds):g} 50V262", "line")
        for number, line in enumerate(lines):
            drawing.text(_at(seconds), 28 + 15 * number, line, "note", "start")
    drawing.text(14, 35, "the stack", "title")


def _lane(drawing: Drawing, y: float, name: str, bars: list[tuple[float, float, str, str]]) -> None:
    drawing.text(14, y + 15, name, "title")
    for begin, end, style, text in bars:
        drawing.box(_at(begin), y, (end - begin) * _SECOND, 20, style, 3)
        if text:
            drawing.text(_at((begin + end) / 2), y + 14, text, "note", "middle")
