"""`make pacing`: how the deployed rate limiter shares a quota with live calls, simulated.

A scenario is a rate limit, a pattern of live calls and a latency: 48 in all. Each is the median over
the seeds. The reference is the best constant rate: of a client that calls at one jittered rate and
ignores 429s, the most deletions per second for the same live throttle rate.
"""

from local import ending

if __name__ == "__main__":
    ending.handle_signals()  # before the imports, which take a second

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType
from pathlib import Path
from statistics import mean, median

from rich.console import Console
from rich.table import Table

from bench.pacing_chart import Figures, draw
from bench.simulation import LIVE, LIVE_RATE, QUOTA, QUOTAS, Outcome, burst
from delete_session.limiter import RateLimiter

SEEDS, CONSTANT_SEEDS = 5, 9
"""Runs per scenario of the limiter, and of each constant rate."""
LATENCIES = 0.02, 0.3
CONSTANT_RATES = {
    "beside live": (0.1, 0.2, *(step / 4 for step in range(1, 21))),
    "alone": tuple(step / 2 for step in range(8, 21)),
}
BUSY_SECONDS, OVERLOAD_SECONDS = 60.0, 600.0
RECOVERED, AVERAGED_OVER = 4.0, 20.0
"""Recovered: deletions per second of the five that are free, averaged over this many seconds."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Processes that run at the same time, and what is required of them."""

    processes: int
    max_rate: float
    held: int
    """Threshold: scenarios held, of 48."""
    live_throttle_rate: float
    """Threshold: mean over the scenarios with live calls."""
    overload: float
    """Threshold: live throttle rate when live calls alone exceed the quota."""

    def __str__(self) -> str:
        return f"{self.processes} at {self.max_rate:g}/s"

    def limiter(self, chance: Callable[[], float]) -> RateLimiter:
        """Return the limiter of one process."""
        return RateLimiter(self.max_rate, chance)


SETUPS = (
    Setup(1, 8.0, held=44, live_throttle_rate=0.075, overload=0.24),
    Setup(2, 4.0, held=47, live_throttle_rate=0.085, overload=0.245),
    Setup(2, 8.0, held=38, live_throttle_rate=0.109, overload=0.28),
    Setup(4, 2.0, held=45, live_throttle_rate=0.09, overload=0.25),
)
FIRST_CALLS = {10: 1.1, 50: 6.1}
"""Threshold: seconds that one process takes for its first calls, without live calls."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation to simulate."""

    quota: str
    live: str
    latency: float


SCENARIOS = [Scenario(*each) for each in product(QUOTAS, LIVE, LATENCIES)]


@dataclass(frozen=True, slots=True)
class Point:
    """Medians of simulated bursts."""

    rate: float
    """Constant rate of the calls; 0: set by the limiter."""
    throughput: float
    live_throttle_rate: float
    throttled_share: float


def typical(rate: float, outcomes: Sequence[Outcome]) -> Point:
    """Return the medians of the outcomes."""
    return Point(
        rate,
        median(each.throughput for each in outcomes),
        median(each.live_throttle_rate for each in outcomes),
        median(each.throttled_share for each in outcomes),
    )


class ConstantRate:
    """Calls at one jittered rate and ignores 429s."""

    def __init__(self, rate: float, random: Callable[[], float]) -> None:
        self._rate, self._random = rate, random
        self._next = random() / rate

    def wait(self, now: float) -> float:
        """Return the seconds until the next call."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Make a call."""
        self._next = now + (0.25 + 1.5 * self._random()) / self._rate

    def throttled(self, now: float, called_at: float, retry_after: float) -> None:
        """Ignore a 429."""


def constant(task: tuple[str, str, float]) -> Point:
    """Simulate one client with a constant rate."""
    quota, live, rate = task
    runs = [
        burst(seed, quota, live, lambda chance: ConstantRate(rate, chance))
        for seed in range(CONSTANT_SEEDS)
    ]
    return typical(rate, runs)


def limited(task: tuple[Setup, Scenario, int]) -> Point:
    """Simulate the deployed limiter."""
    setup, of, seeds = task
    runs = [
        burst(
            *(seed, of.quota, of.live, setup.limiter),
            processes=setup.processes,
            latency=of.latency,
        )
        for seed in range(seeds)
    ]
    return typical(0.0, runs)


