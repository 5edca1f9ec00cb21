"""The broker refuses to renew a lock, to schedule or to dead-letter."""

import asyncio

from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.publishers import malformed
from local.soak.scenarios.scenario import (
    COPIES,
    Scenario,
    rejected,
    rejected_end,
    transient,
    with_settings,
)
from local.soak.stage import Stage


async def lock_expiry_during_hang(stage: Stage) -> None:
    """Locks cannot be renewed while the Face API takes longer to answer than a lock lasts."""
    never = stage.plan(8, **rejected_end(400, "BadArgument"))
    await stage.break_face(*(rejected(each, 400, "BadArgument") for each in never))
    await stage.break_broker(operation="renew-lock", count=None)
    await stage.face("POST", "/_local/config", {"latency_seconds": 3})
    await stage.publish([*never, *stage.plan(12)])
    await asyncio.sleep(5)
    await stage.face("POST", "/_local/config", {"latency_seconds": 0})
    await stage.restore_broker()


def locks_threshold(_: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that locks were lost; otherwise the scenario shows nothing."""
    lost = sum(event["event"] == "lock_expired" for event in evidence.ledger)
    return [Threshold("no lock was lost", float(lost == 0), 0)]


async def scheduling_refused(stage: Stage) -> None:
    """The broker refuses to schedule retry copies for 8 s, then performs some without an answer."""
    messages = stage.plan(60)
    conflict = {"fault": "status", "status": 409, "code": "ConcurrentOperationConflict"}
    later = {**conflict, "retry_after": 1, "count": 2}
    await stage.break_face(*({**later, "session_id": each.session_id} for each in messages))
    await stage.break_broker(
        operation="schedule-message", count=None, condition="com.microsoft:server-busy"
    )
    await stage.publish(messages)
    await asyncio.sleep(8)
    await stage.restore_broker()
    await stage.break_broker(operation="schedule-message", count=3, performed=True, drop=True)


async def dead_letter_refused(stage: Stage) -> None:
    """The broker refuses to dead-letter for 8 s, then performs some without an answer."""
    never = stage.plan(20, **rejected_end(403, "UnsupportedFeature"))
    await stage.break_face(*(rejected(each, 403, "UnsupportedFeature") for each in never))
    await stage.break_broker(
        operation="update-disposition", count=None, condition="com.microsoft:server-busy"
    )
    bad = [malformed(stage.chance, stage.id()) for _ in range(20)]
    messages = [*never, *bad, *stage.plan(40)]
    stage.chance.shuffle(messages)
    await stage.publish(messages)
    await asyncio.sleep(8)
    await stage.restore_broker()
    await stage.break_broker(operation="update-disposition", count=3, performed=True, drop=True)


async def distant_broker(stage: Stage) -> None:
    """Each operation of the broker takes tens of milliseconds; a third of all calls fail."""
    never = stage.plan(30, **rejected_end(400, "BadArgument"))
    messages = [*never, *stage.plan(270)]
    stage.chance.shuffle(messages)
    await stage.break_face(*(rejected(each, 400, "BadArgument") for each in never), transient(0.3))
    await stage.publish(messages)


SCENARIOS = (
    Scenario(
        name="lock_expiry_during_hang",
        play=lock_expiry_during_hang,
        limit=60,
        settings=with_settings(CALL_TIMEOUT_SECONDS=5),
        options={"queue_properties": {"lockDuration": "PT2S"}},
        thresholds=locks_threshold,
    ),
    Scenario(
        name="distant_broker",
        play=distant_broker,
        limit=90,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
        options={"broker_latency_ms": 25},
    ),
    Scenario(name="scheduling_refused", play=scheduling_refused, limit=90),
    Scenario(name="dead_letter_refused", play=dead_letter_refused, limit=90),
)
