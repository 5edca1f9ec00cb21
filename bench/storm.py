"""A burst of revocations as in `make soak`, for this function and for a naive one."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from bench.harness import ROOT
from local.cloud import Options
from local.soak.live import Live, steady
from local.soak.stage import Stage, open_stage

FACE_RATE, LIVE_RATE = 10, 5
"""Calls per second: the default limit of a Standard Face resource, and the constant share of live
verification."""
APPS = {
    "this function": ROOT,
    "naive: raise on error": ROOT / "bench" / "peers" / "naive",
}


async def measure(messages: int) -> dict[str, dict[str, Any]]:
    """The outcome of `messages` that arrive at once, by variant."""
    return {name: await _storm(app, messages) for name, app in APPS.items()}


BROKER_LATENCY_MS = 15
"""Simulated latency of the broker, the same for all variants."""


async def _storm(app: Path, messages: int) -> dict[str, Any]:
    settings = {"FACE_MAX_CALLS_PER_SECOND": "8"}
    options = Options(
        app=app,
        face_limit=f"{FACE_RATE}/1",
        face_limit_shape="bucket",
        broker_latency_ms=BROKER_LATENCY_MS,
        settings=settings,
    )
    async with (
        open_stage(options, random.Random(1)) as stage,
        stage.live_client(steady(LIVE_RATE)) as live,
    ):
        began = time.monotonic()
        await stage.publish(stage.plan(messages))
        async with asyncio.timeout(60 + 2 * messages / (FACE_RATE - LIVE_RATE)):
            await stage.drained()
        return await _ended(stage, live, time.monotonic() - began)


async def _ended(stage: Stage, live: Live, seconds: float) -> dict[str, Any]:
    evidence = await stage.evidence()
    calls = (await stage.face("GET", "/_local/stats"))["calls"]
    made = sum(number for kind, number in calls.items() if kind.startswith("DELETE "))
    deleted = sum(each.session_id not in evidence.sessions for each in evidence.published)
    return {
        "messages": len(evidence.published),
        "face_rate": FACE_RATE,
        "live_rate": LIVE_RATE,
        "seconds": seconds,
        "sessions_deleted": deleted,
        "calls": made,
        "calls_wasted": made - deleted,
        "dead_lettered": len(evidence.dead_letters),
        "live_calls": live.calls,
        "live_calls_throttled": live.throttled,
    }


def thresholds(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The thresholds of this function."""
    ours = found["this function"]
    return [
        {
            "name": f"storm of {ours['messages']:,}: messages dead-lettered",
            "value": float(ours["dead_lettered"]),
            "bound": 0.0,
            "at": "most",
        },
        {
            "name": f"storm of {ours['messages']:,}: part of the sessions deleted",
            "value": ours["sessions_deleted"] / ours["messages"],
            "bound": 1.0,
            "at": "least",
        },
    ]
