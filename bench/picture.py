"""Line charts as SVG, small enough to read in a diff."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 15, 40, 45
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8a8a8a", "#7b4b94", "#b8860b")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(
    title: str, x_name: str, y_name: str, lines: Sequence[Line], x_most: float, y_most: float
) -> str:
    """An SVG document. Points beyond the axes are cut off; at most a point a pixel is drawn."""
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="16" font-size="14">{escape(title)}</text>',
    ]
    for step in range(5):
        x, y = _LEFT + width * step / 4, _TOP + height * (1 - step / 4)
        parts += [
            f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{y_most * step / 4:g}</text>',
            f'<text x="{x:.0f}" y="{_TOP + height + 16}" text-anchor="middle">'
            f"{x_most * step / 4:g}</text>",
        ]
    parts += [
        f'<text x="{_LEFT + width / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_name)}</text>",
        f'<text x="8" y="{_TOP - 8}">{escape(y_name)}</text>',
    ]
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn: dict[int, str] = {}
        for x, y in line.points:
            if x <= x_most:
                pixel = round(_LEFT + width * x / x_most)
                drawn[pixel] = f"{pixel},{_TOP + height * (1 - min(y, y_most) / y_most):.0f}"
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" '
            f'points="{" ".join(drawn.values())}"/>',
            f'<text x="{_LEFT + 8}" y="{_TOP + 12 + 14 * number}" fill="{colour}">'
            f"{escape(line.name)}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])
