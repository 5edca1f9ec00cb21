"""Instances are drained, as Flex Consumption does it: what is in flight is aborted after a moment.

On the platform it happens every half hour or so without any deployment (azure-functions-host issues
11632, 12007). Here it happens every few seconds, so that in half a minute a message meets as many
drains as in hours there.
"""

import asyncio
from collections import Counter

from local.cloud import Service
from local.soak.invariants import Bar, Evidence
from local.soak.scenarios.scenario import COPIES, Scenario, transient, with_settings
from local.soak.stage import Stage

HOSTS = 4
BEFORE, REFUSED, AFTER = 6, 30, 6
"""Seconds: of drains under load, then with copies refused too, then with copies taken again."""
HELD = 24
"""Messages that need a copy all the while, so that hosts hold them while copies are refused."""


async def drained_every_few_seconds(stage: Stage) -> None:
    """Four hosts, each drained every few seconds under load, also while copies are refused."""
    seconds = BEFORE + REFUSED + AFTER
    held, others = stage.plan(HELD), stage.plan(10 * seconds)
    conflict = {"fault": "status", "status": 409, "code": "ConcurrentOperationConflict"}
    await stage.break_face(*({**conflict, "session_id": each.session_id} for each in held))
    await stage.break_face(transient(0.3))
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.1})
    publishing = asyncio.create_task(stage.publish(others, per_second=10))
    draining = [asyncio.create_task(_drain_repeatedly(stage, each)) for each in stage.cloud.hosts]
    await asyncio.sleep(BEFORE)
    await stage.break_broker(
        operation="schedule-message", count=None, condition="com.microsoft:server-busy"
    )
    await stage.publish(held)
    await asyncio.sleep(REFUSED)
    await stage.restore_broker()
    await asyncio.sleep(AFTER)
    await stage.restore_face()
    await publishing
    stage.marks["drains"] = stage.starts - HOSTS
    for task in draining:
        task.cancel()
    await asyncio.wait(draining)
    for host in stage.cloud.hosts:
        await stage.restart(host, kill=True)


async def _drain_repeatedly(stage: Stage, host: Service) -> None:
    while True:
        await asyncio.sleep(stage.chance.uniform(1, 4))
        await stage.drain(host)


def drains_bars(stage: Stage, evidence: Evidence) -> list[Bar]:
    """Require that drains hit what was in flight; remember how many deliveries they used up."""
    aborted = Counter(
        event["message_id"] for event in evidence.ledger if event["event"] == "abandoned"
    )
    stage.marks["deliveries aborted"] = aborted.total()
    stage.marks["most deliveries aborted of one message"] = max(aborted.values(), default=0)
    return [Bar("held messages that no drain aborted", max(0, HELD - len(aborted)), 0)]


SCENARIOS = (
    Scenario(
        name="drained_every_few_seconds",
        play=drained_every_few_seconds,
        limit=180,
        settings=with_settings(
            RETRY_IN_PLACE_MAX_SECONDS=COPIES,
            FACE_MAX_CALLS_PER_SECOND=500,  # a new process begins at a small part of it
        ),
        options={"hosts": HOSTS},
        bars=drains_bars,
    ),
)