type Curves = dict[tuple[str, str], list[Point]]
"""Constant rates, ascending, by rate limit and pattern of live calls."""


def constant_rates(pool: PoolType) -> Curves:
    """Simulate all constant rates."""
    tasks = [
        (quota, live, rate)
        for quota, live in product(QUOTAS, LIVE)
        for rate in CONSTANT_RATES["alone" if live == "none" else "beside live"]
    ]
    curves: Curves = {}
    for (quota, live, _), point in zip(tasks, pool.map(constant, tasks), strict=True):
        curves.setdefault((quota, live), []).append(point)
    return curves


def best_constant(curve: Sequence[Point], live_throttle_rate: float, max_rate: float) -> Point:
    """Return the constant rate with the most deletions within both limits, interpolated."""
    allowed = [point for point in curve if point.rate <= max_rate]
    fits = [point for point in allowed if point.live_throttle_rate <= live_throttle_rate]
    for low, high in pairwise(allowed):
        below, above = low.live_throttle_rate, high.live_throttle_rate
        if below <= live_throttle_rate < above:
            part = (live_throttle_rate - below) / (above - below)
            fits.append(
                Point(
                    low.rate + part * (high.rate - low.rate),
                    low.throughput + part * (high.throughput - low.throughput),
                    live_throttle_rate,
                    low.throttled_share + part * (high.throttled_share - low.throttled_share),
                )
            )
    return max(fits, key=lambda point: point.throughput) if fits else allowed[0]


@dataclass(frozen=True, slots=True)
class Result:
    """The limiter in one scenario, beside the best constant rate."""

    setup: Setup
    scenario: Scenario
    got: Point
    best: Point
    missed: tuple[str, ...]


def judge(setup: Setup, scenario: Scenario, got: Point, curve: Sequence[Point]) -> Result:
    """Compare the limiter with the best constant rate for the same live throttle rate.

    So live 429s that gain no deletions are a miss, and those that any client would cause are none.
    """
    fraction, tolerance = (0.85, 0.0) if setup.processes == 1 else (0.75, 0.01)
    live = got.live_throttle_rate
    best = best_constant(curve, max(0.02, live), setup.processes * setup.max_rate)
    thresholds = {
        "slow": got.throughput >= fraction * best.throughput,
        "live 429s": live <= tolerance + max(0.02, best.live_throttle_rate + 0.005),
        "own 429s": got.throttled_share <= 0.05 or best.throttled_share >= 0.03,
    }
    missed = tuple(name for name, is_met in thresholds.items() if not is_met)
    return Result(setup, scenario, got, best, missed)


def overload(setup: Setup, seed: int) -> float:
    """Return the live throttle rate when live calls (12/s at random) alone exceed the quota."""
    return burst(
        *(seed, "bucket of 10", "random", setup.limiter),
        processes=setup.processes,
        messages=1_000_000,
        limit_seconds=OVERLOAD_SECONDS,
        busy_until=OVERLOAD_SECONDS,
    ).live_throttle_rate


def recovery(setup: Setup, seed: int) -> float:
    """Return the seconds that deletions take to recover after a minute of too many live calls."""
    outcome = burst(
        *(seed, "bucket of 10", "steady", setup.limiter),
        processes=setup.processes,
        messages=1_000_000,
        limit_seconds=OVERLOAD_SECONDS,
        busy_until=BUSY_SECONDS,
    )
    times = [at for at in outcome.deleted_at if at >= BUSY_SECONDS]
    count = round(RECOVERED * AVERAGED_OVER)
    recovered = (
        late
        for early, late in zip(times, times[count:], strict=False)
        if late - early <= AVERAGED_OVER
    )
    return next(recovered, float("inf")) - BUSY_SECONDS


