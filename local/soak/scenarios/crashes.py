"""Hosts and the broker end in the middle of their work."""

import asyncio
import time

from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.scenario import COPIES, LOCK, Scenario, transient, with_settings
from local.soak.stage import Stage


async def host_killed(stage: Stage) -> None:
    """The host is killed (SIGKILL) five times in mid-flight, with calls and retries under way."""
    await stage.break_face(transient(0.2))
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.1})
    await stage.publish(stage.plan(250))
    [host] = stage.cloud.hosts
    for _ in range(5):
        await stage.until(lambda: _in_flight(stage, 4))
        await asyncio.sleep(stage.chance.uniform(0.2, 1.2))
        await stage.restart(host, kill=True)


async def _in_flight(stage: Stage, count: int) -> bool:
    return (await stage.queue())["locked"] >= count


async def broker_restarted(stage: Stage) -> None:
    """The broker is stopped twice and killed twice, and comes back on the same port."""
    await stage.break_face(transient(0.2))
    await stage.publish(stage.plan(300))
    for kill in (False, True, False, True):
        await asyncio.sleep(stage.chance.uniform(0.8, 1.6))
        await stage.restart(stage.cloud.broker, kill=kill)


async def two_instances(stage: Stage) -> None:
    """Two hosts share one queue, and one in five calls fails."""
    await stage.break_face(transient(0.2))
    await stage.publish(stage.plan(400))


async def poison_kills_process(stage: Stage) -> None:
    """One message's processing kills the process each time; the platform restarts it."""
    [poison] = stage.plan(
        1, ends=("MaxDeliveryCountExceeded",), description="could not be consumed after 10 "
    )
    await stage.publish([*stage.plan(40), poison, *stage.plan(40)])
    assert poison.session_id is not None
    host = await stage.add_host("local.soak.fatal_host", FATAL_SESSION_ID=poison.session_id)

    async def ended() -> bool:
        assert host.process is not None
        if host.process.returncode is not None:
            await stage.restart(host, kill=True)
        return await stage.left() == 0

    await stage.until(ended)


async def host_terminated(stage: Stage) -> None:
    """SIGTERM while calls are under way: the process ends at once, as the platform's worker does."""
    slow = stage.plan(6)
    await stage.break_face(
        *({"fault": "latency", "seconds": 10, "session_id": x.session_id, "count": 1} for x in slow)
    )
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.4})
    [host] = stage.cloud.hosts
    await stage.publish([*slow, *stage.plan(200)])
    await stage.ended(20)
    began = time.monotonic()
    await host.stop()
    stage.marks["stop"] = time.monotonic() - began
    # At this very moment: what the broker has seen completed must be gone at the Face API.
    evidence = await stage.evidence()
    sessions = {each.message_id: each.session_id for each in stage.published}
    stage.marks["completed, not deleted"] = sum(
        event["event"] == "completed" and sessions[event["message_id"]] in evidence.sessions
        for event in evidence.ledger
    )
    stage.marks["left at the stop"] = evidence.in_queue
    await host.start()
    stage.starts += 1


def terminated_thresholds(stage: Stage, _: Evidence) -> list[Threshold]:
    """Bound what SIGTERM may leave behind."""
    never = float("inf")
    not_deleted = stage.marks.get("completed, not deleted", never)
    return [
        Threshold(
            "seconds from SIGTERM to the end of the process", stage.marks.get("stop", never), 1
        ),
        Threshold("completed at that moment, but not deleted", not_deleted, 0),
    ]


SCENARIOS = (
    Scenario(
        name="poison_kills_process",
        play=poison_kills_process,
        limit=120,
        # The service's own default, so that it takes half the crashes.
        options={"hosts": 0, "queue_properties": {**LOCK, "maxDeliveryCount": 10}},
    ),
    Scenario(
        name="host_killed",
        play=host_killed,
        limit=90,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
    ),
    Scenario(
        name="broker_restarted",
        play=broker_restarted,
        limit=90,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
        options={"durable_broker": True},
    ),
    Scenario(
        name="two_instances",
        play=two_instances,
        limit=60,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES),
        options={"hosts": 2},
    ),
    Scenario(
        name="host_terminated",
        play=host_terminated,
        limit=60,
        settings=with_settings(CALL_TIMEOUT_SECONDS=20),
        thresholds=terminated_thresholds,
    ),
)
