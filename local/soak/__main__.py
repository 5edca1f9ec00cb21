"""`make soak`: plays the scenarios, checks the invariants, prints what was measured."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local.cloud import ServiceFailed
from local.soak.invariants import Bar, Evidence, Verdict, check
from local.soak.receipts import check_receipts
from local.soak.scenarios import SCENARIOS, Scenario
from local.soak.stage import open_stage

AT_ONCE = 4
"""Scenarios that play at the same time; they spend most of it waiting."""
PROBLEMS_SHOWN = 8
OUTCOME_QUEUE = "session-outcomes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one scenario went. Its bars begin with the invariants."""

    name: str
    seconds: float
    verdict: Verdict
    bars: Sequence[Bar]
    problems: Sequence[str]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every invariant and every bar holds."""
        return not self.problems and all(bar.ok for bar in self.bars)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` writes for it."""
        verdict = self.verdict
        return {
            "name": self.name,
            "ok": self.ok,
            "published": verdict.published,
            "completed": verdict.completed,
            "dead_lettered": verdict.dead_lettered,
            "lost": verdict.lost,
            "stuck": verdict.stuck,
            "twice": verdict.twice,
            "seconds": round(self.seconds, 1),
        }

    def bars_as_json(self) -> list[dict[str, Any]]:
        """Return its bars, the invariants first, each name beginning with the scenario's."""
        return [
            {
                "name": f"{self.name}: {bar.name}",
                "value": round(bar.value, 4) if bar.value < float("inf") else None,
                "bound": round(bar.bound, 4),
                "ok": bar.ok,
            }
            for bar in self.bars
        ]


async def play(scenario: Scenario, seed: int, *, receipts: bool = False) -> Result:
    """Play one scenario on a cloud of its own and check what came of it."""
    began = time.monotonic()
    chance = random.Random(f"{seed}/{scenario.name}")
    problems: list[str] = []
    cloud = replace(scenario.cloud(seed), outcome_queue=OUTCOME_QUEUE if receipts else None)
    try:
        async with open_stage(cloud, chance) as stage:
            began = time.monotonic()
            try:
                async with asyncio.timeout(scenario.limit):
                    await scenario.play(stage)
                    await stage.drained()
                if receipts:
                    await stage.send_missing_receipts()
            except TimeoutError:
                problems.append(f"not finished after {scenario.limit:g} s")
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
            seconds = time.monotonic() - began
            evidence = await stage.evidence()
            verdict = check(evidence)
            check_receipts(evidence, verdict)
            events: dict[str, int] = {}
            for line in evidence.lines:
                name = line.record.get("outcome") or line.record["event"]
                events[name] = events.get(name, 0) + 1
            return Result(
                name=scenario.name,
                seconds=seconds,
                verdict=verdict,
                bars=[*verdict.bars, *scenario.bars(stage, evidence)],
                problems=problems + verdict.problems,
                figures={
                    "redundant": verdict.redundant,
                    "calls": len(evidence.calls),
                    "calls_per_second_by_10_s": curve(evidence),
                    "log": events,
                    "receipts": dict(Counter(x["event"] for x in evidence.receipts_ledger)),
                    "marks": {key: round(value, 4) for key, value in stage.marks.items()},
                },
            )
    except ServiceFailed as error:
        return Result(
            name=scenario.name,
            seconds=time.monotonic() - began,
            verdict=Verdict(),
            bars=[],
            problems=[str(error)],
        )


