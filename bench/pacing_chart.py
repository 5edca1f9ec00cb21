"""The table of `make pacing` as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.simulation import LIVE, QUOTAS, Verdict

COLOURS = {1: "#1b6ca8", 4: "#c8553d", 20: "#3a7d44"}


def draw(verdicts: Sequence[Verdict], path: Path) -> None:
    """Draw deletions per second as parts of the best constant rate, and the harm to live calls."""
    # Otherwise names in the file differ from run to run.
    mpl.rcParams["svg.hashsalt"] = "pacing"
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, len(LIVE), sharex=True, sharey="row")
    quick = min(each.cell.latency for each in verdicts)
    for column, live in enumerate(LIVE):
        speed, harm = axes[0][column], axes[1][column]
        speed.set_title(f"live calls: {live}")
        speed.axhline(1.0, color="#8a8a8a", linewidth=1)
        for number, (processes, colour) in enumerate(COLOURS.items()):
            chosen = {
                each.cell.quota: each
                for each in verdicts
                if (each.cell.live, each.cell.processes, each.cell.latency)
                == (live, processes, quick)
            }
            places = [place + (number - 1) * 0.25 for place in range(len(QUOTAS))]
            ratios = [chosen[name].got.throughput / chosen[name].best.throughput for name in QUOTAS]
            speed.bar(
                places,
                ratios,
                0.22,
                color=colour,
                label=f"{processes} process{'es' * (processes > 1)}",
            )
            harm.bar(places, [100 * chosen[name].got.harm for name in QUOTAS], 0.22, color=colour)
            for place, name in zip(places, QUOTAS, strict=True):
                bar = 100 * chosen[name].strict_harm
                harm.plot([place - 0.11, place + 0.11], [bar, bar], color="black", linewidth=1)
        speed.set_ylim(0, 1.5)
        harm.set_ylim(0, 20)
        harm.set_xticks(range(len(QUOTAS)), list(QUOTAS), rotation=60, ha="right")
    axes[0][0].set_ylabel("deletions/s ÷ best constant rate")
    axes[1][0].set_ylabel("live 429, % (line: strict bar)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, format="svg", metadata={"Date": None})
