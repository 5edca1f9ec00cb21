"""What `make soak` reports: tables, problems, JSON, and a page with charts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from local.report.page import Chart, Page
from local.soak.invariants import Threshold, Verdict

PROBLEMS_SHOWN = 8
LONG_SPANS = 6
"""Minimum tens of seconds for a chart of a scenario's calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one scenario. Its thresholds begin with the invariants."""

    name: str
    seconds: float
    verdict: Verdict
    thresholds: Sequence[Threshold]
    problems: Sequence[str]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every invariant and every threshold is met."""
        return not self.problems and all(threshold.ok for threshold in self.thresholds)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` writes for it."""
        verdict = self.verdict
        return {
            "name": self.name,
            "ok": self.ok,
            "published": verdict.published,
            "completed": verdict.completed,
            "dead_lettered": verdict.dead_lettered,
            "lost": verdict.lost,
            "stuck": verdict.stuck,
            "twice": verdict.twice,
            "seconds": round(self.seconds, 1),
        }

    def thresholds_as_json(self) -> list[dict[str, Any]]:
        """Return its thresholds, the invariants first, each name beginning with the scenario's."""
        return [
            {
                "name": f"{self.name}: {threshold.name}",
                "value": round(threshold.value, 4) if threshold.value < float("inf") else None,
                "bound": round(threshold.bound, 4),
                "ok": threshold.ok,
            }
            for threshold in self.thresholds
        ]


def as_json(results: Sequence[Result], seed: int, seconds: float) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "ok": all(result.ok for result in results),
        "seed": seed,
        "seconds": round(seconds, 1),
        "scenarios": [result.as_json() for result in results],
        "thresholds": [
            threshold for result in results for threshold in result.thresholds_as_json()
        ],
        "figures": {result.name: result.figures for result in results},
    }


def _mark(ok: bool) -> str:
    return "[green]ok[/green]" if ok else "[red]NOT OK[/red]"


def tables(results: Sequence[Result]) -> list[Table]:
    """Return a table of the scenarios and one of the thresholds."""
    counts = ("published", "completed", "dead", "lost", "stuck", "twice", "redundant", "calls")
    table = Table("scenario", "", *counts, "seconds", title="Outcomes of the messages")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        verdict = result.verdict
        numbers = (
            *(verdict.published, verdict.completed, verdict.dead_lettered),
            *(verdict.lost, verdict.stuck, verdict.twice, verdict.redundant),
            result.figures.get("calls", ""),
        )
        table.add_row(result.name, _mark(result.ok), *map(str, numbers), f"{result.seconds:.1f}")
    thresholds = Table("scenario", "threshold", "value", "bound", "", title="Thresholds")
    for column in thresholds.columns[2:4]:
        column.justify = "right"
    for result in results:
        for threshold in result.thresholds:
            # The table above shows the thresholds of zero that are met.
            if not threshold.ok or threshold.bound > 0:
                figures = f"{threshold.value:.4g}", f"{threshold.bound:.4g}"
                thresholds.add_row(result.name, threshold.name, *figures, _mark(threshold.ok))
    return [table, thresholds]


def problem_lines(results: Sequence[Result]) -> list[str]:
    """Return what is wrong, in rich markup."""
    lines = []
    for result in results:
        shown = result.problems[:PROBLEMS_SHOWN]
        lines += [escape(f"{result.name}: {problem}") for problem in shown]
        if (more := len(result.problems) - PROBLEMS_SHOWN) > 0:
            lines.append(f"{result.name}: and {more} more")
    return lines


def verdict(results: Sequence[Result], seed: int, seconds: float) -> str:
    """Return the last line, in rich markup."""
    ok = all(result.ok for result in results)
    shown = (
        "[green]all thresholds are met[/green]" if ok else "[red]NOT all thresholds are met[/red]"
    )
    number = f"{len(results)} scenario{'s' if len(results) != 1 else ''}"
    return f"{number}, seed {seed}, {seconds:.0f} s: {shown}"


def page(results: Sequence[Result], seed: int, seconds: float, provenance: str) -> Page:
    """Return what `--html` writes."""
    return Page(
        title="Every failure, played",
        verdict=verdict(results, seed, seconds),
        provenance=provenance,
        tables=tables(results),
        lines=problem_lines(results),
        charts=_charts(results, provenance),
    )


def _charts(results: Sequence[Result], provenance: str) -> list[Chart]:
    from local.report import charts  # matplotlib takes a second to load, and only a page needs it

    drawn = []
    thresholds = {
        f"{result.name}: {threshold.name}": (threshold.value / threshold.bound, threshold.ok)
        for result in results
        for threshold in result.thresholds
        if threshold.bound > 0 and threshold.value < float("inf")
    }
    if thresholds:
        drawn.append(
            charts.bar_chart(
                "thresholds",
                "How close each value is to its bound",
                {name: value for name, (value, _) in thresholds.items()},
                unit="value ÷ bound; at most 1",
                caption=provenance,
                colours={
                    name: charts.GREEN if ok else charts.RED for name, (_, ok) in thresholds.items()
                },
                bound=1.0,
                labels="{:.2f}",
            )
        )
    curves = {each.name: each.figures.get("calls_per_second_by_10_s", []) for each in results}
    long = {name: curve for name, curve in curves.items() if len(curve) >= LONG_SPANS}
    if long:
        lines = [
            charts.Line(
                name=name,
                points=[(10 * number + 5, calls) for number, calls in enumerate(curve)],
                colour=charts.SERIES[number % len(charts.SERIES)],
                dashed=number >= len(charts.SERIES),
            )
            for number, (name, curve) in enumerate(long.items())
        ]
        drawn.append(
            charts.line_chart(
                "calls",
                "Calls of the function over time",
                lines,
                axes_names=("seconds since the first call", "calls per second, over 10 s"),
                caption=provenance,
            )
        )
    return drawn
