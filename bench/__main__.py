"""`make bench`: how fast, how cheap and how small the function is next to the alternatives."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import throughput
from bench.harness import ROOT, median, provenance, serve, spread

RESULTS = ROOT / "bench" / "results"


def judged(bar: dict[str, Any]) -> dict[str, Any]:
    """The bar, with whether it holds."""
    value, bound = bar["value"], bar["bound"]
    return {**bar, "ok": value >= bound if bar["at"] == "least" else value <= bound}


def show_throughput(console: Console, samples: dict[str, Any]) -> None:
    """Print messages per second and CPU time."""
    table = Table(title="messages per second (± interquartile range), CPU µs per message")
    table.add_column("variant")
    for concurrency in throughput.CONCURRENCIES:
        table.add_column(f"{concurrency} in flight", justify="right")
        table.add_column("CPU", justify="right")
    for variant, found in samples.items():
        cells = []
        for kinds in found.values():
            rate, cpu = kinds["per_second"], kinds["cpu_microseconds"]
            cells += [f"{median(rate):,.0f} ±{spread(rate):.0%}", f"{median(cpu):,.0f}"]
        table.add_row(variant, *cells)
    console.print(table)


def show_bars(console: Console, bars: Sequence[dict[str, Any]]) -> None:
    """Print what must hold, and whether it does."""
    table = Table(title="bars")
    for name in ("what", "value", "bound", "holds"):
        table.add_column(name)
    for bar in bars:
        sign = "≥" if bar["at"] == "least" else "≤"
        mark = "[green]yes[/]" if bar["ok"] else "[red]no[/]"
        table.add_row(bar["name"], f"{bar['value']:.2f}", f"{sign} {bar['bound']:g}", mark)
    console.print(table)


async def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; return 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within two minutes, less exact")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(arguments)
    console = Console(width=max(Console().width, 110))
    began = time.monotonic()
    results: dict[str, Any] = {"measured": provenance(arguments)}
    async with serve() as server:
        results["throughput"] = await throughput.measure(server, 3 if options.quick else 7)
    show_throughput(console, results["throughput"])
    bars = [judged(bar) for bar in throughput.bars(results["throughput"])]
    results["bars"] = bars
    results["measured"]["seconds"] = round(time.monotonic() - began)
    show_bars(console, bars)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    measured = results["measured"]
    console.print(
        f"{measured['command']}, {measured['date']}, {measured['machine']}, "
        f"Python {measured['python']}, {measured['seconds']} s"
    )
    return 0 if all(bar["ok"] for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
