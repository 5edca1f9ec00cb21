"""Many revocations at once, at a quota that others use, too."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from local.soak.invariants import Bar, Evidence
from local.soak.live import bursts, poisson, steady
from local.soak.scenarios.scenario import Scenario
from local.soak.stage import Stage

STORM, SHORT_STORM = 1000, 600
QUOTA, LIVE = 10, 5
LIVE_BEFORE = 2.0
"""Seconds for which the live client is there before the storm."""


async def storm_steady(stage: Stage) -> None:
    """1,000 revocations at once against 10 calls/s, of which a live client takes 5, evenly."""
    await _storm(stage, STORM, steady(LIVE))


async def storm_poisson(stage: Stage) -> None:
    """The same, with the live client's calls at random times (Poisson)."""
    await _storm(stage, STORM, poisson(LIVE, stage.chance))


async def short_storm_steady(stage: Stage) -> None:
    """600 revocations at once, the live client's calls evenly spaced; the name says the limit."""
    await _storm(stage, SHORT_STORM, steady(LIVE))


async def short_storm_poisson(stage: Stage) -> None:
    """600 revocations at once, the live client's calls at random; the name says the limit."""
    await _storm(stage, SHORT_STORM, poisson(LIVE, stage.chance))


async def short_storm_bursts(stage: Stage) -> None:
    """600 revocations at once, ten live calls at once every 2 s; the name says the limit."""
    await _storm(stage, SHORT_STORM, bursts(LIVE))


async def _storm(stage: Stage, messages: int, gaps: Iterator[float]) -> None:
    async with stage.live_client(gaps) as live:
        await asyncio.sleep(LIVE_BEFORE)
        began = time.monotonic()
        await stage.publish(stage.plan(messages))
        await stage.drained()
        stage.marks["seconds"] = seconds = time.monotonic() - began
        stage.marks["live"] = live.share_throttled
        # What the live client left over: at random times it takes a little more or less than 5.
        left_over = QUOTA - live.calls / (seconds + LIVE_BEFORE)
        stage.marks["seconds ÷ optimum"] = seconds * left_over / messages


def storm_bars(optimum: float, live: float) -> Callable[[Stage, Evidence], list[Bar]]:
    """Return the bars of a storm.

    Args:
        optimum: times the time in which the free quota can be used up.
        live: share of the live calls that may be throttled.
    """

    def bars(stage: Stage, evidence: Evidence) -> list[Bar]:
        wasted = sum(call["status"] == 429 for call in evidence.calls)
        deleted = sum(call["status"] in (200, 204) for call in evidence.calls)
        never = float("inf")
        return [
            Bar("seconds ÷ optimum", stage.marks.get("seconds ÷ optimum", never), optimum),
            Bar("429 answers ÷ deletions", wasted / max(1, deleted), 0.05),
            Bar("share of live calls with 429", stage.marks.get("live", never), live),
        ]

    return bars


async def four_fresh_hosts(stage: Stage) -> None:
    """Four hosts start together into a full queue, at a Face API that allows 10 calls/s in all."""
    await stage.publish(stage.plan(250))
    stage.most_hosts = 4
    await asyncio.gather(*(stage.add_host() for _ in range(4)))


def fresh_bars(_: Stage, evidence: Evidence) -> list[Bar]:
    """Bound what newcomers do to a quota: in the first ten seconds, two seconds' worth of 429."""
    start = evidence.calls[0]["time"] if evidence.calls else 0.0
    early = [call for call in evidence.calls if call["time"] < start + 10]
    throttled = sum(call["status"] == 429 for call in evidence.calls)
    seconds = (evidence.calls[-1]["time"] - start) if evidence.calls else float("inf")
    return [
        Bar("429 answers in the first 10 s", sum(x["status"] == 429 for x in early), 2 * QUOTA),
        Bar("429 answers ÷ messages", throttled / len(evidence.published), 0.15),
        # The hosts' shares differ, and the slowest host keeps the messages that it has in hand.
        Bar("seconds ÷ optimum", seconds / (len(evidence.published) / QUOTA), 3),
    ]


_DEFAULTS = {"FACE_MAX_CALLS_PER_SECOND": "8"}


def _options(shape: str, limit: str = f"{QUOTA}/1", **more: Any) -> dict[str, Any]:
    """Return a cloud with the deployed queue and this limit of the Face API."""
    return {"face_limit": limit, "face_limit_shape": shape, "queue_properties": {}, **more}


# Storms against each limit that a Face API may have, as far as anyone outside can tell. A bar is what
# the best constant rate deletes per second of the five that are free, as `make pacing` finds it: a
# single storm may take that rate's time over SINGLE_RUN, and throttle SINGLE_HARM of the live calls, as
# all of a hundred simulated ones do; `make pacing` holds the medians to closer bars.
# Storms without a bar scatter too much for one to say anything; all check that nothing is lost.
SINGLE_RUN, SINGLE_HARM = 0.7, 0.06
_LIMITS: dict[str, tuple[str, str]] = {
    "bucket": ("bucket", "10/1"),
    "small_bucket": ("bucket", "3/0.3"),
    "window": ("fixed", "10/1"),
    "long_window": ("fixed", "100/10"),
    "sliding": ("sliding", "10/1"),
    "sliding_all": ("sliding_all", "10/1"),
}
_LIVE = {
    "steady": short_storm_steady,
    "poisson": short_storm_poisson,
    "bursts": short_storm_bursts,
}
BEST_CONSTANT_RATES = {
    "storm_bucket_steady": 4.99,
    "storm_bucket_poisson": 4.54,
    "storm_small_bucket_steady": 4.69,
    "storm_window_steady": 4.70,
    "storm_long_window_steady": 4.97,
    "storm_long_window_poisson": 4.66,
    "storm_sliding_steady": 3.14,
}
"""Deletions per second at which the live client loses no more calls than 2 %, or, where that cannot be,
than it loses to a tenth of the quota."""
PLAYED_ALWAYS = ("storm_window_steady", "storm_long_window_poisson")
"""The others are played when they are named: all of them take an hour."""


def _short_storms() -> Iterator[Scenario]:
    for limit_name, (shape, limit) in _LIMITS.items():
        for live_name, play in _LIVE.items():
            name = f"storm_{limit_name}_{live_name}"
            scenario = Scenario(
                name=name,
                play=play,
                limit=900,
                settings=_DEFAULTS,
                options=_options(shape, limit),
                on_request=name not in PLAYED_ALWAYS,
            )
            if best := BEST_CONSTANT_RATES.get(name):
                bars = storm_bars((QUOTA - LIVE) / (SINGLE_RUN * best), SINGLE_HARM)
                scenario = replace(scenario, bars=bars)
            yield scenario


SCENARIOS = (
    Scenario(
        name="storm_steady",
        play=storm_steady,
        limit=300,
        settings=_DEFAULTS,
        options=_options("bucket"),
        bars=storm_bars(1.15, 0.02),
    ),
    Scenario(
        name="storm_poisson",
        play=storm_poisson,
        limit=300,
        settings=_DEFAULTS,
        options=_options("bucket"),
        bars=storm_bars(1.4, 0.04),
    ),
    Scenario(
        name="four_fresh_hosts",
        play=four_fresh_hosts,
        limit=90,
        settings=_DEFAULTS | {"MAXIMUM_INSTANCE_COUNT": "4"},
        options=_options("bucket", hosts=0),
        bars=fresh_bars,
    ),
    *_short_storms(),
)
