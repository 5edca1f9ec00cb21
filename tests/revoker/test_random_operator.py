"""Commands at random, killed at random, against a queue of hostile messages."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties

from revoker.amqp import remember_types
from tests.revoker.conftest import OneQueue
from tests.revoker.test_messages import OLD, PROPERTIES

RUNS = int(os.environ.get("OPERATOR_RUNS", "3"))
SEED = int(os.environ.get("OPERATOR_SEED", "1"))
RUN_SECONDS = 60.0
EVIL = "\x1b[2J\u202e\x00"


def hostile() -> list[AmqpAnnotatedMessage]:
    """One message of each kind; its session is named after its sequence number."""
    kinds: list[dict[str, Any]] = [
        *({"application_properties": {name: value}} for name, value in PROPERTIES.items()),
        {"application_properties": {"nan": float("nan"), EVIL: EVIL}},
        {"application_properties": {"large": "x" * 60_000}},
        {"application_properties": {"revoker-first-enqueued": "0001-01-01T00:00:00+14:00"}},
        {"application_properties": OLD.write()},
        {"application_properties": {"revoker-resubmitted-count": "many", "revoker-root-id": 7}},
        *({"message_id": each} for each in (7, UUID(int=7), b"\xff", EVIL, "x" * 128)),
        *({"correlation_id": each} for each in (2**63, UUID(int=7), b"\xff", "x" * 1000)),
        {"subject": "x" * 1000, "content_type": "\x1b[2J"},
        {"pad": 262_144 - 400},
        {"pad": 262_144 - 900},
    ]
    messages = []
    for number, kind in enumerate(kinds, 1):
        body = json.dumps({"sessionId": f"s{number}", "reason": "x" * kind.pop("pad", 0)}).encode()
        properties = kind.pop("application_properties", None)
        messages.append(
            AmqpAnnotatedMessage(
                data_body=[body],
                application_properties=properties,
                properties=AmqpMessageProperties(**kind),
            )
        )
    text = AmqpAnnotatedMessage(value_body=json.dumps({"sessionId": f"s{len(messages) + 1}"}))
    return [*messages, text]


def run_at_random(queue: OneQueue, chance: random.Random, numbers: list[int], record: Path) -> None:
    """Run one verb, and perhaps kill it; what it says is checked."""
    some = [str(each) for each in chance.sample(numbers, min(3, len(numbers)))]
    verb = chance.choice(
        [
            ("list",),
            ("resubmit", "--all"),
            ("resubmit", "--reason", "One", "--limit", "5"),
            ("resubmit", *some),
            ("discard", *some, "--yes"),
        ]
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "revoker", "dead-letters", *verb, "--json"]
        + (["--wait", "3"] if verb[0] != "list" else []),
        env={**os.environ, **queue.environment, "REVOKER_RECORD": str(record)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    killed_after = chance.choice([None, chance.uniform(0.8, 3)])
    try:
        out, err = process.communicate(timeout=killed_after or RUN_SECONDS)
    except subprocess.TimeoutExpired:
        assert killed_after, f"{verb} took longer than {RUN_SECONDS} s"
        process.kill()
        process.communicate()
        return
    assert b"Traceback" not in err, (verb, err)
    said = json.loads(out)
    none_left = "No dead letter has the reason" in said.get("error", "")
    assert process.returncode in ((2,) if none_left else (0, 1)), (verb, out, err)


@pytest.mark.timeout(60 + 30 * RUNS)
def test_no_session_is_lost_and_every_act_is_recorded(queue: OneQueue, tmp_path: Path) -> None:
    """Each session is still dead-lettered, or is in the queue, or was discarded as the record says."""
    remember_types()
    record, chance = tmp_path / "record.jsonl", random.Random(SEED)
    messages = hostile()
    with (
        ServiceBusClient.from_connection_string(
            queue.environment["ServiceBusConnection"]
        ) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        for message in messages:
            sender.send_messages(message)
            (received,) = receiver.receive_messages(1, max_wait_time=10)
            receiver.dead_letter_message(received, reason=chance.choice(["One", "Two" + EVIL]))
    for _ in range(RUNS):
        numbers = [each["sequence_number"] for each in queue.messages(dead=True)]
        run_at_random(queue, chance, numbers or [1], record)
    time.sleep(2)  # until the locks of a run that was killed are free
    ran = queue.revoker(
        *("dead-letters", "resubmit", "--all", "--wait", "3", "--json", "--record", str(record))
    )
    assert ran.code in (0, 1)
    assert queue.counts["dead_lettered"] == len(ran.json["kept"])
    lines = [json.loads(line) for line in record.read_text().splitlines() if line.endswith("}")]
    discarded = {each["sequence_number"] for each in lines if each["done"] == "discarding"}
    sent = {each["sequence_number"] for each in lines if each["done"] == "resubmitting"}
    completed = {
        event["sequence_number"]
        for event in queue.events
        if event["event"] == "completed" and event["queue"].endswith("$deadletterqueue")
    }
    assert completed <= discarded | sent
    # By number, because no tool reads the session of a body that is too large.
    listed = queue.revoker("dead-letters", "list", "--json").json["dead_letters"]
    there = {f"s{number}" for number in discarded | {each["sequence_number"] for each in listed}}
    with (
        ServiceBusClient.from_connection_string(
            queue.environment["ServiceBusConnection"]
        ) as client,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        copies = receiver.peek_messages(250)
    there |= {json.loads(b"".join(copy.body))["sessionId"] for copy in copies}
    assert {f"s{number}" for number in range(1, len(messages) + 1)} <= there