def first_calls(setup: Setup, messages: int, seed: int) -> float:
    """Return the seconds that this many revocations take without live calls."""
    return burst(
        *(seed, "bucket of 10", "none", setup.limiter),
        processes=setup.processes,
        messages=messages,
    ).seconds


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of one setup."""

    setup: Setup
    results: list[Result]
    overload: float
    recovery: float
    first_calls: dict[int, float]

    @property
    def held(self) -> int:
        """Number of scenarios in which no threshold is missed."""
        return sum(not each.missed for each in self.results)

    @property
    def live_throttle_rate(self) -> float:
        """Mean over the scenarios with live calls."""
        return mean(e.got.live_throttle_rate for e in self.results if e.scenario.live != "none")

    def drawn(self) -> Figures:
        """Return what the chart shows: the scenarios with the low latency."""
        return {
            (each.scenario.quota, each.scenario.live): (
                each.got.throughput / each.best.throughput,
                each.got.live_throttle_rate,
            )
            for each in self.results
            if each.scenario.latency == LATENCIES[0]
        }

    def missed(self) -> list[str]:
        """List the thresholds that are missed."""
        setup, count = self.setup, len(SCENARIOS)
        figures = [
            ("scenarios not held", count - self.held, count - setup.held),
            ("mean live throttle rate", self.live_throttle_rate, setup.live_throttle_rate),
            ("live throttle rate, overload", self.overload, setup.overload),
        ]
        if setup.processes == 1:
            figures += [
                (f"seconds of the first {calls} calls", round(self.first_calls[calls], 1), limit)
                for calls, limit in FIRST_CALLS.items()
            ]
        return [
            f"{setup}: {name} {value:.3g}, threshold {limit:.3g}"
            for name, value, limit in figures
            if value > limit
        ]


def summarise(setup: Setup, pool: PoolType, curves: Curves, seeds: int) -> Summary:
    """Simulate one setup in all scenarios."""
    points = pool.map(limited, [(setup, each, seeds) for each in SCENARIOS], chunksize=1)
    return Summary(
        setup,
        [
            judge(setup, each, point, curves[each.quota, each.live])
            for each, point in zip(SCENARIOS, points, strict=True)
        ],
        mean(overload(setup, seed) for seed in range(seeds)),
        median(recovery(setup, seed) for seed in range(seeds)),
        {n: median(first_calls(setup, n, seed) for seed in range(seeds)) for n in FIRST_CALLS},
    )


def table(summaries: Sequence[Summary]) -> Table:
    """Show one row per setup."""
    shown = Table(
        "processes",
        f"held of {len(SCENARIOS)}",
        "÷ best constant rate",
        "live 429s, mean",
        "live 429s, overload",
        "recovery",
        *(f"first {count}" for count in FIRST_CALLS),
    )
    for each in summaries:
        shown.add_row(
            str(each.setup),
            str(each.held),
            f"{median(x.got.throughput / x.best.throughput for x in each.results):.2f}",
            f"{each.live_throttle_rate:.1%}",
            f"{each.overload:.1%}",
            f"{each.recovery:.0f} s",
            *(f"{seconds:.1f} s" for seconds in each.first_calls.values()),
        )
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures and draw the chart; return 1 if a threshold is missed."""
    parser = argparse.ArgumentParser(prog="make pacing", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help=f"runs of each scenario (default: {SEEDS})"
    )
    parser.add_argument("--svg", type=Path, default=Path("docs/pacing.svg"), help="the chart")
    options = parser.parse_args(arguments)
    with Pool(min(2, os.cpu_count() or 1)) as pool:
        curves = constant_rates(pool)
        summaries = [summarise(each, pool, curves, options.seeds) for each in SETUPS]
    console = Console(width=130)
    console.print(f"quota {QUOTA:g} calls/s, live calls {LIVE_RATE:g}/s, 1,000 revocations")
    console.print(table(summaries))
    console.print("Not held, because deletions are slow or live calls get 429s:")
    for each in summaries:
        for x in each.results:
            if x.missed:
                where = f"{x.scenario.quota}, live: {x.scenario.live}, {x.scenario.latency:g} s"
                console.print(f"{each.setup}, {where}: {', '.join(x.missed)}")
    draw({str(each.setup): each.drawn() for each in summaries}, options.svg)
    console.print(f"The chart: {options.svg}")
    missed = [line for each in summaries for line in each.missed()]
    for line in missed:
        console.print(f"threshold missed: {line}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
