"""Publishers send unreadable messages, repeat messages, leave out the type, or get an id wrong."""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace

from local.soak.invariants import DONE, Evidence, Published, Threshold
from local.soak.scenarios.scenario import COPIES, Scenario, transient, with_settings
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


VERIFY, PLAIN = KINDS = ("livenessWithVerify", "liveness")
MIN_ENDS_OF_HOSTS = 3


async def types_left_out_and_ids_wrong(stage: Stage) -> None:
    """Of 1,000 messages, 300 state no type and 50 have a wrong id; hosts are killed and drained."""
    chance = stage.chance
    unstated = set(chance.sample(range(1000), 300))
    plain = set(chance.sample(sorted(unstated), 150))
    plain |= set(chance.sample(sorted(set(range(1000)) - unstated), 350))
    wrong = set(chance.sample(range(1000), 50))
    messages = []
    for kind in KINDS:
        numbers = [number for number in range(1000) if (number in plain) is (kind == PLAIN)]
        ids = [stage.id() for _ in numbers]
        await stage.face("POST", "/_local/sessions", {"ids": ids, "type": kind})
        for number, right_id in zip(numbers, ids, strict=True):
            session_id = stage.id() if number in wrong else right_id
            stated = {} if number in unstated else {"sessionType": kind}
            body = json.dumps({"sessionId": session_id, **stated}).encode()
            messages.append(Published(message_id=stage.id(), body=body, session_id=session_id))
    chance.shuffle(messages)
    stage.published += messages
    await stage.break_face(transient(0.2))
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.1})
    publishing = asyncio.create_task(stage.publish(messages, per_second=20, again=True))
    ended = 0
    while not publishing.done():
        await asyncio.sleep(chance.uniform(1, 2))
        host = stage.cloud.hosts[ended % 2]
        await (stage.drain(host) if ended % 3 == 2 else stage.restart(host, kill=ended % 3 == 0))
        ended += 1
    await publishing
    stage.marks["hosts killed, stopped or drained"] = ended


def types_thresholds(stage: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that no success is reported for a session that exists, and no call is made in vain."""
    successes = list(_successes(evidence))
    stated = {each.session_id: _stated(each.body) for each in evidence.published}
    untrue = sum(session_id in evidence.sessions for session_id, _, _ in successes)
    too_early = sum(
        outcome == "already_gone" and not stated[session_id] and set(asked) != set(KINDS)
        for session_id, outcome, asked in successes
    )
    not_found: set[str] = set()
    extra = in_vain = 0
    for call in evidence.calls:
        session_id, kind = call["session_id"], VERIFY if "WithVerify" in call["path"] else PLAIN
        if stated[session_id]:
            in_vain += kind != stated[session_id]
        elif kind == PLAIN:
            extra += 1
            in_vain += session_id not in not_found
        elif call["code"] == "SessionNotFound":
            not_found.add(session_id)
    stage.marks |= {"extra calls": extra, "sessions with an extra call": len(not_found)}
    stage.marks["successes"] = len(successes)
    ends = stage.marks.get("hosts killed, stopped or drained", 0)
    return [
        Threshold("successes reported for a session that exists", untrue, 0),
        Threshold("successes reported before both types were asked", too_early, 0),
        Threshold("calls for a type that need not be asked", in_vain, 0),
        Threshold("ends of hosts that are missing", max(0, MIN_ENDS_OF_HOSTS - ends), 0),
        Threshold("sessions deleted that no message named", 50 - len(evidence.sessions), 0),
    ]


def _successes(evidence: Evidence) -> Iterator[tuple[str, str, list[str]]]:
    """Yield session, outcome and asked types of each success in the log and in the receipts."""
    for line in evidence.lines:
        if line.record.get("outcome") in DONE:
            yield line.record["session_id"], line.record["outcome"], line.record["asked"]
    for event in evidence.receipts or ():
        if event["data"]["outcome"] in DONE:
            data = event["data"]
            yield data["sessionId"], data["outcome"], data["askedTypes"]


def _stated(body: bytes) -> str | None:
    stated: str | None = json.loads(body).get("sessionType")
    return stated


SCENARIOS = (
    Scenario(
        name="types_left_out_and_ids_wrong",
        play=types_left_out_and_ids_wrong,
        limit=240,
        settings=with_settings(RETRY_INITIAL_DELAY_SECONDS=COPIES, CALL_TIMEOUT_SECONDS=6),
        options={"hosts": 2},
        thresholds=types_thresholds,
    ),
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
