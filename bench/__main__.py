"""How fast, how cheap and how small the function is next to what people would use instead.

It prints tables and writes `latest.json`, with all samples and thresholds, and the charts.
"""

from local import ending

if __name__ == "__main__":
    ending.handle_signals()  # before the imports, which take a second

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import cold, cost, drain, receipts, scaling, storm, throughput
from bench.charts import caption, draw
from bench.harness import OURS, ROOT, median, provenance, serve
from bench.tables import SHOW, all_tables, figures, headline, show_cost, show_thresholds
from local.progress import Progress
from local.report.outputs import output_file, output_folder
from local.report.page import Chart, Page

SECTIONS = ("throughput", "scaling", "drain", "cold", "receipts", "storm")
WHOLE, PARTIAL = ROOT / "bench" / "results", ROOT / "build" / "bench"
"""The folder for results: only a whole run replaces the committed ones."""
PAGES = {ROOT / "README.md": headline, ROOT / "bench" / "README.md": figures}
"""The pages whose figures a whole run writes."""


async def measure(section: str, *, quick: bool) -> tuple[Any, list[dict[str, Any]]]:
    """Measure one section; return its figures and its thresholds."""
    if section == "storm":
        stormed = await storm.measure(50 if quick else 1000)
        return stormed, storm.thresholds(stormed)
    async with serve() as server:
        match section:
            case "throughput":
                samples = await throughput.measure(server, quick=quick)
                return samples, throughput.thresholds(samples)
            case "scaling":
                points = await scaling.measure(server, quick=quick)
                return points, scaling.thresholds(points)
            case "drain":
                drained = await drain.measure(server, quick=quick)
                return drained, drain.thresholds(drained)
            case "receipts":
                return await receipts.measure(server, quick=quick), []
            case _:
                started = await cold.measure(server.environment, ROOT, 5 if quick else 9)
                return started, cold.thresholds(started)


def judged(threshold: dict[str, Any]) -> dict[str, Any]:
    """The threshold, with whether it is met."""
    value, bound = threshold["value"], threshold["bound"]
    return {**threshold, "ok": value >= bound if threshold["at"] == "least" else value <= bound}


def parser() -> argparse.ArgumentParser:
    """Return the parser of `make bench ARGS="…"`."""
    made = argparse.ArgumentParser(prog="make bench", description=__doc__)
    made.add_argument("--quick", action="store_true", help="within a few minutes, less exact")
    made.add_argument("--only", choices=SECTIONS, nargs="+", help="sections")
    made.add_argument(
        "--out",
        type=output_folder,
        help="a folder for latest.json and the charts (default: bench/results for a whole run, "
        "build/bench otherwise)",
    )
    made.add_argument("--html", type=output_file, metavar="FILE", help="write a report to a file")
    made.add_argument(
        "--from",
        dest="measured",
        type=Path,
        metavar="FILE",
        help="measure nothing: show and draw these results, e.g. bench/results/latest.json",
    )
    made.add_argument("--price-per-gigabyte-second", type=float, default=0.000026)
    made.add_argument("--price-per-million-executions", type=float, default=0.40)
    made.add_argument("--instance-gigabytes", type=float, default=2.0)
    made.add_argument("--currency", default="USD")
    made.add_argument("--face-milliseconds", type=float, default=50, help="for the cost model")
    return made