def curve(evidence: Evidence, seconds: float = 10) -> list[float]:
    """Return the function's calls per second, over consecutive spans of so many seconds."""
    if not evidence.calls:
        return []
    start = evidence.calls[0]["time"]
    spans = Counter(int((call["time"] - start) // seconds) for call in evidence.calls)
    return [round(spans[span] / seconds, 1) for span in range(max(spans) + 1)]


def add_row(table: Table, result: Result) -> None:
    """Add one scenario's figures."""
    verdict = result.verdict
    numbers = (
        *(verdict.published, verdict.completed, verdict.dead_lettered),
        *(verdict.lost, verdict.stuck, verdict.twice, verdict.redundant),
    )
    calls = str(result.figures.get("calls", ""))
    verdict_text = "[green]ok[/green]" if result.ok else "[red]NOT OK[/red]"
    table.add_row(result.name, verdict_text, *map(str, numbers), calls, f"{result.seconds:.1f}")


def print_results(console: Console, results: Sequence[Result]) -> None:
    """Print a row for each scenario, then the bars, then what is wrong."""
    table = Table(
        "scenario", "", "published", "completed", "dead", "lost", "stuck", "twice", "redundant",
        "calls", "seconds", title="What became of the messages",
    )  # fmt: skip
    for result in results:
        add_row(table, result)
    console.print(table)
    bars = Table("scenario", "bar", "value", "bound", "", title="Bars")
    for result in results:
        for bar in result.bars:
            # The table above shows what must not happen at all and did not.
            if not bar.ok or bar.bound > 0:
                verdict = "[green]ok[/green]" if bar.ok else "[red]NOT OK[/red]"
                bars.add_row(result.name, bar.name, f"{bar.value:.4g}", f"{bar.bound:.4g}", verdict)
    console.print(bars)
    for result in results:
        for problem in result.problems[:PROBLEMS_SHOWN]:
            console.print(f"{result.name}: {problem}", highlight=False, markup=False)
        if (more := len(result.problems) - PROBLEMS_SHOWN) > 0:
            console.print(f"{result.name}: and {more} more", highlight=False)


async def play_all(
    console: Console, scenarios: Sequence[Scenario], seed: int, at_once: int, *, receipts: bool
) -> list[Result]:
    """Play them side by side; the results are in the order of the scenarios."""
    places = asyncio.Semaphore(at_once)

    async def one(scenario: Scenario) -> Result:
        async with places:
            result = await play(scenario, seed, receipts=receipts)
        verdict = "ok" if result.ok else "NOT OK"
        console.print(f"{result.seconds:6.1f} s  {scenario.name}: {verdict}", highlight=False)
        return result

    return list(await asyncio.gather(*(one(scenario) for scenario in scenarios)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of `make soak ARGS="…"`."""
    parser = argparse.ArgumentParser(
        prog="make soak", description="Plays every failure and checks that no revocation is lost."
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[scenario.name for scenario in SCENARIOS],
        metavar="NAME",
        help="play only this one (may be given more than once)",
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios and exit")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default: 1)")
    parser.add_argument(
        "--at-once",
        type=int,
        default=AT_ONCE,
        help=f"how many play side by side (default: {AT_ONCE})",
    )
    parser.add_argument(
        "--receipts", action="store_true", help="have receipts sent, and check them, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
    return parser


async def main(arguments: list[str] | None = None) -> int:
    """Play; return 0 only if every invariant and every bar of every scenario holds."""
    options = parser().parse_args(arguments)
    if options.at_once < 1:
        parser().error("--at-once: 1 or more")
    console = Console(width=None if sys.stdout.isatty() else 140)
    if options.list:
        table = Table("scenario", "played", "what happens")
        for scenario in SCENARIOS:
            played = "when named" if scenario.on_request else "always"
            table.add_row(scenario.name, played, scenario.what)
        console.print(table)
        return 0
    chosen = [
        each
        for each in SCENARIOS
        if (each.name in options.scenario if options.scenario else not each.on_request)
    ]
    began = time.monotonic()
    results = await play_all(
        console, chosen, options.seed, options.at_once, receipts=options.receipts
    )
    seconds = time.monotonic() - began
    print_results(console, results)
    ok = all(result.ok for result in results)
    verdict = "[green]every bar holds[/green]" if ok else "[red]NOT every bar holds[/red]"
    console.print(f"{len(results)} scenarios, seed {options.seed}, {seconds:.0f} s: {verdict}")
    if options.json:
        document = {
            "ok": ok,
            "seed": options.seed,
            "seconds": round(seconds, 1),
            "scenarios": [result.as_json() for result in results],
            "bars": [bar for result in results for bar in result.bars_as_json()],
            "figures": {result.name: result.figures for result in results},
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
