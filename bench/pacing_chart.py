"""The chart of `make pacing`."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.simulation import LIVE, QUOTAS

type Figures = Mapping[tuple[str, str], tuple[float, float]]
"""By rate limit and pattern of live calls: throughput ÷ best constant rate, live throttle rate."""

COLOURS = "#1b6ca8", "#3a7d44", "#c8553d", "#8a6fb0"


def draw(setups: Mapping[str, Figures], path: Path) -> None:
    """Draw throughput beside the best constant rate, and live throttle rates."""
    # Otherwise names in the file differ from run to run.
    mpl.rcParams["svg.hashsalt"] = "pacing"
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = figure.subplots(2, len(LIVE), sharex=True, sharey="row")
    for column, live in enumerate(LIVE):
        throughput, throttled = rows[0][column], rows[1][column]
        throughput.set_title(f"live calls: {live}")
        throughput.axhline(1.0, color="#8a8a8a", linewidth=1)
        for number, (setup, figures) in enumerate(setups.items()):
            places = [place + (number - 1.5) * 0.2 for place in range(len(QUOTAS))]
            ratios = [figures[quota, live][0] for quota in QUOTAS]
            rates = [100 * figures[quota, live][1] for quota in QUOTAS]
            throughput.bar(places, ratios, 0.18, color=COLOURS[number], label=setup)
            throttled.bar(places, rates, 0.18, color=COLOURS[number])
        throughput.set_ylim(0, 1.5)
        throttled.set_ylim(0, 30)
        throttled.set_xticks(range(len(QUOTAS)), list(QUOTAS), rotation=60, ha="right")
    rows[0][0].set_ylabel("deletions/s ÷ best constant rate")
    rows[1][0].set_ylabel("live calls throttled, %")
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, format="svg", metadata={"Date": None})
