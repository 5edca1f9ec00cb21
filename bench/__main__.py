"""How fast, how cheap and how small the function is next to what people would use instead.

It prints tables and writes `latest.json`, with every sample and the bars, and the plots.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import cold, cost, drain, plots, scaling, storm, throughput
from bench.harness import OURS, ROOT, median, provenance, serve, spread

SECTIONS = ("throughput", "scaling", "drain", "cold", "storm")


async def measure(section: str, *, quick: bool) -> tuple[Any, list[dict[str, Any]]]:
    """Measure one section; return its figures and its bars."""
    if section == "storm":
        stormed = await storm.measure(50 if quick else 1000)
        return stormed, storm.bars(stormed)
    async with serve() as server:
        match section:
            case "throughput":
                samples = await throughput.measure(server, quick=quick)
                return samples, throughput.bars(samples)
            case "scaling":
                points = await scaling.measure(server, quick=quick)
                return points, scaling.bars(points)
            case "drain":
                drained = await drain.measure(server, quick=quick)
                return drained, drain.bars(drained)
            case _:
                started = await cold.measure(server.environment, ROOT, 3 if quick else 9)
                return started, cold.bars(started)


def judged(bar: dict[str, Any]) -> dict[str, Any]:
    """The bar, with whether it holds."""
    value, bound = bar["value"], bar["bound"]
    return {**bar, "ok": value >= bound if bar["at"] == "least" else value <= bound}


def table(title: str, *columns: str) -> Table:
    """An empty table: a column of names, and columns of figures."""
    made = Table(title=title, title_justify="left")
    made.add_column(columns[0])
    for column in columns[1:]:
        made.add_column(column, justify="right")
    return made


def show_throughput(samples: dict[str, Any]) -> Table:
    """Messages per second and CPU time, medians."""
    columns = [
        column for c in throughput.CONCURRENCIES for column in (f"{c} in flight, msg/s", "CPU µs")
    ]
    shown = table("Throughput (± interquartile range) and CPU per message", "variant", *columns)
    for variant, found in samples.items():
        cells = []
        for kinds in found.values():
            rate, cpu = kinds["per_second"], kinds["cpu_microseconds"]
            cells += [f"{median(rate):,.0f} ±{spread(rate):.0%}", f"{median(cpu):,.0f}"]
        shown.add_row(variant, *cells)
    return shown


def show_scaling(points: list[dict[str, Any]]) -> Table:
    """Part of the ideal by in flight and latency."""
    latencies = sorted({point["latency_milliseconds"] for point in points})
    shown = table(
        "Messages per second (part of in flight ÷ latency)", "in flight", *map(_ms, latencies)
    )
    for in_flight in sorted({point["in_flight"] for point in points}):
        cells = {
            point[
                "latency_milliseconds"
            ]: f"{point['per_second']:,.0f} ({point['part_of_ideal']:.0%})"
            for point in points
            if point["in_flight"] == in_flight
        }
        shown.add_row(str(in_flight), *(cells.get(latency, "") for latency in latencies))
    return shown


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:g} ms"


def show_drain(found: dict[str, Any]) -> Table:
    """Cost by size, and memory."""
    shown = table("Draining, and memory", "what", "time", "CPU per message", "resident")
    for size, drained in found["drains"].items():
        shown.add_row(
            f"{int(size):,} messages",
            f"{drained['seconds']:.1f} s",
            f"{drained['cpu_microseconds']:.0f} µs",
            f"{found['chunks'][int(size) // found['chunk_messages'] - 1]['rss_bytes'] / 2**20:.1f} MiB",
        )
    for variant, rss in found["rss_bytes"].items():
        for moment, bytes_ in rss.items():
            shown.add_row(f"{variant}, {moment}", "", "", f"{bytes_ / 2**20:.1f} MiB")
    return shown


def show_cold(found: dict[str, Any]) -> Table:
    """Milliseconds from the start of the process, medians."""
    shown = table(
        "Cold start, ms since the process started",
        "variant",
        "runtime loaded",
        "indexed",
        "done",
        "CPU",
    )
    for variant, samples in found["samples"].items():
        cells = [
            f"{median([sample[mark] for sample in samples]) * 1000:.0f}"
            if mark in samples[0]
            else ""
            for mark in ("runtime", "indexed", "done", "cpu")
        ]
        shown.add_row(variant, *cells)
    return shown


def show_storm(found: dict[str, dict[str, Any]]) -> Table:
    """What became of the storm."""
    [any_of_them, *_] = found.values()
    shown = table(
        f"A storm of {any_of_them['messages']:,} at {any_of_them['face_rate']} calls/s,"
        f" of which a live client takes {any_of_them['live_rate']}",
        *("variant", "seconds", "deleted", "calls", "wasted", "dead-lettered", "live 429s"),
    )
    for variant, ended in found.items():
        counts = ("sessions_deleted", "calls", "calls_wasted", "dead_lettered")
        throttled = ended["live_calls_throttled"] / max(1, ended["live_calls"])
        cells = [f"{ended['seconds']:.0f}", *(f"{ended[name]:,}" for name in counts)]
        shown.add_row(variant, *cells, f"{throttled:.1%}")
    return shown


def show_cost(found: dict[str, Any]) -> Table:
    """The bill, with its arithmetic."""
    shown = table("A million revocations", "case", "GB-s", "price", "arithmetic")
    for row in found["rows"]:
        price = f"{row['price']:,.2f} {row['currency']}"
        shown.add_row(row["case"], f"{row['gigabyte_seconds']:,.0f}", price, row["arithmetic"])
    return shown


def show_bars(bars: Sequence[dict[str, Any]]) -> Table:
    """What must hold, and whether it does."""
    shown = table("Bars", "what", "value", "bound", "holds")
    for bar in bars:
        sign = "≥" if bar["at"] == "least" else "≤"
        mark = "[green]yes[/]" if bar["ok"] else "[red]no[/]"
        shown.add_row(bar["name"], f"{bar['value']:.2f}", f"{sign} {bar['bound']:g}", mark)
    return shown


SHOW: dict[str, Callable[[Any], Table]] = {
    "throughput": show_throughput,
    "scaling": show_scaling,
    "drain": show_drain,
    "cold": show_cold,
    "storm": show_storm,
    "cost": show_cost,
}


def draw(results: dict[str, Any]) -> dict[str, str]:
    """The plots, by file name."""
    drawn = {}
    if samples := results.get("throughput"):
        for kind, name, title, unit in (
            ("per_second", "throughput.svg", "Messages per second, 64 in flight", "/s"),
            ("cpu_microseconds", "cpu.svg", "CPU time per message, 64 in flight", "µs"),
        ):
            values = {variant: median(found["64"][kind]) for variant, found in samples.items()}
            if kind == "per_second":
                del values["raw asyncio streams"], values["bare aiohttp, no runtime"]
            drawn[name] = plots.bar_chart(title, values, OURS, unit)
    if points := results.get("scaling"):
        lines: dict[str, list[tuple[float, float]]] = {}
        for point in points:
            latency = _ms(point["latency_milliseconds"])
            for name, value in ((latency, "per_second"), (f"{latency}, ideal", "ideal_per_second")):
                lines.setdefault(name, []).append((point["in_flight"], point[value]))
        drawn["scaling.svg"] = plots.line_chart(
            "Messages per second by latency of the Face API",
            lines,
            x_name="in flight",
            y_name="messages per second",
            logarithmic=True,
            dashed=[name for name in lines if name.endswith("ideal")],
        )
    if found := results.get("drain"):
        size = found["chunk_messages"] / 1000
        drawn["memory.svg"] = plots.line_chart(
            "Resident memory while draining",
            {
                "MiB": [
                    ((number + 1) * size, chunk["rss_bytes"] / 2**20)
                    for number, chunk in enumerate(found["chunks"])
                ]
            },
            x_name="thousand messages",
            y_name="MiB",
            logarithmic=False,
            y_from_zero=True,
        )
    return drawn


async def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; return 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within two minutes, less exact")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS, help="sections")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="a folder")
    parser.add_argument("--price-per-gigabyte-second", type=float, default=0.000026)
    parser.add_argument("--price-per-million-executions", type=float, default=0.40)
    parser.add_argument("--instance-gigabytes", type=float, default=2.0)
    parser.add_argument("--currency", default="USD")
    parser.add_argument("--face-milliseconds", type=float, default=50, help="for the cost model")
    options = parser.parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    began = time.monotonic()
    results: dict[str, Any] = {"measured": provenance(arguments)}
    bars: list[dict[str, Any]] = []
    for section in options.only:
        results[section], found = await measure(section, quick=options.quick)
        bars += map(judged, found)
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
    results["bars"] = bars
    measured = results["measured"]
    measured["seconds"] = round(time.monotonic() - began)
    console.print(show_bars(bars))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, drawing in draw(results).items():
        (options.out / name).write_text(drawing)
    console.print(
        f"{measured['command']} · {measured['date']} · {measured['machine']}, load "
        f"{measured['load_average']} · Python {measured['python']} · {measured['seconds']} s"
    )
    return 0 if all(bar["ok"] for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
