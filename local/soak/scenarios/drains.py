"""Instances are drained, as the platform does it.

Either the host aborts what is in flight after a moment, or SIGTERM ends the whole process at once.

On the platform it happens every half hour or so without any deployment (azure-functions-host issues
11632, 12007). Here it happens every few seconds, so that in half a minute a message meets as many
drains as in hours there.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from local.cloud import Service
from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.scenario import COPIES, Scenario, transient, with_settings
from local.soak.stage import Stage

HOSTS = 4
BEFORE, REFUSED, AFTER = 4, 40, 4
"""Drains under load, then with copies refused too, then with copies taken again."""
HELD = 24
"""Messages that need a copy all the while, so that hosts hold them while copies are refused."""
LOAD = 400


async def drained_every_few_seconds(stage: Stage) -> None:
    """Four hosts, each drained every few seconds under load, also while copies are refused."""
    held, others = stage.plan(HELD), stage.plan(LOAD)
    conflict = {"fault": "status", "status": 409, "code": "ConcurrentOperationConflict"}
    await stage.break_face(*({**conflict, "session_id": each.session_id} for each in held))
    await stage.break_face(transient(0.3))
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.1})
    publishing = asyncio.create_task(stage.publish(others, per_second=5))
    drains = _Drains(stage)
    async with drains.of(stage.cloud.hosts):
        await drains.number(BEFORE)
        await stage.break_broker(
            operation="schedule-message", count=None, condition="com.microsoft:server-busy"
        )
        await stage.publish(held)
        await drains.number(REFUSED)
        await stage.restore_broker()
        await drains.number(AFTER)
    await stage.restore_face()
    await publishing
    for host in stage.cloud.hosts:
        await stage.restart(host, kill=True)


class _Drains:
    """Drains hosts again and again, each some seconds after there is something in flight."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._done = 0

    @contextlib.asynccontextmanager
    async def of(self, hosts: Sequence[Service]) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._repeat(host)) for host in hosts]
            yield
            for task in tasks:
                task.cancel()

    async def number(self, count: int) -> None:
        """Wait for this number of further drains."""
        until = self._done + count

        async def done() -> bool:
            return self._done >= until

        await self._stage.until(done)

    async def _repeat(self, host: Service) -> None:
        stage = self._stage
        while True:
            await stage.until(self._busy)
            await asyncio.sleep(stage.chance.uniform(1, 3))
            await (
                stage.drain(host)
                if stage.chance.random() < 0.5
                else stage.restart(host, kill=False)
            )
            self._done += 1

    async def _busy(self) -> bool:
        return (await self._stage.queue())["locked"] > 0


def drains_thresholds(stage: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that drains hit what was in flight; remember how many deliveries they used up."""
    aborted = Counter(
        event["message_id"]
        for event in evidence.ledger
        if event["event"] in ("abandoned", "lock_expired")
    )
    stage.marks["deliveries aborted"] = aborted.total()
    stage.marks["most deliveries aborted of one message"] = max(aborted.values(), default=0)
    return [Threshold("held messages that no drain aborted", max(0, HELD - len(aborted)), 0)]


SCENARIOS = (
    Scenario(
        name="drained_every_few_seconds",
        play=drained_every_few_seconds,
        limit=240,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
        options={"hosts": HOSTS},
        thresholds=drains_thresholds,
    ),
)
