"""The Face API, its token endpoint or its permissions fail for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.scenario import COOL_DOWN, Scenario, with_settings
from local.soak.stage import Stage

OUTAGE_RATE = 40
OUTAGE_COOL_DOWN = 3.0
PLATFORM_WAIT = 3.0


async def face_503_then_recovery(stage: Stage) -> None:
    """The Face API answers everyone 503 for ten minutes (at 1:10, cool-down and backoff too)."""
    await stage.publish(stage.plan(150))
    await stage.drained()  # so that the outage meets a busy process
    await stage.break_face({"fault": "status", "status": 503, "code": "ServiceUnavailable"})
    messages = stage.plan(400)
    await stage.publish(messages[:200])
    await stage.publish(messages[200:], per_second=200 / 60)
    await recover(stage, stage.restore_face())


async def recover(stage: Stage, restoring: Awaitable[None]) -> None:
    """Restore, and measure how long the rest takes."""
    await restoring
    stage.marks["left"] = await stage.left()
    began = time.monotonic()
    await stage.drained()
    stage.marks["drain"] = time.monotonic() - began


def drain_threshold(rate: float, cool_down: float) -> Callable[[Stage, Evidence], list[Threshold]]:
    """Limit the time to recover: twice the cool-down plus 1.15 times the optimum."""

    def thresholds(stage: Stage, _: Evidence) -> list[Threshold]:
        optimum = stage.marks.get("left", 0) / rate
        value = stage.marks.get("drain", float("inf"))
        return [
            Threshold("seconds from recovery to the end", value, 2 * cool_down + 1.15 * optimum)
        ]

    return thresholds


async def token_endpoint_down_then_up(stage: Stage) -> None:
    """The identity endpoint fails, then hangs, and the token held expires; then it works."""
    await stage.set_identity(lifetime_seconds=4)
    await stage.publish(stage.plan(100))
    await stage.drained()
    await stage.set_identity(fail=True)
    await asyncio.sleep(5)
    await stage.publish(stage.plan(100))
    await asyncio.sleep(6)
    await stage.set_identity(fail=False, hang_seconds=30)
    await asyncio.sleep(4)
    await recover(stage, stage.set_identity(hang_seconds=0, lifetime_seconds=3600))


async def tokens_refused_then_accepted(stage: Stage) -> None:
    """The Face API refuses every token (401), then the role (403), then accepts them."""
    await stage.publish(stage.plan(100))
    await stage.drained()
    await stage.face("POST", "/_local/config", {"reject_tokens": True})
    await stage.publish(stage.plan(100))
    await asyncio.sleep(6)
    await stage.face("POST", "/_local/config", {"reject_tokens": False, "deny_role": True})
    await asyncio.sleep(6)
    await recover(stage, stage.face("POST", "/_local/config", {"deny_role": False}))


PLATFORM = (
    *("role_missing", "network_rules", "public_access_disabled", "tenant_mismatch"),
    *("no_subdomain", "quota", "gateway_html", "unknown_code"),
)


async def platform_refuses_then_lets_through(stage: Stage) -> None:
    """A firewall, a missing subdomain, another tenant and the like refuse every call, in turn."""
    await stage.publish(stage.plan(50))
    await stage.drained()
    for name in PLATFORM:
        await stage.restore_face()
        await stage.break_face({"fault": name, "method": "DELETE"})
        await stage.publish(stage.plan(20))
        await asyncio.sleep(1)
    await stage.restore_face()
    # One answer asks all messages to wait for a day.
    await stage.break_face(
        {"fault": "status", "status": 503, "code": "x", "retry_after": 86_400, "count": 1}
    )
    await recover(stage, asyncio.sleep(0))
    # A 429 that does so slows the others down, like any 429, but does not stop them.
    await stage.break_face(
        {"fault": "status", "status": 429, "code": "429", "retry_after": 86_400, "count": 1}
    )
    stage.marks["429"] = time.time()
    await stage.publish(stage.plan(20))


def reported_threshold(stage: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that each refusal was reported with its remedy."""
    told = {
        line.record["remedy"]
        for line in evidence.lines
        if line.record["event"] in ("deployment_fault", "unknown_code") and line.record["remedy"]
    }
    # The two network rules have one remedy, and the gateway's page is an outage.
    unreported = len(PLATFORM) - 2 - len(told)
    thresholds = drain_threshold(OUTAGE_RATE, COOL_DOWN + PLATFORM_WAIT)(stage, evidence)
    since = [call["time"] for call in evidence.calls if call["time"] >= stage.marks["429"]]
    silence = max((later - earlier for earlier, later in pairwise(since)), default=float("inf"))
    return [
        *thresholds,
        Threshold("refusals that were not reported", unreported, 0),
        Threshold(
            "seconds without a call after a 429 that asks for a day", silence, 2 * PLATFORM_WAIT
        ),
    ]


SCENARIOS = (
    Scenario(
        name="face_503_then_recovery",
        play=face_503_then_recovery,
        limit=150,
        settings=with_settings(
            FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE,
            CIRCUIT_BREAKER_BREAK_SECONDS=OUTAGE_COOL_DOWN,
            RETRY_INITIAL_DELAY_SECONDS=0.2,
            RETRY_MAX_DELAY_SECONDS=90,
        ),
        options={"queue_properties": {"lockDuration": "PT6S"}},
        thresholds=drain_threshold(OUTAGE_RATE, OUTAGE_COOL_DOWN),
    ),
    Scenario(
        name="token_endpoint_down_then_up",
        play=token_endpoint_down_then_up,
        limit=60,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE),
        thresholds=drain_threshold(OUTAGE_RATE, COOL_DOWN),
    ),
    Scenario(
        name="tokens_refused_then_accepted",
        play=tokens_refused_then_accepted,
        limit=60,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE),
        thresholds=drain_threshold(OUTAGE_RATE, COOL_DOWN),
    ),
    Scenario(
        name="platform_refuses_then_lets_through",
        play=platform_refuses_then_lets_through,
        limit=90,
        settings=with_settings(
            FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE, RETRY_MAX_DELAY_SECONDS=PLATFORM_WAIT
        ),
        thresholds=reported_threshold,
    ),
)
