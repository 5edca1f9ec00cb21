"""Draws the results as SVG: bars and lines, readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-weight:600;font-size:14px}"
    ".axis{stroke:#8c959f;stroke-opacity:.5}.ours{fill:#1f883d;stroke:#1f883d}"
    ".other{fill:#8c959f;stroke:#8c959f}.end{text-anchor:end}.middle{text-anchor:middle}"
    "polyline{fill:none;stroke-width:2}.ideal{stroke-dasharray:4 4}"
    "@media(prefers-color-scheme:dark){text{fill:#9198a1}}</style>"
)
_COLOURS = ("#1f883d", "#0969da", "#8250df", "#bc4c00")


def bar_chart(title: str, values: Mapping[str, float], ours: str, unit: str) -> str:
    """One horizontal bar a value, in the order given; ours in its own colour."""
    width, left, row, top = 720, 220, 28, 40
    most = max(values.values())
    parts = [_text(16, 22, title, "title")]
    for index, (name, value) in enumerate(values.items()):
        y = top + index * row
        length = max(1.0, (width - left - 110) * value / most)
        kind = "ours" if name == ours else "other"
        parts += [
            _text(left - 10, y + 15, name, "end"),
            f'<rect class="{kind}" x="{left}" y="{y}" width="{length:.1f}" height="20" rx="2"/>',
            _text(left + length + 8, y + 15, f"{value:,.0f} {unit}"),
        ]
    return _svg(width, top + row * len(values) + 10, parts)


def line_chart(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_name: str,
    y_name: str,
    logarithmic: bool,
    dashed: Sequence[str] = (),
    y_from_zero: bool = False,
) -> str:
    """One line a name, through points (x, y); dashed lines share the colour of the one before."""
    width, height, left, top, right, bottom = 720, 360, 70, 44, 150, 44
    every = [point for points in lines.values() for point in points]
    scale = log10 if logarithmic else float
    xs, ys = ([scale(point[axis]) for point in every] for axis in (0, 1))
    low_y = 0.0 if y_from_zero else min(ys)
    spans = (max(xs) - min(xs) or 1.0, (max(ys) - low_y) * 1.05 or 1.0)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (
            left + (scale(point[0]) - min(xs)) / spans[0] * (width - left - right),
            height - bottom - (scale(point[1]) - low_y) / spans[1] * (height - top - bottom),
        )

    parts = [_text(16, 22, title, "title"), _text(left, 40, y_name)]
    parts.append(_text((left + width - right) / 2, height - 8, x_name, "middle"))
    corner, end = (left, height - bottom), (width - right, height - bottom)
    parts += [_line(corner, end), _line((left, top), corner)]
    for x in _ticks([point[0] for point in every], logarithmic):
        at = left + (scale(x) - min(xs)) / spans[0] * (width - left - right)
        parts.append(_text(at, height - bottom + 18, f"{x:,.0f}", "middle"))
    for y in _ticks(
        [0.0, *(p[1] for p in every)] if y_from_zero else [p[1] for p in every], logarithmic
    ):
        at = height - bottom - (scale(y) - low_y) / spans[1] * (height - top - bottom)
        parts.append(_text(left - 8, at + 4, f"{y:,.0f}", "end"))
    colours = iter(_COLOURS * len(lines))
    colour = _COLOURS[0]
    for name, points in lines.items():
        kind = "ideal" if name in dashed else "line"
        colour = colour if name in dashed else next(colours)
        placed = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="{kind}" stroke="{colour}" points="{path}"/>')
        parts.append(_text(placed[-1][0] + 8, placed[-1][1] + 4, name))
    return _svg(width, height, parts)


def _ticks(values: Sequence[float], logarithmic: bool) -> list[float]:
    low, high = min(values), max(values)
    if logarithmic:
        powers = range(round(log10(low) - 0.5), round(log10(high) + 0.5) + 1)
        return [10.0**power for power in powers if low <= 10.0**power <= high]
    return [low + (high - low) * part / 4 for part in range(5)]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="axis" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">\n{_STYLE}\n{body}\n</svg>\n'
    )
