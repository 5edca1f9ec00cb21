"""`make pacing`: how the rate limiter shares a quota, simulated, beside the best constant rate.

The limiter is the deployed one (delete_session.pacing.RateLimiter). Every kind of rate limit, pattern
of live calls, number of processes and latency is one cell, and a cell is the median over the seeds.

The best constant rate is what the limiter is measured by: of a client that calls at one jittered rate
whatever it is answered, the most deletions per second for the same harm to the live calls.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.frontier import frontier, judge_all, typical
from bench.simulation import LIVE, MOST, QUOTAS, REFUSES_AT_RANDOM, Cell, Point, Verdict, storm
from delete_session.pacing import RateLimiter

PROCESSES = 1, 4, 20
TOLD_OTHERWISE = (2, 1), (20, 1), (20, 4), (1, 2)
"""Numbers of instances that processes are told of, and of those that run: the platform need not start
all that it may, and a setting may be wrong. First what `infra/` deploys, with one of two at work."""
LATENCIES = 0.02, 0.3


def one_of(instances: int) -> Callable[[Callable[[], float]], RateLimiter]:
    """Return what makes the limiter of one process that is told of so many."""
    return lambda chance: RateLimiter(MOST, chance, instances=instances)


def limiter(task: tuple[Cell, int, int]) -> Point:
    """Simulate the deployed limiter: a cell, how many instances it is told of, and seeds."""
    cell, told, seeds = task
    return typical(
        0.0,
        [
            storm(
                seed,
                cell.quota,
                cell.live,
                one_of(told),
                processes=cell.processes,
                latency=cell.latency,
            )
            for seed in range(seeds)
        ],
    )


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


@dataclass(frozen=True, slots=True)
class Findings:
    """What was simulated, but for the cells; a quick run leaves out the second field."""

    at_random: list[tuple[int, float, float]]
    """Processes, and deletions a second in a storm, and after five minutes."""
    told_otherwise: list[tuple[int, int, list[Verdict]]]
    """Instances that each was told of, those that run, and every quota and pattern."""
    fairness: list[tuple[int, float, float]]
    """Processes, and the least share of one of them, and a newcomer's, as parts of an equal one."""


def explore(pool: PoolType, seeds: int, quick: bool, curves: dict[str, list[Point]]) -> Findings:
    """Simulate what is no cell."""
    everything = list(product(QUOTAS, range(seeds)))

    def fair(n: int) -> tuple[int, float, float]:
        found = pool.map(shares, [(quota, n, seed) for quota, seed in everything], chunksize=1)
        return n, median(least for least, _ in found), median(joined for _, joined in found)

    def at_random(n: int) -> tuple[int, float, float]:
        point = pool.apply_async(limiter, ((Cell(REFUSES_AT_RANDOM, "steady", n, 0.02), n, seeds),))
        after = median(pool.map(later, [(n, seed) for seed in range(seeds)], chunksize=1))
        return n, point.get().throughput, after

    def otherwise(told: int, running: int) -> tuple[int, int, list[Verdict]]:
        cells = [Cell(quota, live, running, LATENCIES[0]) for quota, live in product(QUOTAS, LIVE)]
        points = pool.map(limiter, [(cell, told, seeds) for cell in cells], chunksize=1)
        return told, running, judge_all(cells, points, curves)

    return Findings(
        [at_random(n) for n in PROCESSES],
        [] if quick else [otherwise(*each) for each in TOLD_OTHERWISE],
        [fair(n) for n in PROCESSES[1:]],
    )


def summary(verdicts: Sequence[Verdict], findings: Findings) -> list[str]:
    """Say in a few lines what it came to."""

    def held(of: Sequence[Verdict]) -> str:
        whole = [each for each in of if not each.missed]
        strict = sum(each.got.harm <= each.strict_harm for each in whole)
        return f"{len(whole)} of {len(of)} hold every bar, {strict} the stricter one of harm, too"

    lines = [f"cells: {held(verdicts)}"]
    lines += [
        f"  {n} processes: {held([each for each in verdicts if each.cell.processes == n])}"
        for n in PROCESSES
    ]
    for told, running, of in findings.told_otherwise:
        part = median(each.got.throughput / each.best.throughput for each in of)
        lines.append(
            f"  told of {told}, {running} running, {1000 * LATENCIES[0]:.0f} ms: {held(of)}; "
            f"{part:.2f} of the best constant rate in the median cell"
        )
    lines += [
        f"{REFUSES_AT_RANDOM}, {n} processes: {storms:.2f}/s of 5 free, "
        f"after five minutes {after:.2f}/s"
        for n, storms, after in findings.at_random
    ]
    lines += [
        f"{n} processes: least share of an instance over a minute, ÷ equal: {least:.2f}; "
        f"of a newcomer after 30 s: {joined:.2f}"
        for n, least, joined in findings.fairness
    ]
    return lines


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
    with Pool(workers) as pool:
        tasks = [(cell, cell.processes, seeds) for cell in cells]
        verdicts = judge_all(cells, pool.map(limiter, tasks, chunksize=1), curves)
        findings = explore(pool, seeds, options.quick, curves)
    console = Console(width=150)
    console.print(table_of(verdicts))
    for line in summary(verdicts, findings):
        console.print(line)
    if not options.quick:
        from bench.pacing_chart import draw

        draw(verdicts, options.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
