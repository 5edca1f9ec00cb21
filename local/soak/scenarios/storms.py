"""Many revocations at once, at a quota that others use, too."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from local.soak.invariants import Bar, Evidence
from local.soak.scenarios.scenario import Scenario
from local.soak.stage import Stage

STORM = 1000
QUOTA, LIVE = 10, 5
LIVE_BEFORE = 2.0
"""Seconds for which the live client is there before the storm."""


async def storm_steady(stage: Stage) -> None:
    """1,000 revocations at once against 10 calls/s, of which a live client takes 5, evenly."""
    await _storm(stage, poisson=False)


async def storm_poisson(stage: Stage) -> None:
    """The same, with the live client's calls at random times (Poisson)."""
    await _storm(stage, poisson=True)


async def _storm(stage: Stage, *, poisson: bool) -> None:
    async with stage.live_client(LIVE, poisson=poisson) as live:
        await asyncio.sleep(LIVE_BEFORE)
        began = time.monotonic()
        await stage.publish(stage.plan(STORM))
        await stage.drained()
        stage.marks["seconds"] = time.monotonic() - began
        stage.marks["live"] = live.share_throttled
        stage.marks["live calls"] = live.calls


def storm_bars(live_bound: float) -> Callable[[Stage, Evidence], list[Bar]]:
    """The bars of a storm."""

    def bars(stage: Stage, evidence: Evidence) -> list[Bar]:
        wasted = sum(call["status"] == 429 for call in evidence.calls)
        deleted = sum(call["status"] in (200, 204) for call in evidence.calls)
        never = float("inf")
        seconds = stage.marks.get("seconds", never)
        # What the live client left over: at random times it takes a little more or less than 5.
        optimum = STORM / (QUOTA - stage.marks.get("live calls", 0) / (seconds + LIVE_BEFORE))
        return [
            Bar("seconds ÷ optimum", seconds / optimum, 1.15),
            Bar("429 answers ÷ deletions", wasted / max(1, deleted), 0.05),
            Bar("share of live calls with 429", stage.marks.get("live", never), live_bound),
        ]

    return bars


async def four_fresh_hosts(stage: Stage) -> None:
    """Four hosts start together into a full queue, at a Face API that allows 10 calls/s in all."""
    await stage.publish(stage.plan(250))
    stage.most_hosts = 4
    await asyncio.gather(*(stage.add_host() for _ in range(4)))


def fresh_bars(_: Stage, evidence: Evidence) -> list[Bar]:
    """What newcomers may do to a quota: of the first ten seconds' calls, two seconds' worth."""
    start = evidence.calls[0]["time"] if evidence.calls else 0.0
    early = [call for call in evidence.calls if call["time"] < start + 10]
    throttled = sum(call["status"] == 429 for call in evidence.calls)
    seconds = (evidence.calls[-1]["time"] - start) if evidence.calls else float("inf")
    return [
        Bar("429 answers in the first 10 s", sum(x["status"] == 429 for x in early), 2 * QUOTA),
        Bar("429 answers ÷ messages", throttled / len(evidence.published), 0.15),
        # The shares are not equal, and the slowest host keeps the messages that it has in hand.
        Bar("seconds ÷ optimum", seconds / (len(evidence.published) / QUOTA), 3),
    ]


_REAL: dict[str, Any] = {
    "face_limit": f"{QUOTA}/1",
    "face_limit_shape": "bucket",
    "queue_properties": {},
}
_DEFAULTS = {"FACE_MAX_CALLS_PER_SECOND": "8"}


SCENARIOS = (
    Scenario(
        name="storm_steady",
        play=storm_steady,
        limit=300,
        settings=_DEFAULTS,
        options=_REAL,
        bars=storm_bars(0.02),
    ),
    Scenario(
        name="storm_poisson",
        play=storm_poisson,
        limit=300,
        settings=_DEFAULTS,
        options=_REAL,
        bars=storm_bars(0.04),
    ),
    Scenario(
        name="four_fresh_hosts",
        play=four_fresh_hosts,
        limit=90,
        settings=_DEFAULTS,
        options={**_REAL, "hosts": 0},
        bars=fresh_bars,
    ),
)
