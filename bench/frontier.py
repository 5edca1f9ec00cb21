"""What the limiter is measured by in `make pacing`: the best constant rate for the same harm."""

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise, product
from multiprocessing import Pool
from pathlib import Path
from statistics import median

from bench import simulation
from bench.simulation import LIVE, MOST, QUOTAS, Cell, ConstantPace, Outcome, Point, Verdict, storm

BESIDE_LIVE = tuple(step / 4 for step in range(1, 21))
"""Constant rates that are tried beside live calls, up to what these leave of the quota."""
ALONE = tuple(step / 2 for step in range(8, 21))
LOW = 0.1, 0.2
TENTH = 1.0
"""A tenth of the quota. Its harm is the price of a revocation's priority: a second, stricter count of
cells lets the limiter harm the live calls no more than the best constant rate that keeps to two in a
hundred, or to this price where that is more."""
CACHE = Path("build/pacing-frontier.json")


def typical(rate: float, outcomes: Sequence[Outcome]) -> Point:
    """Return the medians of a rate's outcomes."""
    return Point(
        rate,
        median(each.throughput for each in outcomes),
        median(each.harm for each in outcomes),
        median(each.waste for each in outcomes),
    )


def constant(task: tuple[str, str, float]) -> Point:
    """Simulate one client with a constant rate."""
    quota, live, rate = task
    return typical(
        rate,
        [storm(seed, quota, live, lambda chance: ConstantPace(rate, chance)) for seed in range(9)],
    )


def frontier(workers: int) -> dict[str, list[Point]]:
    """What constant rates come to, by quota and pattern; kept in a file until the code changes."""
    code = Path(simulation.__file__).read_bytes() + repr((BESIDE_LIVE, ALONE, LOW)).encode()
    version = hashlib.sha256(code).hexdigest()
    if CACHE.exists():
        kept = json.loads(CACHE.read_text())
        if kept["version"] == version:
            return {
                name: [Point(*each) for each in curve] for name, curve in kept["curves"].items()
            }
    tasks = [
        (quota, live, rate)
        for quota, live in product(QUOTAS, LIVE)
        for rate in (ALONE if live == "none" else LOW + BESIDE_LIVE)
    ]
    with Pool(workers) as pool:
        points = pool.map(constant, tasks, chunksize=4)
    curves: dict[str, list[Point]] = {}
    for (quota, live, _), point in zip(tasks, points, strict=True):
        curves.setdefault(f"{quota}, {live}", []).append(point)
    CACHE.parent.mkdir(exist_ok=True)
    rows = {
        name: [(p.rate, p.throughput, p.harm, p.waste) for p in curve]
        for name, curve in curves.items()
    }
    CACHE.write_text(json.dumps({"version": version, "curves": rows}))
    return curves


def best_constant(curve: Sequence[Point], most_harm: float, most_rate: float) -> Point:
    """Return the constant rate with the most deletions for no more harm, between two if need be."""
    allowed = [point for point in curve if point.rate <= most_rate]
    fits = [point for point in allowed if point.harm <= most_harm]
    for low, high in pairwise(allowed):
        if low.harm <= most_harm < high.harm:
            part = (most_harm - low.harm) / (high.harm - low.harm)
            fits.append(
                Point(
                    *(
                        a + part * (b - a)
                        for a, b in (
                            (low.rate, high.rate),
                            (low.throughput, high.throughput),
                            (low.harm, high.harm),
                            (low.waste, high.waste),
                        )
                    )
                )
            )
    return max(fits, key=lambda point: point.throughput) if fits else allowed[0]


def judge(cell: Cell, got: Point, curve: Sequence[Point]) -> Verdict:
    """Compare the limiter with the best constant rate."""
    part, points = (0.85, 0.0) if cell.processes == 1 else (0.75, 0.01)
    fastest = MOST * cell.processes
    tenth = next((point.harm for point in curve if point.rate == TENTH), 0.0)
    # The rate that the bars are about is the best for the same harm as the limiter's. So harm that buys
    # no deletions is a miss, and harm that a constant rate would have to do as well is none.
    best = best_constant(curve, max(0.02, got.harm), fastest)
    most_harm = points + max(0.02, best.harm + 0.005)
    cheap = best_constant(curve, max(0.02, tenth), fastest)
    strict_harm = points + max(0.02, cheap.harm + 0.005)
    bars = {
        "slow": got.throughput >= part * best.throughput,
        "harm": got.harm <= most_harm,
        "waste": got.waste <= 0.05 or best.waste >= 0.03,
    }
    missed = tuple(name for name, held in bars.items() if not held)
    return Verdict(cell, got, best, most_harm, strict_harm, missed)


def judge_all(
    cells: Sequence[Cell], points: Sequence[Point], curves: dict[str, list[Point]]
) -> list[Verdict]:
    """Compare each cell with the best constant rate."""
    return [
        judge(cell, got, curves[f"{cell.quota}, {cell.live}"])
        for cell, got in zip(cells, points, strict=True)
    ]
