"""Many revocations at once, beside a live client that uses the same quota."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from local.soak.invariants import Evidence, Threshold
from local.soak.live import bursts, poisson, steady
from local.soak.scenarios.scenario import Scenario
from local.soak.stage import Stage

STORM, SHORT_STORM, BESIDE_BURSTS = 1000, 600, 100
"""Numbers of messages. Beside bursts as large as the quota, some limits leave less than one call/s."""
QUOTA, LIVE = 10, 5
LIVE_BEFORE = 2.0
"""Seconds for which the live client calls before the storm."""


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
    """100 revocations at once, ten live calls at once every 2 s; the name says the limit."""
    await _storm(stage, BESIDE_BURSTS, bursts(LIVE))


async def _storm(stage: Stage, messages: int, gaps: Iterator[float]) -> None:
    async with stage.live_client(gaps) as live:
        await asyncio.sleep(LIVE_BEFORE)
        began = time.monotonic()
        await stage.publish(stage.plan(messages))
        await stage.drained()
        stage.marks["seconds"] = seconds = time.monotonic() - began
        stage.marks["live"] = live.share_throttled
        # The live client's rate is only close to 5 if its calls come at random times.
        left_over = QUOTA - live.calls / (seconds + LIVE_BEFORE)
        stage.marks["seconds ÷ optimum"] = seconds * left_over / messages


def storm_thresholds(seconds: float, live: float) -> Callable[[Stage, Evidence], list[Threshold]]:
    """Return the thresholds of a storm.

    Args:
        seconds: duration, as a multiple of the time in which the free quota can be used up.
        live: share of the live calls that may be throttled.
    """

    def thresholds(stage: Stage, evidence: Evidence) -> list[Threshold]:
        throttled = sum(call["status"] == 429 for call in evidence.calls)
        deleted = sum(call["status"] in (200, 204) for call in evidence.calls)
        never = float("inf")
        return [
            Threshold("seconds ÷ optimum", stage.marks.get("seconds ÷ optimum", never), seconds),
            Threshold("429 answers ÷ deletions", throttled / max(1, deleted), MAX_THROTTLED),
            Threshold("share of live calls with 429", stage.marks.get("live", never), live),
        ]

    return thresholds


async def four_fresh_hosts(stage: Stage) -> None:
    """Four hosts start together at 8 calls/s each, at a Face API that allows 10 calls/s in all."""
    await stage.publish(stage.plan(250))
    stage.most_hosts = 4
    await asyncio.gather(*(stage.add_host() for _ in range(4)))


def fresh_thresholds(_: Stage, evidence: Evidence) -> list[Threshold]:
    """Bound the 429s of hosts that start together: two seconds' worth of the quota."""
    start = evidence.calls[0]["time"] if evidence.calls else 0.0
    early = [call for call in evidence.calls if call["time"] < start + 10]
    throttled = sum(call["status"] == 429 for call in evidence.calls)
    seconds = (evidence.calls[-1]["time"] - start) if evidence.calls else float("inf")
    return [
        Threshold(
            "429 answers in the first 10 s", sum(x["status"] == 429 for x in early), 2 * QUOTA
        ),
        # At most 0.08 in 100 simulated runs.
        Threshold("429 answers ÷ messages", throttled / len(evidence.published), 0.1),
        # The hosts' rates differ, and the slowest host keeps the 16 messages that it has received.
        Threshold("seconds ÷ optimum", seconds / (len(evidence.published) / QUOTA), 3),
    ]


_DEFAULTS = {"FACE_MAX_CALLS_PER_SECOND": "8"}


def _options(shape: str, limit: str = f"{QUOTA}/1", **more: Any) -> dict[str, Any]:
    """Return a cloud with the deployed queue and this limit of the Face API."""
    return {"face_limit": limit, "face_limit_shape": shape, "queue_properties": {}, **more}


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
MAX_THROTTLED = 0.04
THRESHOLDS: dict[str, tuple[float, float]] = {
    "storm_steady": (1.7, 0.11),
    "storm_poisson": (1.7, 0.04),
    "storm_bucket_steady": (1.7, 0.14),
    "storm_bucket_poisson": (1.7, 0.05),
    "storm_window_steady": (3.6, 0.07),
    "storm_long_window_steady": (1.6, 0.07),
    "storm_long_window_poisson": (1.6, 0.07),
}
"""Seconds ÷ optimum, and share of live calls with 429.

Derived from `bench.simulation.burst` with one process at 8/s, the scenario's limit and number of
messages: the worst of the seeds 0 to 99, with a margin of 25 % for the time and of one percentage
point for the shares. Evenly spaced live calls are allowed what random ones cost, because a busy machine
delays calls. The other storms only check that nothing is lost: their result depends on the seed.
"""
PLAYED_ALWAYS = ("storm_window_steady", "storm_long_window_poisson")
"""The others are played only by name: all of them take an hour."""


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
            if name in THRESHOLDS:
                scenario = replace(scenario, thresholds=storm_thresholds(*THRESHOLDS[name]))
            yield scenario


SCENARIOS = (
    Scenario(
        name="storm_steady",
        play=storm_steady,
        limit=400,
        settings=_DEFAULTS,
        options=_options("bucket"),
        thresholds=storm_thresholds(*THRESHOLDS["storm_steady"]),
    ),
    Scenario(
        name="storm_poisson",
        play=storm_poisson,
        limit=400,
        settings=_DEFAULTS,
        options=_options("bucket"),
        thresholds=storm_thresholds(*THRESHOLDS["storm_poisson"]),
    ),
    Scenario(
        name="four_fresh_hosts",
        play=four_fresh_hosts,
        limit=90,
        settings=_DEFAULTS,
        options=_options("bucket", hosts=0),
        thresholds=fresh_thresholds,
    ),
    *_short_storms(),
)