async def measure_all(
    console: Console, options: argparse.Namespace, arguments: Sequence[str]
) -> dict[str, Any]:
    """Measure, and print each section when it is done; return all results."""
    began = time.monotonic()
    results: dict[str, Any] = {"measured": provenance(arguments)}
    thresholds: list[dict[str, Any]] = []
    sections = options.only or SECTIONS
    seconds = results["measured"]["section_seconds"] = {}
    expected = expected_seconds(sections, quick=options.quick)
    with Progress(console) as progress:
        for number, section in enumerate(sections):
            ending.at_the_end(f"stopped: {number} of {len(sections)} sections measured".__str__)
            started = time.monotonic()
            measuring = asyncio.create_task(measure(section, quick=options.quick))
            while not measuring.done():
                here = min(time.monotonic() - started, expected[section])
                done = sum(expected[each] for each in sections[:number]) + here
                progress.show("percent measured", int(99 * done / sum(expected.values())), 100)
                await asyncio.wait({measuring}, timeout=1)
            results[section], found = measuring.result()
            seconds[section] = round(time.monotonic() - started)
            thresholds += map(judged, found)
            console.print(SHOW[section](results[section]))
    if "throughput" in results:
        results["cost"] = cost.model(
            median(results["throughput"][OURS]["16"]["cpu_microseconds"]),
            cost.Prices(
                per_gigabyte_second=options.price_per_gigabyte_second,
                per_million_executions=options.price_per_million_executions,
                instance_gigabytes=options.instance_gigabytes,
                currency=options.currency,
            ),
            face_rate=8,
            face_milliseconds=options.face_milliseconds,
        )
        console.print(show_cost(results["cost"]))
    results["thresholds"] = thresholds
    results["measured"]["seconds"] = round(time.monotonic() - began)
    console.print(show_thresholds(thresholds))
    return results


def expected_seconds(sections: Sequence[str], *, quick: bool) -> dict[str, float]:
    """Return how long each section takes, by the committed results; a quick one takes a fifth."""
    try:
        measured = read(WHOLE / "latest.json")["measured"]
    except ValueError:
        measured = {"seconds": 600}
    known = measured.get("section_seconds", {})
    each = measured["seconds"] / len(SECTIONS)
    return {name: known.get(name, each) / (5 if quick else 1) for name in sections}


def read(path: Path) -> dict[str, Any]:
    """Return the results in a file.

    Raises:
        ValueError: the file has no results.
    """
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        _ = results["measured"]["command"], results["thresholds"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"no results of make bench in {path}: {error}") from None
    return results


async def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; return 1 if a threshold is not met."""
    made = parser()
    options = made.parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    if options.measured:
        try:
            results = read(options.measured)
        except ValueError as error:
            made.error(f"--from: {error}")
        out = options.out or options.measured.parent
        for table in all_tables(results):
            console.print(table)
    else:
        whole = not options.quick and not options.only
        out = options.out or output_folder(str(WHOLE if whole else PARTIAL))
        results = await measure_all(console, options, arguments)
        (out / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    drawn = draw(results)
    for chart in drawn:
        (out / f"{chart.name}.svg").write_text(chart.svg)
    if out.resolve() == WHOLE:
        for path, text in PAGES.items():
            path.write_text(filled(path.read_text(), text(results)))
    if options.html:
        page(results, drawn).write(options.html)
    console.print(
        f"{caption(results['measured'])} · {results['measured']['seconds']} s; written to {out}",
        highlight=False,
    )
    return 0 if all(threshold["ok"] for threshold in results["thresholds"]) else 1


def filled(text: str, figures: str) -> str:
    """Return a page with these figures between its two marks."""
    before, begin, rest = text.partition("<!-- make bench writes this -->\n")
    _, end, after = rest.partition("<!-- until here -->")
    return f"{before}{begin}{figures}{end}{after}"


def page(results: dict[str, Any], drawn: Sequence[Chart]) -> Page:
    """Return what `--html` writes."""
    missed = [threshold["name"] for threshold in results["thresholds"] if not threshold["ok"]]
    return Page(
        title="How fast, how cheap and how small",
        verdict=(
            f"[red]{len(missed)} of {len(results['thresholds'])} thresholds are not met[/red]"
            if missed
            else f"[green]all {len(results['thresholds'])} thresholds are met[/green]"
        ),
        provenance=caption(results["measured"]),
        tables=all_tables(results),
        charts=drawn,
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
