"""Charts as SVG, drawn by matplotlib: light and dark in one file, and reproducible.

The colours are for a light page, and a style in the file replaces them for readers who prefer dark.
Text stays text, so that it can be searched and selected.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from local.report.page import Chart

PAPER, INK, MUTED, RULE = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = (
    *("#0b62b8", "#b35900", "#1a7f37"),
    *("#7a3fb8", "#c0392b", "#8c959f"),
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)
ON_DARK = {
    PAPER: "#0d1117",
    INK: "#e6edf3",
    MUTED: "#9198a1",
    RULE: "#3d444d",
    BLUE: "#58a6ff",
    ORANGE: "#f0883e",
    GREEN: "#3fb950",
    PURPLE: "#bc8cff",
    RED: "#ff7b72",
    GREY: "#757e88",
}
_SETTINGS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "grid.color": RULE,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
_CAPTION_WIDTH = 118  # characters of a line under a chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw in the project's style; the ids in the file depend on this name only."""
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        yield


def finish(figure: Figure, name: str, title: str, caption: str) -> Chart:
    """Put the title above and the caption, which says how it was measured, below; return the SVG."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    lines = "\n".join(textwrap.wrap(caption, _CAPTION_WIDTH))
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=8, color=MUTED)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib measures with its own font; where that is missing, Verdana is equally wide.
    drawn = file.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    return Chart(name, title, _for_both_schemes(drawn[drawn.index("<svg") :], title))


def _for_both_schemes(svg: str, title: str) -> str:
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in ON_DARK.items()
        for what in ("fill", "stroke")
    )
    head, _, rest = svg.partition(">")
    css = f"<style>@media(prefers-color-scheme:dark){{{rules}}}</style>"
    tidy = "\n".join(line.rstrip() for line in rest.splitlines())
    return f'{head} role="img" aria-label="{escape(title)}">\n{css}{tidy}\n'


def bar_chart(
    name: str,
    title: str,
    values: Mapping[str, float],
    *,
    unit: str,
    caption: str,
    colours: Mapping[str, str] | None = None,
    bound: float | None = None,
    labels: str = "{:,.0f}",
) -> Chart:
    """Draw one horizontal bar for each value, in the given order, with its figure beside it.

    Args:
        name: file name without suffix.
        title: title above the chart.
        values: the values by name.
        unit: label of the axis.
        caption: how it was measured.
        colours: colours of some bars; the others are grey.
        bound: where to draw a line, if any.
        labels: format of a value.
    """
    with style(name):
        figure = Figure(figsize=(8, 1.5 + 0.32 * len(values)), layout="constrained")
        axes = figure.subplots()
        chosen = [(colours or {}).get(each, GREY) for each in values]
        places = range(len(values))
        drawn = axes.barh(places, list(values.values()), height=0.7, color=chosen)
        # With a background, so that a bound behind a figure does not cross it out.
        paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        figures = [labels.format(value) for value in values.values()]
        axes.bar_label(drawn, figures, padding=4, bbox=paper)
        axes.set_yticks(places, list(values), color=INK)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.margins(x=0.12)
        if bound is not None:
            axes.axvline(bound, color=INK, linewidth=1)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(_plain())
        return finish(figure, name, title, caption)


def line_chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    *,
    axes_names: tuple[str, str],
    caption: str,
    scale: Literal["linear", "log"] = "linear",
) -> Chart:
    """Draw lines with a legend beside them; on a linear scale, y begins at zero.

    Args:
        name: file name without suffix.
        title: title above the chart.
        lines: lines in the order of the legend.
        axes_names: names of x and y, with their units.
        caption: how it was measured.
        scale: scale of both axes.
    """
    with style(name):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        for line in lines:
            xs, ys = zip(*line.points, strict=True)
            pattern = (0, (4, 3)) if line.dashed else "solid"
            axes.plot(xs, ys, color=line.colour, linestyle=pattern, label=line.name)
        if scale == "log":
            _logarithmic(axes, sorted({x for line in lines for x, _ in line.points}))
        else:
            axes.set_ylim(0, 1.1 * max(y for line in lines for _, y in line.points) or 1.0)
            axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(_plain())
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        if len(lines) > 1:
            figure.legend(loc="outside right upper")
        return finish(figure, name, title, caption)


def _logarithmic(axes: Axes, marks: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(marks)
    axes.xaxis.set_major_formatter(_plain())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain() -> FuncFormatter:
    """Format numbers as 10,000 and 0.5."""
    return FuncFormatter(lambda value, _: f"{value:,.10g}")


def stacked_bar_chart(
    name: str,
    title: str,
    rows: Mapping[str, Sequence[float]],
    parts: Sequence[str],
    *,
    unit: str,
    caption: str,
) -> Chart:
    """Draw one horizontal bar for each row, made of its parts.

    Args:
        name: file name without suffix.
        title: title above the chart.
        rows: one figure for each part, by the row's name.
        parts: names of the parts, for the legend.
        unit: label of the axis.
        caption: how it was measured.
    """
    with style(name):
        figure = Figure(figsize=(8, 1.8 + 0.4 * len(rows)), layout="constrained")
        axes = figure.subplots()
        starts = [0.0] * len(rows)
        for number, part in enumerate(parts):
            widths = [figures[number] for figures in rows.values()]
            colour = SERIES[number % len(SERIES)]
            axes.barh(range(len(rows)), widths, 0.7, left=starts, color=colour, label=part)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        axes.set_yticks(range(len(rows)), list(rows), color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(_plain())
        figure.legend(loc="outside right upper")
        return finish(figure, name, title, caption)
