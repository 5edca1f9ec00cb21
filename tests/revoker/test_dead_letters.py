"""`revoker status` and `revoker dead-letters`."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

from revoker.cli.dead_letters import read_when
from revoker.copies import copy_id
from revoker.dead_letters import Selection
from revoker.failure import Failure
from revoker.messages import Seen
from tests.revoker.conftest import OneQueue, dead_letter, retry_copy_of

HISTORY = "revoker-resubmitted-"


def reject_one(queue: OneQueue, reason: str) -> None:
    """Dead-letter the next message of a queue."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        (message,) = receiver.receive_messages(1, max_wait_time=10)
        receiver.dead_letter_message(message, reason=reason)


def test_status_counts_by_state_and_reason(seeded: OneQueue) -> None:
    """Waiting and dead-lettered messages are counted with their reasons, and nothing changes."""
    assert seeded.revoker("publish", "e", "f").code == 0
    before = seeded.events
    ran = seeded.revoker("status", "--json")
    assert ran.code == 1
    found = ran.json
    assert (found["active"], found["scheduled"], found["dead_lettered"]) == (2, 0, 4)
    assert found["dead_letter_reasons"] == {"One": 2, "Two": 2}
    assert 0 <= found["oldest_seconds"] < 60
    assert found["oldest_dead_letter_seconds"] > 86_400  # from the first enqueue
    assert found["complete"]
    limited = seeded.revoker("status", "--limit", "1").out
    assert "One" in limited
    assert "Only the first 1 messages of each queue" in limited
    assert seeded.events == before


def test_list_and_show_change_nothing(seeded: OneQueue) -> None:
    """Looking causes no event, lock or delivery, and shows a body only if asked to."""
    before = seeded.events
    listed = seeded.revoker("dead-letters", "list", "--reason", "Two", "--json").json[
        "dead_letters"
    ]
    assert [(each["session_id"], each["attempts"]) for each in listed] == [("b", 7), ("d", 7)]
    number = str(listed[0]["sequence_number"])
    shown = seeded.revoker("dead-letters", "show", number).out
    assert "why: Two" in shown
    assert "sessionId" not in shown
    assert "sessionId" in seeded.revoker("dead-letters", "show", number, "--body").out
    assert seeded.revoker("dead-letters", "show", "999").code == 1
    assert seeded.events == before


