"""`make soak`: plays the scenarios, checks the invariants, prints what was measured."""

from local import ending

if __name__ == "__main__":
    ending.handle_signals()  # before the imports, which take a second

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from local.cloud import ServiceFailed
from local.progress import Progress
from local.receipts import OUTCOME_QUEUE
from local.report.outputs import output_file
from local.report.page import provenance
from local.soak.invariants import Evidence, Verdict, check
from local.soak.receipts import check_receipts
from local.soak.results import Result, as_json, page, problem_lines, tables, verdict
from local.soak.scenarios import SCENARIOS, Scenario
from local.soak.stage import open_stage

AT_ONCE = 4
"""Scenarios that play at the same time; they spend most of it waiting."""


async def play(scenario: Scenario, seed: int, *, receipts: bool = False) -> Result:
    """Play one scenario on a separate cloud and check its results."""
    began = time.monotonic()
    chance = random.Random(f"{seed}/{scenario.name}")
    problems: list[str] = []
    receipts = receipts and scenario.sends_receipts
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
                thresholds=[*verdict.thresholds, *scenario.thresholds(stage, evidence)],
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
            thresholds=[],
            problems=[str(error)],
        )


def curve(evidence: Evidence, seconds: float = 10) -> list[float]:
    """Return the function's calls per second, over consecutive spans of `seconds`."""
    if not evidence.calls:
        return []
    start = evidence.calls[0]["time"]
    spans = Counter(int((call["time"] - start) // seconds) for call in evidence.calls)
    return [round(spans[span] / seconds, 1) for span in range(max(spans) + 1)]


async def play_all(
    console: Console, scenarios: Sequence[Scenario], seed: int, at_once: int, *, receipts: bool
) -> list[Result]:
    """Play them concurrently; the results are in the order of the scenarios."""
    places = asyncio.Semaphore(at_once)
    playing: list[str] = []
    played = 0

    def so_far() -> str:
        on = f"; on: {', '.join(playing)}" if playing else ""
        return f"stopped: {played} of {len(scenarios)} scenarios played{on}"

    ending.at_the_end(so_far)

    async def one(scenario: Scenario) -> Result:
        nonlocal played
        async with places:
            playing.append(scenario.name)
            result = await play(scenario, seed, receipts=receipts)
            playing.remove(scenario.name)
        verdict = "ok" if result.ok else "NOT OK"
        console.print(f"{result.seconds:6.1f} s  {scenario.name}: {verdict}", highlight=False)
        played += 1
        return result

    async def show() -> None:
        with Progress(console) as progress:
            while True:
                progress.show("scenarios played", played, len(scenarios))
                await asyncio.sleep(1)

    showing = asyncio.create_task(show())
    try:
        return list(await asyncio.gather(*(one(scenario) for scenario in scenarios)))
    finally:
        showing.cancel()
        await asyncio.wait({showing})


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
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument(
        "--at-once",
        type=int,
        default=AT_ONCE,
        help=f"how many play concurrently (default: {AT_ONCE})",
    )
    parser.add_argument("--receipts", action="store_true", help="also send and check receipts")
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the results to a file"
    )
    parser.add_argument(
        "--html", type=output_file, metavar="FILE", help="write a report with charts to a file"
    )
    return parser


async def main(arguments: Sequence[str]) -> int:
    """Play; return 0 only if every scenario meets its invariants and thresholds."""
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
    for each in (*tables(results), *problem_lines(results)):
        console.print(each)
    console.print(verdict(results, options.seed, seconds))
    if options.json:
        document = as_json(results, options.seed, seconds)
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if options.html:
        origin = provenance("make soak", arguments)
        page(results, options.seed, seconds, origin).write(options.html)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
