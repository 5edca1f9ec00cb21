"""`make pacing`: how the rate limiter shares a quota, simulated, and its curve as a picture.

The limiter is the deployed one (delete_session.pacing.RateLimiter); time, the Face resource's quota (a
token bucket of ten calls with ten calls a second, as the local Face API has it) and the live client
are simulated, so that hours pass in seconds and every run of a seed is the same.
"""

import argparse
import heapq
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.picture import Line, chart
from delete_session.pacing import RateLimiter

QUOTA = 10.0
LATENCY_SECONDS = 0.02
CONCURRENT_CALLS = 16
MOST = 8.0


class Quota:
    """The resource's rate limit, over all its callers."""

    def __init__(self) -> None:
        self._tokens, self._at = QUOTA, 0.0

    def allows(self, now: float) -> bool:
        self._tokens = min(QUOTA, self._tokens + (now - self._at) * QUOTA)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(slots=True)
class Process:
    """One instance of the function: its limiter, and the messages that it has in hand."""

    limiter: RateLimiter
    busy: int = 0
    retries: list[float] = field(default_factory=list)
    """When the messages that were throttled may be tried again."""


@dataclass(slots=True)
class Outcome:
    """What a simulated storm came to."""

    seconds: float
    deleted: int
    throttled: int
    live: int
    live_throttled: int
    curve: list[tuple[float, float]]
    """Time and allowed rate, of all processes together."""


def storm(
    seed: int,
    *,
    messages: int = 1000,
    live_rate: float = 5.0,
    at_random: bool = False,
    processes: int = 1,
    limit_seconds: float = 3000.0,
) -> Outcome:
    """Simulate a storm of revocations against the quota, with a live client beside it."""
    chance = random.Random(seed)
    quota = Quota()
    group = [Process(RateLimiter(MOST, chance.random)) for _ in range(processes)]
    result = Outcome(0.0, 0, 0, 0, 0, [])
    waiting = messages
    order = 0
    agenda: list[tuple[float, int, str, int, float]] = []

    def plan(time: float, what: str, who: int = 0, since: float = 0.0) -> None:
        nonlocal order
        order += 1
        heapq.heappush(agenda, (time, order, what, who, since))

    if live_rate:
        plan(chance.random() / live_rate, "live")
    for who in range(processes):
        plan(0.0, "turn", who)
    while agenda and result.deleted < messages:
        now, _, what, who, since = heapq.heappop(agenda)
        if now > limit_seconds:
            break
        result.seconds = now
        if what == "live":
            result.live += 1
            result.live_throttled += not quota.allows(now)
            plan(now + (chance.expovariate(live_rate) if at_random else 1 / live_rate), "live")
            continue
        process = group[who]
        if what == "turn":
            ready = [time for time in process.retries if time <= now]
            full = process.busy + len(process.retries) >= CONCURRENT_CALLS
            if not ready and (waiting == 0 or full):
                if process.retries:
                    plan(min(process.retries), "turn", who)
                continue
            if wait := process.limiter.wait(now):
                plan(now + wait, "turn", who)
                continue
            if ready:
                process.retries.remove(ready[0])
            else:
                waiting -= 1
            process.limiter.take(now)
            process.busy += 1
            plan(now + LATENCY_SECONDS, "answer", who, now)
            plan(now, "turn", who)
            continue
        process.busy -= 1
        if quota.allows(now):
            result.deleted += 1
            process.limiter.succeeded(now)
        else:
            result.throttled += 1
            process.limiter.throttled(now, since, 1.0)
            process.retries.append(now + max(1.0, 2 * chance.random()))
        result.curve.append((now, sum(each.limiter.rate for each in group)))
        plan(now, "turn", who)
    return result


@dataclass(frozen=True, slots=True)
class Case:
    """One situation to simulate."""

    name: str
    at_random: bool = False
    processes: int = 1
    live_rate: float = 5.0


CASES = (
    Case("one process, live calls steady"),
    Case("one process, live calls at random", at_random=True),
    Case("twenty fresh processes, live calls steady", processes=20),
    Case("no live calls", live_rate=0.0),
)


def row(case: Case, runs: int) -> tuple[list[str], Outcome]:
    """Medians over the runs, and the first run for the picture."""
    outcomes = [
        storm(seed, at_random=case.at_random, processes=case.processes, live_rate=case.live_rate)
        for seed in range(runs)
    ]
    free = min(QUOTA - case.live_rate, MOST * case.processes)

    def typical(values: Sequence[float]) -> str:
        return f"{median(values):.3f} ({max(values):.3f})"

    return [
        case.name,
        typical([each.seconds * free / max(1, each.deleted) for each in outcomes]),
        typical([100 * each.throttled / max(1, each.deleted) for each in outcomes]),
        typical([100 * each.live_throttled / max(1, each.live) for each in outcomes]),
    ], outcomes[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the picture."""
    parser = argparse.ArgumentParser(prog="make pacing", description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="seeds per case (default: 9)")
    parser.add_argument("--svg", type=Path, default=Path("docs/pacing.svg"), help="the picture")
    options = parser.parse_args(arguments)
    table = Table(
        "1,000 revocations, median (most)", "time ÷ optimum", "429 ÷ deletions, %", "live 429, %"
    )
    lines = []
    for case in CASES:
        cells, outcome = row(case, options.runs)
        table.add_row(*cells)
        if case.live_rate:
            lines.append(Line(case.name, outcome.curve))
    Console().print(table)
    lines.append(Line("free for revocations", [(0.0, 5.0), (240.0, 5.0)]))
    picture = chart("Allowed calls per second in a storm", "seconds", "calls/s", lines, 240, 12)
    options.svg.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
