"""Publishers send unreadable messages, or repeat messages."""

import json
import random
from dataclasses import replace

from local.soak.invariants import Evidence, Published, Threshold
from local.soak.scenarios.scenario import Scenario
from local.soak.stage import Stage


async def malformed_500(stage: Stage) -> None:
    """500 messages of random bytes and random JSON, among 50 good ones."""
    messages = [malformed(stage.chance, stage.id()) for _ in range(500)] + stage.plan(50)
    stage.chance.shuffle(messages)
    await stage.publish(messages)


def malformed(chance: random.Random, message_id: str) -> Published:
    """Return a message that is wrong in a random way, and what its description must say."""
    content_type: str | None = chance.choice(["application/json", "text/plain", None])
    match chance.randrange(8):
        case 0:
            body, says = b"\xff" + chance.randbytes(chance.randrange(300)), "UTF-8"
        case 1:
            body, says = b" " * chance.randrange(5), "empty"
        case 2:
            body = bytes(chance.choices(range(32, 127), k=chance.randrange(1, 300)))
            body, says = b"~" + body, "^body: "
        case 3:
            body, says = json.dumps({"sessionId": _json_value(chance, 0)}).encode(), "sessionId"
        case 4:
            body, says = json.dumps({"session": _json_value(chance, 0)}).encode(), "sessionId"
        case 5:
            number = chance.randrange(65_537, 90_000)
            body, says = b'{"sessionId": "a", "x": "' + b"x" * number + b'"}', "bytes, at most"
        case 6:
            body, says = (
                json.dumps({"sessionId": "a" * 40}).encode()[: -chance.randrange(1, 40)],
                "",
            )
        case _:
            content_type = "application/cloudevents+json"
            body, says = json.dumps({"specversion": "1.0", "sessionID": "a"}).encode(), "data"
    return Published(
        message_id=message_id,
        body=body,
        content_type=content_type,
        ends=("MalformedMessage",),
        description=says,
    )


def _json_value(chance: random.Random, depth: int) -> object:
    """Return anything but a session id."""
    values: list[object] = [None, True, chance.random(), chance.randrange(10**6), "", "a/b", "é"]
    if depth < 4:
        values += [[_json_value(chance, depth + 1)], {"k": _json_value(chance, depth + 1)}]
    return chance.choice(values)


async def publisher_sends_everything_twice(stage: Stage) -> None:
    """Every message is sent twice under its id, and once more under another one."""
    messages = stage.plan(150)
    await stage.publish(messages)
    await stage.publish(messages, again=True)
    again = [
        Published(message_id=stage.id(), body=each.body, session_id=each.session_id)
        for each in messages
    ]
    stage.published += again
    await stage.publish(again, again=True)


async def corrected_and_published_again(stage: Stage) -> None:
    """Malformed, then corrected under the same id, then under a new one; some wait as retries."""
    good = stage.plan(60)
    broken = [
        Published(message_id=stage.id(), body=b'{"session": 7}', ends=("MalformedMessage",))
        for _ in good
    ]
    await stage.publish(broken)
    await stage.drained()
    same_id = [
        replace(each, message_id=bad.message_id) for each, bad in zip(good, broken, strict=True)
    ]
    await stage.publish(same_id, again=True)
    # Half of the sessions have a retry scheduled when they are published again.
    for each in good[::2]:
        await stage.break_face(
            {"fault": "status", "status": 503, "count": 3, "session_id": each.session_id}
        )
    await stage.publish(good)
    again = [replace(each, message_id=stage.id()) for each in good]
    stage.published += again
    await stage.publish(again, again=True)


def corrected_thresholds(stage: Stage, evidence: Evidence) -> list[Threshold]:
    """Require what the contract says: the same id is dropped, and a new one always arrives."""
    dropped = sum(event["event"] == "duplicate_dropped" for event in evidence.ledger)
    revoked = {each.session_id for each in stage.published if each.session_id}
    alive = revoked & evidence.sessions
    return [
        Threshold("messages under an old id that were not dropped", 60 - dropped, 0),
        Threshold("sessions that live on", len(alive), 0),
    ]


def duplicates_threshold(_: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that every second message under the same id was dropped."""
    dropped = sum(event["event"] == "duplicate_dropped" for event in evidence.ledger)
    return [Threshold("duplicates not dropped", len(evidence.published) / 2 - dropped, 0)]


SCENARIOS = (
    Scenario(
        name="publisher_sends_everything_twice",
        play=publisher_sends_everything_twice,
        limit=60,
        thresholds=duplicates_threshold,
    ),
    Scenario(
        name="corrected_and_published_again",
        play=corrected_and_published_again,
        limit=60,
        thresholds=corrected_thresholds,
    ),
    Scenario(name="malformed_500", play=malformed_500, limit=60),
)
