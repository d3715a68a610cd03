"""Pictures of the answers, as SVG: bars of a table, lines, and curves.

They bring their own background, light or dark as the system prefers: a page may have been switched to the other one.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import log10

from benchmarks.answer import Curve, spell

__all__ = ("bars", "curves", "lines")

WIDTH = 720
_LABELS = 250  # pixels for the names on the left of bars
_BAR, _GAP, _GROUP_GAP = 14, 2, 12
_TOP = 56
_EDGE = 16
_COLOURS = ("#2f7f79", "#c9791f", "#5b6fb5", "#a3485f", "#7a7a3a")
_STYLE = """
 text { font: 13px system-ui, sans-serif; fill: #24292f }
 .title { font-size: 15px; font-weight: 600 }
 .value, .tick { font-size: 11px; fill: #57606a }
 .axis { stroke: #d0d7de; stroke-width: 1 }
 .paper { fill: #ffffff }
 @media (prefers-color-scheme: dark) {
  .paper { fill: #161b22 }
  text { fill: #e6edf3 } .value, .tick { fill: #9da7b1 } .axis { stroke: #3d444d }
 }
"""


def bars(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """A group of horizontal bars for each row, one bar a column."""
    values = [number for numbers in rows.values() for number in numbers if number is not None]
    most = max(values)
    room = WIDTH - _LABELS - 70

    def length(value: float) -> float:
        return room * max(value, 0.0) / most

    parts = [*_legend(title, columns)]
    y = _TOP
    for name, numbers in rows.items():
        height = len(numbers) * (_BAR + _GAP)
        parts.append(_text(_LABELS - 10, y + height / 2 + 4, name, anchor="end"))
        for column, number in enumerate(numbers):
            if number is not None:
                parts.append(
                    f'<rect x="{_LABELS}" y="{y}" width="{max(1.0, length(number)):.1f}" height="{_BAR}" rx="2"'
                    f' fill="{_COLOURS[column]}"/>'
                )
                parts.append(_text(_LABELS + length(number) + 6, y + 11, spell(number), kind="value"))
            y += _BAR + _GAP
        y += _GROUP_GAP
    parts.append(
        f'<line class="axis" x1="{_LABELS}" x2="{_LABELS}" y1="{_TOP - 6}" y2="{y - _GROUP_GAP + 4}"/>'
    )
    return _svg(y, title, parts)


def curves(title: str, found: Sequence[Curve]) -> str:
    """Lines over a logarithmic scale, from 0 upward."""
    most = max(max(curve.points) for curve in found)
    ticks = {log10(10**power): f"{10**power:,}" for power in range(int(log10(most)) + 1)}
    named = {curve.over: {log10(x): y for x, y in curve.points.items()} for curve in found}
    return _plot(title, named, ticks, WIDTH - 150)


def lines(title: str, found: Mapping[str, Mapping[float, float]]) -> str:
    """Lines over a linear scale, both from 0 upward."""
    ticks = {x: f"{x:g}" for points in found.values() for x in points}
    return _plot(title, found, ticks, WIDTH - 200)


def _plot(
    title: str, found: Mapping[str, Mapping[float, float]], ticks: Mapping[float, str], right: float
) -> str:
    """Lines from 0 upward, with ticks on the scale below them and their names on the right."""
    left, top, bottom = 50, _TOP, 330
    most_x = max(max(points) for points in found.values())
    most_y = max(max(points.values()) for points in found.values()) * 1.1
    step = _step(most_y)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / most_x, bottom - (bottom - top) * y / most_y

    parts = [_text(0, 20, title, kind="title")]
    for tick in range(int(most_y / step) + 1):
        _, y = place(0, tick * step)
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 8, y + 4, f"{tick * step:g}", kind="tick", anchor="end"))
    for value, tick_name in ticks.items():
        x, _ = place(value, 0)
        parts.append(_text(x, bottom + 18, tick_name, kind="tick", anchor="middle"))
    names: list[tuple[float, str, str]] = []
    for (name, values), colour in zip(found.items(), _COLOURS, strict=False):
        points = [place(x, y) for x, y in values.items()]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        names.append((points[-1][1], name, colour))
    below = 0.0
    for y, name, colour in sorted(names, key=lambda each: each[0]):
        below = max(
            y + 4, below + 16
        )  # names of lines that end close to each other stand one below the other
        parts.append(
            f'<rect x="{right + 14}" y="{below - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>'
        )
        parts.append(_text(right + 30, below, name))
    return _svg(bottom + 30, title, parts)


def _step(most: float) -> float:
    size = 10 ** int(log10(most))
    return next(size * part for part in (0.2, 0.5, 1, 2) if most / (size * part) <= 6)


def _legend(title: str, columns: Sequence[str]) -> Iterator[str]:
    yield _text(0, 20, title, kind="title")
    x = _LABELS
    for name, colour in zip(columns, _COLOURS, strict=False):
        yield f'<rect x="{x}" y="32" width="10" height="10" rx="2" fill="{colour}"/>'
        yield _text(x + 15, 41, name, kind="value")
        x += 30 + 7 * len(name)


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-_EDGE} {-_EDGE} {WIDTH + 2 * _EDGE}'
        f' {height + 2 * _EDGE:.0f}" role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" x="{-_EDGE}" y="{-_EDGE}" width="100%" height="100%" rx="8"/>\n{body}\n</svg>\n'
    )
