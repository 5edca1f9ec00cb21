"""The results as tables."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from bench import receipts, throughput
from bench.harness import OURS, PEERS, TELEMETRY_OFF, median, spread


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


def headline(results: dict[str, Any]) -> str:
    """Return what the top page says about performance."""
    found = results["throughput"]
    ours, off = found[OURS]["64"], found[TELEMETRY_OFF]["64"]
    beside = {peer: median(found[peer]["64"]["ours_beside"]) for peer in PEERS}
    sdk, httpx, requests = beside.values()
    return (
        f"As deployed, with telemetry: {median(ours['per_second']):,.0f} messages per second and "
        f"process, for {median(ours['cpu_microseconds']):,.0f} µs of CPU each\n"
        f"({median(off['cpu_microseconds']):,.0f} µs without telemetry). On the same core, that is "
        f"{sdk:.1f} times the throughput of `azure-ai-vision-face`,\n{requests:.1f} times that of "
        f"`requests` and {httpx:.1f} times that of `httpx` ({_origin(results)}).\n"
    )


def figures(results: dict[str, Any]) -> str:
    """Return the figures of bench/README.md."""
    rows = ["| 64 in flight | messages/s | CPU per message |", "|---|---|---|"]
    for variant, found in results["throughput"].items():
        rate, cpu = (median(found["64"][kind]) for kind in ("per_second", "cpu_microseconds"))
        cells = (variant, f"{rate:,.0f}", f"{cpu:,.0f} µs")
        rows.append("| " + " | ".join(f"**{c}**" if variant == OURS else c for c in cells) + " |")
    ideal = [
        point["part_of_ideal"]
        for point in results["scaling"]
        if point["latency_milliseconds"] == 50 and point["in_flight"] <= 64
    ]
    drain, receipt = results["drain"], results["receipts"]
    drained = drain["drains"][str(drain["messages"])]
    resident = drain["chunks"][-1]["rss_bytes"] / 2**20
    ours, bare = (
        median([sample["done"] for sample in results["cold"]["samples"][name]]) * 1000
        for name in (OURS, "bare imports")
    )
    storm, naive = results["storm"].values()
    live, naive_live = (
        each["live_calls_throttled"] / each["live_calls"] for each in (storm, naive)
    )
    on, off = receipt[receipts.ON], receipt[receipts.OFF]
    times = [x / y for x, y in zip(on["cpu_microseconds"], off["cpu_microseconds"], strict=True)]
    return "\n".join(
        [
            f"{_origin(results)}, {results['measured']['machine']}, "
            f"Python {results['measured']['python']}; rate limit raised to 10,000 calls per second.",
            "",
            *rows,
            "",
            f"- **Scaling**: {min(ideal) * 100:.0f} to {max(ideal) * 100:.0f} % of the ideal, "
            "in flight ÷ latency, up to 64 in flight at 50 ms.",
            f"- **Draining**: {drain['messages']:,} messages in {drained['seconds']:.0f} s; "
            f"{resident:.0f} MiB resident at the end.",
            f"- **Cold start**: {ours:.0f} ms from process start to the end of the first message; its "
            f"bare imports take {bare:.0f} ms.",
            f"- **Burst**: {storm['messages']:,} messages at once, with a quota of "
            f"{storm['face_rate']} calls per second, {storm['live_rate']} of them used by live "
            f"traffic. This\n  function takes {storm['seconds']:.0f} s: {storm['dead_lettered']} "
            f"dead-lettered, {live * 100:.1f} % of the live calls throttled. A function that raises "
            f"on\n  error: {naive['dead_lettered']} dead-lettered within {naive['seconds']:.0f} s, "
            f"{naive_live * 100:.0f} % of the live calls throttled.",
            f"- **Receipts**: with `OUTCOME_QUEUE`, a message costs {median(times):.1f} times the CPU "
            f"({median(on['cpu_microseconds']):,.0f} µs).",
            "",
        ]
    )


def _origin(results: dict[str, Any]) -> str:
    measured = results["measured"]
    return f"`{measured['command']}`, {measured['date'][:10]}"
