"""`make pacing`: how the rate limiter shares a quota, simulated, beside the best constant rate.

The limiter is the deployed one (delete_session.pacing.RateLimiter). Every kind of rate limit, pattern
of live calls, number of processes and latency is one cell, and a cell is the median over the seeds.

The best constant rate is what the limiter is measured by: of a client that calls at one jittered rate
whatever it is answered, the most deletions per second for the same harm to the live calls.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from multiprocessing import Pool
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench import simulation
from bench.simulation import (
    LIVE,
    MOST,
    QUOTAS,
    REFUSES_AT_RANDOM,
    Cell,
    ConstantPace,
    Outcome,
    Point,
    Verdict,
    storm,
)
from delete_session.pacing import RateLimiter

PROCESSES = 1, 4, 20
LATENCIES = 0.02, 0.3
BESIDE_LIVE = tuple(step / 4 for step in range(1, 21))
"""Constant rates that are tried beside live calls, up to what these leave of the quota."""
ALONE = tuple(step / 2 for step in range(8, 21))
LOW = 0.1, 0.2
TENTH = 1.0
"""A tenth of the quota. Its harm is the price of a revocation's priority: a second, stricter count of
cells lets the limiter harm the live calls no more than the best constant rate that keeps to two in a
hundred, or to this price where that is more."""
CACHE = Path("build/pacing-frontier.json")


def _typical(rate: float, outcomes: Sequence[Outcome]) -> Point:
    return Point(
        rate,
        median(each.throughput for each in outcomes),
        median(each.harm for each in outcomes),
        median(each.waste for each in outcomes),
    )


def constant(task: tuple[str, str, float]) -> Point:
    """Simulate one client with a constant rate."""
    quota, live, rate = task
    return _typical(
        rate,
        [storm(seed, quota, live, lambda chance: ConstantPace(rate, chance)) for seed in range(9)],
    )


def one_of(processes: int) -> Callable[[Callable[[], float]], RateLimiter]:
    """Return what makes the limiter of one process that is told of so many."""
    return lambda chance: RateLimiter(MOST, chance, instances=processes)


def limiter(task: tuple[Cell, int]) -> Point:
    """Simulate the deployed limiter."""
    cell, seeds = task
    return _typical(
        0.0,
        [
            storm(
                seed,
                cell.quota,
                cell.live,
                one_of(cell.processes),
                processes=cell.processes,
                latency=cell.latency,
            )
            for seed in range(seeds)
        ],
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


def all_cells(quick: bool) -> list[Cell]:
    """List what is simulated."""
    cells = [Cell(*each) for each in product(QUOTAS, LIVE, PROCESSES, LATENCIES)]
    return [cell for cell in cells if cell.latency == LATENCIES[0]] if quick else cells


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """Show one row per cell."""
    table = Table(
        "limit",
        "live",
        "processes",
        "latency, ms",
        "deletions/s",
        "live 429, % (bar, strict)",
        "wasted, %",
        "best constant/s",
        "its live 429, %",
        "÷ best",
        "missed",
    )
    for each in verdicts:
        cell, got, best = each.cell, each.got, each.best
        table.add_row(
            cell.quota,
            cell.live,
            str(cell.processes),
            f"{1000 * cell.latency:.0f}",
            f"{got.throughput:.2f}",
            f"{100 * got.harm:.1f} ({100 * each.most_harm:.1f}, {100 * each.strict_harm:.1f})",
            f"{100 * got.waste:.1f}",
            f"{best.throughput:.2f}",
            f"{100 * best.harm:.1f}",
            f"{got.throughput / best.throughput:.2f}",
            " ".join(each.missed),
        )
    return table


def shares(task: tuple[str, int, int]) -> tuple[float, float]:
    """Return the least share of an instance over any minute, and that of one that joins.

    Both are parts of an equal share. The newcomer is measured for a minute, from 30 s after it joined.
    """
    quota, processes, seed = task
    joins_at = 120.0
    outcome = storm(
        seed,
        quota,
        "steady",
        one_of(processes),
        processes=processes,
        messages=1_000_000,
        limit_seconds=300.0,
        joins_at=joins_at,
    )

    def part(who: int, start: float, among: int) -> float:
        times = [(at, by) for at, by in outcome.deleted if start <= at < start + 60]
        return sum(by == who for _, by in times) * among / max(1, len(times))

    newcomer = processes - 1
    old = [
        part(who, start, among)
        for start, among in ((60.0, newcomer), (180.0, processes), (240.0, processes))
        for who in range(newcomer)
    ]
    return min(old), part(newcomer, joins_at + 30, processes)


def later(task: tuple[int, int]) -> float:
    """Return deletions a second in minutes six to eight, a tenth of all calls refused at random."""
    processes, seed = task
    outcome = storm(
        seed,
        REFUSES_AT_RANDOM,
        "steady",
        one_of(processes),
        processes=processes,
        messages=1_000_000,
        limit_seconds=480.0,
    )
    return sum(at >= 300 for at, _ in outcome.deleted) / 180


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw it; the exit status is 0 whatever the figures."""
    parser = argparse.ArgumentParser(prog="make pacing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=9, help="runs per cell (default: 9)")
    parser.add_argument("--quick", action="store_true", help="three seeds, one latency, no picture")
    parser.add_argument("--svg", type=Path, default=Path("docs/pacing.svg"), help="the picture")
    options = parser.parse_args(arguments)
    seeds = 3 if options.quick else options.seeds
    workers = min(2, os.cpu_count() or 1)
    curves = frontier(workers)
    cells = all_cells(options.quick)
    fair_tasks = [(quota, n, seed) for quota in QUOTAS for n in (4, 20) for seed in range(seeds)]
    with Pool(workers) as pool:
        points = pool.map(limiter, [(cell, seeds) for cell in cells], chunksize=1)
        at_random = [
            pool.apply_async(limiter, ((Cell(REFUSES_AT_RANDOM, "steady", n, 0.02), seeds),))
            for n in PROCESSES
        ]
        random_points = [each.get() for each in at_random]
        fair = pool.map(shares, fair_tasks, chunksize=1)
        late = [
            median(pool.map(later, [(n, seed) for seed in range(seeds)], chunksize=1))
            for n in PROCESSES
        ]
    verdicts = [
        judge(cell, got, curves[f"{cell.quota}, {cell.live}"])
        for cell, got in zip(cells, points, strict=True)
    ]
    console = Console(width=150)
    console.print(table_of(verdicts))
    held = sum(not each.missed for each in verdicts)
    strict = sum(not each.missed and each.got.harm <= each.strict_harm for each in verdicts)
    console.print(
        f"{held} of {len(verdicts)} cells hold every bar, {strict} the stricter one of harm, too"
    )
    for processes in PROCESSES:
        mine = [each for each in verdicts if each.cell.processes == processes]
        strict = sum(not each.missed and each.got.harm <= each.strict_harm for each in mine)
        held = sum(not each.missed for each in mine)
        console.print(f"  {processes} processes: {held} of {len(mine)}, strictly {strict}")
    for processes, point, after in zip(PROCESSES, random_points, late, strict=True):
        console.print(
            f"{REFUSES_AT_RANDOM}, {processes} processes: {point.throughput:.2f}/s of 5 free, "
            f"after five minutes {after:.2f}/s"
        )
    for processes in (4, 20):
        found = [each for each, task in zip(fair, fair_tasks, strict=True) if task[1] == processes]
        console.print(
            f"{processes} processes: least share of an instance over a minute, ÷ equal: "
            f"{median(each[0] for each in found):.2f}; of a newcomer after 30 s: "
            f"{median(each[1] for each in found):.2f}"
        )
    if not options.quick:
        from bench.pacing_chart import draw

        draw(verdicts, options.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
