"""A picture of a game day: what was answered each second, how slowly, and what the circuits did."""

from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import Final

from examples.inference_service.gameday.ledger import Ledger, percentile

__all__ = ("timeline",)

_WIDTH: Final = 960
_LEFT: Final = 120
_TOP: Final = 40
_BARS: Final = 140
_LINE: Final = 90
_LANE: Final = 22
_GAP: Final = 26
_COLOURS: Final = {
    "ok": "#2e9e5b",
    "degraded": "#e0a526",
    "4xx": "#7b8794",
    "5xx": "#d64545",
    "closed": "#2e9e5b",
    "half_open": "#e0a526",
    "open": "#d64545",
}
_LIMITS_MS: Final = (10, 100, 1000, 10_000)
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#52606d}.h{font-weight:600}"
    ".grid{stroke:#9aa5b1;stroke-opacity:.4}.chapter{fill:#9aa5b1;fill-opacity:.12}"
)


def timeline(ledger: Ledger) -> str:
    """The picture, as SVG."""
    picture = _Picture(ledger)
    parts = [*picture.chapters(), *picture.bars(), *picture.latency(), *picture.circuits(), *picture.legend()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {picture.height}" role="img">\n'
        "<title>Game day: answers, latency and circuit breakers by the second</title>\n"
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


class _Picture:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spans = ledger.spans()
        self._end = max(1.0, self._spans[-1][2])
        self._circuits = sorted({change.dependency for change in ledger.changes})
        self._line_top = _TOP + _BARS + _GAP
        self._lanes_top = self._line_top + _LINE + _GAP
        self.height = self._lanes_top + _LANE * len(self._circuits) + 2 * _GAP

    def _x(self, second: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 10) * min(second, self._end) / self._end, 1)

    def _rectangle(self, begin: float, end: float, top: float, height: float, colour: str) -> str:
        width = max(0.5, self._x(end) - self._x(begin))
        return f'<rect x="{self._x(begin)}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'

    def chapters(self) -> Iterator[str]:
        """Every second one shaded, with its title above."""
        bottom = self.height - _GAP * 1.5
        for number, (title, begin, end) in enumerate(self._spans):
            x, width = self._x(begin), self._x(end) - self._x(begin)
            if number % 2:
                yield f'<rect class="chapter" x="{x}" y="{_TOP - 24}" width="{width:.1f}" height="{bottom - _TOP + 24:.1f}"/>'
            yield f'<text x="{x + 4}" y="{_TOP - 8}">{escape(title)}</text>'

    def bars(self) -> Iterator[str]:
        """The answers of each second, by kind."""
        yield f'<text class="h" x="8" y="{_TOP + 14}">answers / s</text>'
        seconds: dict[int, Counter[str]] = {}
        for each in self._ledger.answers:
            seconds.setdefault(int(each.began + each.seconds), Counter())[each.kind] += 1
        most = max((sum(kinds.values()) for kinds in seconds.values()), default=1)
        for second, kinds in sorted(seconds.items()):
            top = float(_TOP + _BARS)
            for kind in ("ok", "degraded", "4xx", "5xx"):
                if kinds[kind]:
                    height = _BARS * kinds[kind] / most
                    top -= height
                    yield self._rectangle(second, second + 1, top, height, _COLOURS[kind])

    def latency(self) -> Iterator[str]:
        """The 95th percentile of each second, on a logarithmic scale."""
        bottom = self._line_top + _LINE

        def y(seconds: float) -> float:
            decades = [limit for limit in _LIMITS_MS if limit <= seconds * 1000]
            low = decades[-1] if decades else _LIMITS_MS[0]
            share = (len(decades) - 1 + min(1.0, (seconds * 1000 / low - 1) / 9)) / len(_LIMITS_MS)
            return round(bottom - _LINE * max(0.0, share), 1)

        yield f'<text class="h" x="8" y="{self._line_top + 4}">p95</text>'
        for limit in _LIMITS_MS:
            height = y(limit / 1000)
            label = f"{limit} ms" if limit < 1000 else f"{limit // 1000} s"
            yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{height}" y2="{height}"/>'
            yield f'<text x="{_LEFT - 8}" y="{height + 4}" text-anchor="end">{label}</text>'
        durations: dict[int, list[float]] = {}
        for each in self._ledger.answers:
            durations.setdefault(int(each.began), []).append(each.seconds)
        points = " ".join(
            f"{self._x(second + 0.5)},{y(percentile(values, 0.95))}"
            for second, values in sorted(durations.items())
        )
        yield f'<polyline points="{points}" fill="none" stroke="#3e7cb1" stroke-width="1.5"/>'

    def circuits(self) -> Iterator[str]:
        """A lane for each circuit breaker that has moved."""
        for number, name in enumerate(self._circuits):
            top = self._lanes_top + number * _LANE
            yield f'<text class="h" x="8" y="{top + 12}">{escape(name)}</text>'
            begin, state = 0.0, "closed"
            for change in self._ledger.changes:
                if change.dependency == name:
                    yield self._rectangle(begin, change.at, top, _LANE - 8, _COLOURS.get(state, "#7b8794"))
                    begin, state = max(0.0, change.at), change.new
            yield self._rectangle(begin, self._end, top, _LANE - 8, _COLOURS.get(state, "#7b8794"))

    def legend(self) -> Iterator[str]:
        """What the colours mean."""
        y = self.height - 12
        words = (
            ("ok", "ok, closed"),
            ("degraded", "degraded, half-open"),
            ("4xx", "4xx"),
            ("5xx", "5xx, open"),
        )
        for number, (colour, words_of_it) in enumerate(words):
            x = _LEFT + number * 170
            yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[colour]}"/>'
            yield f'<text x="{x + 18}" y="{y}">{words_of_it}</text>'
