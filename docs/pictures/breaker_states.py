"""The states of the circuit breaker, and what leads from one to another: asked of a breaker by letting it happen.

Each way to end a call is tried in each state that a breaker gets into by itself, and what it then tells is drawn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from asgi_resilience.client import BreakerPolicy, CircuitOpen, StateChanged
from asgi_resilience.client.breaker import PolicyBreaker
from asgi_resilience.client.events import Event
from docs.pictures.drawing import Drawing

__all__ = ("Change", "changes", "draw")

Change: TypeAlias = tuple[str, str, str]
"""From, to, and why."""

_POLICY: Final = BreakerPolicy()
_PLACES: Final = {"closed": (50, 60), "open": (490, 60), "half_open": (270, 230)}
_WIDTH: Final = 150
_HEIGHT: Final = 56


async def _works() -> None: ...


async def _fails() -> None:
    raise ConnectionRefusedError


async def _hangs() -> None:
    await asyncio.Event().wait()


class _Watched:
    """A breaker whose changes are written down, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.changes: list[Change] = []
        self.breaker = PolicyBreaker("dependency", _POLICY, emit=self._emit, clock=lambda: self.now)

    def _emit(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            self.changes.append((event.old, event.new, event.reason))

    async def calls(self, *outcomes: Callable[[], Awaitable[None]]) -> None:
        """One call for each."""
        for outcome in outcomes:
            try:
                await self.breaker.call_async(outcome)
            except (ConnectionRefusedError, CircuitOpen):
                continue


async def _stories() -> list[Change]:
    streak, share, probes = _Watched(), _Watched(), _Watched()
    await streak.calls(*[_fails] * _POLICY.failures_in_a_row)
    streak.now += _POLICY.open_for
    await streak.calls(_fails)  # the probe
    streak.now += _POLICY.open_for
    await streak.calls(*[_works] * _POLICY.close_after)
    await share.calls(*[_works, _fails] * (_POLICY.window // 2))
    probes.breaker.half_open()
    probes.changes.clear()  # by hand, which is not what is drawn
    hanging = [asyncio.create_task(probes.calls(_hangs)) for _ in range(_POLICY.close_after)]
    await asyncio.sleep(0)
    probes.now += _POLICY.half_open_for
    await probes.calls(_works)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    return [*streak.changes, *share.changes, *probes.changes]


def changes() -> list[Change]:
    """Every change that a breaker with the default policy makes by itself, once."""
    return list(dict.fromkeys(asyncio.run(_stories())))


def draw() -> str:
    """Three states, and an arrow from one to another with all of its reasons."""
    found = changes()
    reasons: dict[tuple[str, str], list[str]] = {}
    for old, new, reason in found:
        reasons.setdefault((old, new), []).append(reason)
    drawing = Drawing(
        690,
        330,
        "The states of the circuit breaker",
        "; ".join(f"{old} to {new}: {' or '.join(why)}" for (old, new), why in reasons.items()) + ".",
    )
    arrows = {
        ("closed", "open"): ("M200 80H488", (344, 54), "middle"),
        ("open", "half_open"): ("M535 116V250H422", (546, 200), "start"),
        ("half_open", "open"): ("M400 230L512 118", (428, 160), "end"),
        ("half_open", "closed"): ("M270 258H125V118", (136, 190), "start"),
    }
    for change, why in reasons.items():
        path, (x, y), anchor = arrows[change]
        drawing.line(path, arrow=True)
        lines = [why[0], *(f"or {reason}" for reason in why[1:])]
        if change == ("open", "half_open"):
            lines.append(f"after {_POLICY.open_for:g} s")
        for number, line in enumerate(lines):
            drawing.text(x, y + 15 * number, line, "note", anchor)
    passes = {
        "closed": "calls go through",
        "open": "calls are rejected",
        "half_open": f"{_POLICY.close_after} probes at most",
    }
    for state, (x, y) in _PLACES.items():
        drawing.box(x, y, _WIDTH, _HEIGHT, "box")
        drawing.text(x + _WIDTH / 2, y + 24, state, "title", "middle")
        drawing.text(x + _WIDTH / 2, y + 42, passes[state], "note", "middle")
    return drawing.svg()
