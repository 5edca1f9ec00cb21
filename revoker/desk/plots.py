"""Small line charts as SVG, drawn on the server, without a colour or a style in them.

Lines differ by their dashes as well as by their class, which the style sheet colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from revoker.desk.rendering import number

WIDTH, HEIGHT = 320, 110
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 6, 8, 18
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, slots=True)
class Series:
    """One line: a value for each point in time, None where there is none."""

    name: str
    values: Sequence[float | None]

    @property
    def latest(self) -> str:
        """The last value, for people."""
        known = [value for value in self.values if value is not None]
        return number(known[-1]) if known else "none"


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart with its legend."""

    title: str
    unit: str
    series: Sequence[Series]
    since: str
    """The label of the left end of the time axis."""
    shaded: Sequence[bool] = ()
    """Where the background is shaded, for each point in time."""

    @property
    def words(self) -> str:
        """The last values in words, for screen readers."""
        latest = ", ".join(f"{each.name} {each.latest}" for each in self.series)
        return f"{self.title} ({self.unit}): {latest}"

    @property
    def svg(self) -> Markup:
        """The chart."""
        top = _ceiling(max((v for s in self.series for v in s.values if v is not None), default=0))
        parts = [
            Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
                WIDTH, HEIGHT, self.words
            ),
            *_shades(self.shaded),
            *_axes(top, self.since),
            *(_line(each, number, top) for number, each in enumerate(self.series)),
            Markup("</svg>"),
        ]
        return Markup("").join(parts)

    @property
    def legend(self) -> Sequence[tuple[Markup, str, str]]:
        """A sample, the name and the last value of each line."""
        return [
            (
                Markup(
                    '<svg class="sample" viewBox="0 0 24 8" aria-hidden="true">'
                    '<path class="line s{}" stroke-dasharray="{}" d="M0 4H24"/></svg>'
                ).format(number, _DASHES[number]),
                each.name,
                each.latest,
            )
            for number, each in enumerate(self.series)
        ]


def _ceiling(most: float) -> float:
    """Return the next round number."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most * 0.999)


def _x(index: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index / max(1, count - 1))


def _y(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(1.0, value / top)


def _axes(top: float, since: str) -> Sequence[Markup]:
    base = HEIGHT - _BOTTOM
    return [
        Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(
            _LEFT, _TOP, base, WIDTH - _RIGHT
        ),
        Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
            _LEFT - 4, _TOP + 6, number(top)
        ),
        Markup('<text class="tick" x="{}" y="{}" text-anchor="end">0</text>').format(
            _LEFT - 4, base
        ),
        Markup('<text class="tick" x="{}" y="{}">{}</text>').format(_LEFT, HEIGHT - 5, since),
        Markup('<text class="tick" x="{}" y="{}" text-anchor="end">now</text>').format(
            WIDTH - _RIGHT, HEIGHT - 5
        ),
    ]


def _line(series: Series, number: int, top: float) -> Markup:
    steps, pen_down = [], False
    for index, value in enumerate(series.values):
        if value is not None:
            x, y = _x(index, len(series.values)), _y(value, top)
            steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = value is not None
    return Markup('<path class="line s{}" stroke-dasharray="{}" d="{}"/>').format(
        number, _DASHES[number], "".join(steps)
    )


def _shades(shaded: Sequence[bool]) -> Sequence[Markup]:
    found = []
    for is_shaded, run in groupby(range(len(shaded)), key=lambda index: shaded[index]):
        indices = list(run)
        if is_shaded:
            left, right = _x(indices[0], len(shaded)), _x(indices[-1] + 1, len(shaded))
            found.append(
                Markup('<rect class="shade" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    left,
                    _TOP,
                    min(right, WIDTH - _RIGHT) - left,
                    HEIGHT - _TOP - _BOTTOM,
                )
            )
    return found
