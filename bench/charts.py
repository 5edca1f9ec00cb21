"""The results as charts."""

from typing import Any

from bench.harness import FLOORS, OURS, TELEMETRY_OFF, UNPATCHED, median
from bench.tables import milliseconds
from local.report import charts
from local.report.page import Chart

_OURS = {OURS: charts.GREEN, TELEMETRY_OFF: charts.BLUE, UNPATCHED: charts.BLUE}


def caption(measured: dict[str, Any]) -> str:
    """Return the command, time and machine of the measurement."""
    return (
        f"{measured['command']} · {measured['date'][:10]} · {measured['machine']}, "
        f"load {measured['load_average']} · Python {measured['python']}"
    )


def draw(results: dict[str, Any]) -> list[Chart]:
    """Draw what was measured."""
    below = caption(results["measured"])
    drawn = []
    if samples := results.get("throughput"):
        drawn += [_rates(samples, below), _cpu(samples, below)]
    if points := results.get("scaling"):
        drawn.append(_scaling(points, below))
    if found := results.get("drain"):
        drawn.append(_memory(found, below))
    return drawn


def _rates(samples: dict[str, Any], below: str) -> Chart:
    return charts.bar_chart(
        "throughput",
        "Messages per second, 64 in flight",
        {
            variant: median(found["64"]["per_second"])
            for variant, found in samples.items()
            if variant not in FLOORS
        },
        unit="messages per second (more is better)",
        caption=below,
        colours=_OURS,
    )


def _cpu(samples: dict[str, Any], below: str) -> Chart:
    return charts.bar_chart(
        "cpu",
        "CPU time per message, 64 in flight",
        {variant: median(found["64"]["cpu_microseconds"]) for variant, found in samples.items()},
        unit="microseconds (less is better)",
        caption=below,
        colours=_OURS,
    )


def _scaling(points: list[dict[str, Any]], below: str) -> Chart:
    lines = []
    for number, latency in enumerate(sorted({each["latency_milliseconds"] for each in points})):
        colour, name = charts.SERIES[number], milliseconds(latency)
        chosen = [each for each in points if each["latency_milliseconds"] == latency]
        for kind, key in (("", "per_second"), (", in flight ÷ latency", "ideal_per_second")):
            line = charts.Line(
                name=name + kind,
                points=[(each["in_flight"], each[key]) for each in chosen],
                colour=colour,
                dashed=bool(kind),
            )
            lines.append(line)
    return charts.line_chart(
        "scaling",
        "Messages per second by latency of the Face API",
        lines,
        axes_names=("messages in flight", "messages per second"),
        caption=below,
        scale="log",
    )


def _memory(found: dict[str, Any], below: str) -> Chart:
    thousands = found["chunk_messages"] / 1000
    points = [
        (number * thousands, chunk["rss_bytes"] / 2**20)
        for number, chunk in enumerate(found["chunks"], 1)
    ]
    return charts.line_chart(
        "memory",
        "Resident memory while draining",
        [charts.Line(name=OURS, points=points, colour=charts.GREEN)],
        axes_names=("thousand messages drained", "MiB"),
        caption=below,
    )
