"""SVG by hand: a sheet of paper that is legible in light and dark, and the few shapes that the pictures need."""

from html import escape
from typing import Final

__all__ = ("Drawing",)

_STYLE: Final = """
 text { font: 13px system-ui, sans-serif; fill: #24292f }
 .title { font-weight: 600 }
 .note { font-size: 11px; fill: #57606a }
 .paper { fill: #ffffff }
 .box { fill: #eaf3f2; stroke: #2f7f79 }
 .off { fill: #f6f8fa; stroke: #8c959f; stroke-dasharray: 4 3 }
 .app { fill: #2f7f79; stroke: #2f7f79 } .app-text { fill: #ffffff; font-weight: 600 }
 .good { fill: #2e9e5b } .bad { fill: #d1495b } .wait { fill: #c8922b }
 .line { stroke: #57606a; fill: none } .axis { stroke: #d0d7de } .head { fill: #57606a }
 @media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9da7b1 } .paper { fill: #161b22 }
  .box { fill: #17302e } .off { fill: #1c2128 } .line { stroke: #9da7b1 } .axis { stroke: #3d444d } .head { fill: #9da7b1 }
 }
"""

_HEAD: Final = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path class="head" d="M0 0L8 4L0 8z"/></marker>'
)


class Drawing:
    """A picture of `width` by `height`; `title` is its name, and `description` what it shows to those who can't see it."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img" aria-labelledby="title description">'
        )
        self._parts = [
            opening,
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{_STYLE}</style>",
            f"<defs>{_HEAD}</defs>",
            f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
        ]

    def text(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        """A line of text whose baseline begins, ends or has its middle at a point."""
        named = f' class="{style}"' if style else ""
        self._parts.append(f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, style: str, radius: float = 8) -> None:
        """A rectangle with round corners."""
        self._parts.append(
            f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )

    def line(self, path: str, style: str = "line", *, arrow: bool = False) -> None:
        """A path in SVG's own notation."""
        head = ' marker-end="url(#head)"' if arrow else ""
        self._parts.append(f'<path class="{style}" d="{path}"{head}/>')

    def svg(self) -> str:
        """The file."""
        return "\n".join((*self._parts, "</svg>", ""))
