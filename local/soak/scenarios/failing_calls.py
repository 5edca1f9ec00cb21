"""Calls of the Face API fail in every way, and some can never succeed."""

from collections.abc import Mapping
from typing import Any

from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.scenario import (
    Scenario,
    rejected,
    rejected_end,
    transient,
    with_settings,
)
from local.soak.stage import Stage

MANY = 10_000


async def random_faults_30(stage: Stage) -> None:
    """10,000 messages while 30 % of all calls fail, in every way, and 1 % can never succeed."""
    # Each 429 holds up the whole process for a second. If they came as often as the other faults,
    # nothing else would be measured.
    throttle = {"fault": "status", "status": 429, "code": "429", "retry_after": 1}
    await _random_faults(stage, MANY, {**throttle, "probability": 0.002, "method": "DELETE"})


async def random_faults_short(stage: Stage) -> None:
    """The same with 200 messages: what `make test` plays."""
    await _random_faults(stage, 200)


async def _random_faults(stage: Stage, count: int, *more: Mapping[str, Any]) -> None:
    never = stage.plan(count // 100, **rejected_end(400, "BadArgument"))
    messages = stage.plan(count - len(never)) + never
    stage.chance.shuffle(messages)
    await stage.break_face(
        *(rejected(each, 400, "BadArgument") for each in never), *more, transient(0.3)
    )
    await stage.publish(messages)


def effort_threshold(_: Stage, evidence: Evidence) -> list[Threshold]:
    """Limit the calls for a message: on average 1, its injected faults, and 1 more."""
    faults = sum(call["fault"] is not None for call in evidence.calls)
    messages = max(1, len(evidence.published))
    return [Threshold("calls per message", len(evidence.calls) / messages, 2 + faults / messages)]


SCENARIOS = (
    Scenario(
        name="random_faults_30",
        play=random_faults_30,
        limit=420,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=500),
        options={"queue_properties": {}, "hosts": 2},
        thresholds=effort_threshold,
    ),
)

SHORT = Scenario(
    name="random_faults_short", play=random_faults_short, limit=50, thresholds=effort_threshold
)