def test_resubmit_starts_the_effort_anew_and_keeps_the_history(seeded: OneQueue) -> None:
    """The attempts are reset; the publisher's properties and the dead letter's reason are kept."""
    ran = seeded.revoker("dead-letters", "resubmit", "--session", "a", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (0, 1)
    (message,) = seeded.messages()
    assert message["message_id"].startswith("a:resubmit:")
    assert message["properties"]["correlation-id"] == "case-7"
    assert message["properties"]["content-type"] == "application/json"
    properties = message["application_properties"]
    assert properties.pop(f"{HISTORY}at").startswith("20")
    assert properties == {
        "team": "fraud",
        "revoker-published-id": "a",
        f"{HISTORY}from-reason": "One",
        f"{HISTORY}from-description": "why: One",
        f"{HISTORY}count": 1,
    }
    reject_one(seeded, "Again")
    assert seeded.revoker("dead-letters", "resubmit", "--reason", "Again").code == 0
    (second,) = seeded.messages()
    assert second["message_id"] != message["message_id"]
    properties = second["application_properties"]
    assert properties["revoker-published-id"] == "a"
    assert (properties[f"{HISTORY}count"], properties[f"{HISTORY}from-reason"]) == (2, "Again")


def test_both_actions_are_in_one_record(seeded: OneQueue, tmp_path: Path) -> None:
    """Both actions have a line before and after each message, in one file, without the body."""
    named = ("--record", str(tmp_path / "record.jsonl"))
    assert seeded.revoker("dead-letters", "resubmit", "--session", "a", *named).code == 0
    assert seeded.revoker("dead-letters", "discard", "--session", "b", "--yes", *named).code == 0
    lines = [json.loads(text) for text in (tmp_path / "record.jsonl").read_text().splitlines()]
    done = [(line["done"], line["session_id"], line["through"]) for line in lines]
    assert done == [
        ("resubmitting", "a", "command"),
        ("resubmitted", "a", "command"),
        ("discarding", "b", "command"),
        ("discarded", "b", "command"),
    ]
    (copy,) = seeded.messages()
    assert lines[0]["new_message_id"] == lines[1]["new_message_id"] == copy["message_id"]
    assert "body" not in lines[0]


def test_nothing_is_resubmitted_without_a_record(seeded: OneQueue, tmp_path: Path) -> None:
    """A record that cannot be written ends the command before anything is done."""
    nowhere = str(tmp_path / "no" / "record.jsonl")
    ran = seeded.revoker("dead-letters", "resubmit", "--all", "--record", nowhere)
    assert ran.code == 2
    assert "cannot be written" in ran.err
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (0, 4)


def test_resubmit_takes_what_was_asked_for_and_leaves_the_rest(seeded: OneQueue) -> None:
    """A dry run changes nothing, and messages that were not selected are free again at once."""
    before = seeded.events
    select = ("dead-letters", "resubmit", "--reason", "Two", "--json")
    dry = seeded.revoker(*select, "--dry-run")
    assert dry.json == {"would_be_resubmitted": 2, "sessions": ["b", "d"]}
    assert seeded.events == before
    assert seeded.revoker("dead-letters", "resubmit").code == 2
    assert seeded.revoker("dead-letters", "resubmit", "--all", "--reason", "One").code == 2
    assert seeded.revoker(*select).code == 0
    assert [each["message_id"][0] for each in seeded.messages()] == ["b", "d"]
    left = [(each["message_id"][0], each["state"]) for each in seeded.messages(dead=True)]
    assert left == [("a", "ready"), ("c", "ready")]


def test_a_lost_lock_does_not_double_a_copy(seeded: OneQueue) -> None:
    """If completing the dead letter fails after its copy was sent, no second copy is sent."""
    fault = {"operation": "complete", "condition": "com.microsoft:message-lock-lost", "count": 1}
    seeded.broker.control("POST", "/faults", fault)
    ran = seeded.revoker("dead-letters", "resubmit", "--all", "--json", "--wait", "10")
    assert seeded.broker.control("GET", "/faults") == []
    assert ran.json["resubmitted"] == 4
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (4, 0)
    assert "duplicate_dropped" not in [each["event"] for each in seeded.events]


@contextlib.contextmanager
def one_locked(seeded: OneQueue) -> Iterator[int]:
    """Have another receiver lock the first dead letter; the value is its number."""
    connection_string = seeded.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(seeded.name, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as other,
    ):
        (message,) = other.receive_messages(1, max_wait_time=5)
        yield message.sequence_number or 0


def test_resubmit_waits_for_what_another_receiver_has_locked(seeded: OneQueue) -> None:
    """Messages that a killed run has locked are resubmitted once their locks expire."""
    with one_locked(seeded):
        assert seeded.revoker("dead-letters", "resubmit", "--all", "--wait", "10").code == 0
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (4, 0)


def bodies_of_data(seeded: OneQueue) -> list[bytes]:
    """Return the bodies of the queue's messages that the Functions host can read."""
    with (
        ServiceBusClient.from_connection_string(seeded.broker.connection_string) as client,
        client.get_queue_receiver(seeded.name) as receiver,
    ):
        messages = receiver.peek_messages(10)
        return [b"".join(m.body) for m in messages if m.body_type is AmqpMessageBodyType.DATA]


def test_resubmit_says_what_it_leaves(seeded_with_a_rest: OneQueue, tmp_path: Path) -> None:
    """Locked messages and those without bytes are left, each with its number and the reason, and the
    exit code is 1. A text value is resubmitted as bytes. Discarding works for all of them."""
    seeded = seeded_with_a_rest
    with one_locked(seeded) as number:
        ran = seeded.revoker("dead-letters", "resubmit", "--all", "--wait", "1", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (1, 4)
    kept = ran.json["kept"]
    assert "locked" in kept.pop(str(number))
    (why,) = kept.values()
    assert "AMQP value" in why
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (4, 2)
    assert b'{"sessionId": "a-text"}' in bodies_of_data(seeded)
    ran = seeded.revoker(
        *("dead-letters", "discard", "--reason", "MaxDeliveryCountExceeded", "--yes"),
        *("--record", str(tmp_path / "record.jsonl")),
    )
    assert (ran.code, seeded.counts["dead_lettered"]) == (0, 1)


def test_discard_asks_and_writes_a_record(seeded: OneQueue, tmp_path: Path) -> None:
    """Nothing is thrown away without a yes, and the record has everything that was."""
    record = tmp_path / "record.jsonl"
    arguments = ["dead-letters", "discard", "--session", "b", "--record", str(record)]
    refused = seeded.revoker(*arguments, stdin="n\n")
    assert refused.code == 1
    assert "Two: b" in refused.err
    assert (seeded.counts["dead_lettered"], record.exists()) == (4, False)
    assert "1 of 1 discarded" in seeded.revoker(*arguments, stdin="y\n").out
    line, _ = [json.loads(text) for text in record.read_text().splitlines()]
    assert (line["session_id"], line["reason"]) == ("b", "Two")
    assert "body_sha256" in line
    assert record.stat().st_mode & 0o077 == 0
    assert [each["message_id"][0] for each in seeded.messages(dead=True)] == ["a", "c", "d"]
    nowhere = str(tmp_path / "no" / "record.jsonl")
    ran = seeded.revoker("dead-letters", "discard", "--all", "--yes", "--record", nowhere)
    assert ran.code == 2
    assert seeded.counts["dead_lettered"] == 3


def test_copy_ids_are_never_too_long_and_never_the_same() -> None:
    """An id has at most 128 characters, and each copy has an id that the queue has not seen."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert copy_id("a", now).startswith("a:resubmit:")
    long = copy_id("a" * 128, now)
    assert len(long) <= 128
    assert long not in (copy_id("b" * 128, now), copy_id("a" * 128, now + timedelta(seconds=1)))


def test_since_reads_ages_and_times() -> None:
    """An age counts back from now; a time without offset is UTC; anything else is a usage error."""
    ago = read_when("90m", "--since")
    assert ago is not None
    assert abs(datetime.now(UTC) - timedelta(minutes=90) - ago) < timedelta(seconds=10)
    assert read_when("2026-01-31T08:00", "--since") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert read_when(None, "--since") is None
    with pytest.raises(Failure, match="not a valid value"):
        read_when("soon", "--since")


def test_a_selection_takes_what_meets_all_its_conditions() -> None:
    """A dead letter must meet every condition that is given, and no other."""
    when = datetime(2026, 1, 2, tzinfo=UTC)
    seen = Seen(
        **dict.fromkeys(Seen.__dataclass_fields__),  # type: ignore[arg-type]
    )
    seen = Seen(
        **{
            **{name: getattr(seen, name) for name in Seen.__dataclass_fields__},
            "reason": "One",
            "session_id": "a",
            "first_enqueued_at": when,
        }
    )
    assert Selection().takes(seen)
    assert Selection(reasons=frozenset(["One", "Three"]), session="a", since=when).takes(seen)
    assert not Selection(reasons=frozenset(["Two"])).takes(seen)
    assert not Selection(reasons=frozenset(["One", "Three"]), session="b").takes(seen)
    assert not Selection(since=when + timedelta(seconds=1)).takes(seen)
    assert Selection(before=when + timedelta(seconds=1)).takes(seen)
    assert not Selection(before=when).takes(seen)


def test_discard_says_what_else_carries_each_session(seeded: OneQueue, tmp_path: Path) -> None:
    """Discarding the last trace of a session causes a warning; other messages are named."""
    assert seeded.revoker("publish", "a").code == 0
    record = str(tmp_path / "record.jsonl")
    ran = seeded.revoker("dead-letters", "discard", "--reason", "One", "--yes", "--record", record)
    assert ran.code == 0
    assert "a is also named by a message that is active" in ran.err
    assert "nothing else names c" in ran.err
    assert "no other known message carries the session of 1 of the 2 dead letters" in ran.err


def test_corrected_message_is_not_dropped_after_a_malformed_one(
    queue: OneQueue, tmp_path: Path
) -> None:
    """The critical case: a session whose message was malformed is published again, and arrives."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
    ):
        sender.send_messages(ServiceBusMessage(b'{"sessionId": 7}', message_id="S"))
    reject_one(queue, "MalformedMessage")
    ran = queue.revoker("publish", "S")
    assert ran.code == 0
    assert queue.counts["active"] == 1
    record = ("--record", str(tmp_path / "record.jsonl"))
    ran = queue.revoker("dead-letters", "discard", "--all", "--yes", *record)
    assert ran.code == 0
    assert "its session cannot be read" in ran.err
    assert queue.counts["active"] == 1


@pytest.mark.parametrize("message_id", [7, UUID(int=7), b"\xff"])
def test_an_id_that_is_no_text_can_be_resubmitted(
    queue: OneQueue, message_id: int | UUID | bytes
) -> None:
    """A dead letter whose message id is a number, a UUID or bytes goes back into the queue."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
    ):
        properties = {"message_id": message_id}
        body = [b'{"sessionId": "a"}']
        sender.send_messages(AmqpAnnotatedMessage(data_body=body, properties=properties))
    reject_one(queue, "Odd")
    assert queue.revoker("dead-letters", "resubmit", "--all").code == 0
    assert queue.counts["active"] == 1


def test_an_original_and_its_copies_are_shown_as_one(seeded: OneQueue) -> None:
    """All verbs say which messages are one publication, and what stays of one that is acted on."""
    copy = retry_copy_of("m-1")
    body = '{"sessionId": "s"}'
    dead_letter(seeded, body, "Three", message_id="m-1")
    dead_letter(seeded, body, "Three", properties=dict(copy.write()), message_id=copy.copy_id)
    with (
        ServiceBusClient.from_connection_string(
            seeded.environment["ServiceBusConnection"]
        ) as client,
        client.get_queue_sender(seeded.name) as sender,
    ):
        sender.send_messages(ServiceBusMessage(body, message_id="m-1:resubmit:7"))
    listed = seeded.revoker("dead-letters", "list", "--json").json
    original, retried = listed["publications"][-1]
    lines = seeded.revoker("dead-letters", "list", "--session", "s").out.splitlines()
    assert [line.split()[1:4] for line in lines[::2]][1] == ["the", "same", "publication"]
    status = seeded.revoker("status")
    assert "These dead letters are 5 publications" in status.out
    told = seeded.revoker("session", "s", "--story").out
    assert f"is active; the same publication: dead letter number {original}" in told
    both = (str(original), str(retried))
    ran = seeded.revoker("dead-letters", "resubmit", *both, "--dry-run")
    assert f"numbers {original}, {retried}: of the same publication: a message that is" in ran.err
    ran = seeded.revoker("dead-letters", "discard", str(retried), stdin="n\n")
    stay = f"a message that is active; dead letter number {original}, Three, which stay"
    assert f"number {retried}: of the same publication: {stay}" in ran.err
    assert "Warning" not in ran.err
    ran = seeded.revoker("dead-letters", "discard", str(retried), "--yes", "--json")
    assert ran.json["same_publication"][str(retried)][1] == f"dead letter number {original}, Three"
