"""The results as tables."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from bench import receipts, throughput
from bench.harness import median, spread


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
    """Fraction of the ideal by in flight and latency."""
    latencies = sorted({point["latency_milliseconds"] for point in points})
    shown = table(
        "Messages per second (part of in flight ÷ latency)",
        "in flight",
        *map(milliseconds, latencies),
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


def milliseconds(number: float) -> str:
    """Write a latency."""
    return f"{number:g} ms"


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


def show_receipts(samples: dict[str, Any]) -> Table:
    """Messages per second and CPU time with receipts off and on, medians."""
    columns = (f"{receipts.IN_FLIGHT} in flight, msg/s", "CPU per message", "÷ receipts off")
    shown = table("Receipts (± interquartile range)", "variant", *columns)
    off = samples[receipts.OFF]["cpu_microseconds"]
    for variant, found in samples.items():
        rate, cpu = found["per_second"], found["cpu_microseconds"]
        parts = [one / other for one, other in zip(cpu, off, strict=True)]
        cells = (f"{median(rate):,.0f} ±{spread(rate):.0%}", f"{median(cpu):,.0f} µs")
        shown.add_row(variant, *cells, f"{median(parts):.2f}")
    return shown


def show_storm(found: dict[str, dict[str, Any]]) -> Table:
    """The outcome of the burst."""
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


def show_thresholds(thresholds: Sequence[dict[str, Any]]) -> Table:
    """The thresholds, and whether they are met."""
    shown = table("Thresholds", "what", "value", "bound", "holds")
    for threshold in thresholds:
        sign = "≥" if threshold["at"] == "least" else "≤"
        mark = "[green]yes[/]" if threshold["ok"] else "[red]no[/]"
        shown.add_row(
            threshold["name"], f"{threshold['value']:.2f}", f"{sign} {threshold['bound']:g}", mark
        )
    return shown


SHOW: dict[str, Callable[[Any], Table]] = {
    "throughput": show_throughput,
    "scaling": show_scaling,
    "drain": show_drain,
    "cold": show_cold,
    "receipts": show_receipts,
    "storm": show_storm,
    "cost": show_cost,
}


def all_tables(results: dict[str, Any]) -> list[Table]:
    """Return a table for each section that was measured, and the thresholds."""
    shown = [show(results[name]) for name, show in SHOW.items() if name in results]
    return [*shown, show_thresholds(results["thresholds"])]
