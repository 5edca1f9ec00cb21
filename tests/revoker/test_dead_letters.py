"""`revoker status` and `revoker dead-letters`."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusSubQueue
from azure.servicebus.amqp import AmqpMessageBodyType

from revoker.cli.dead_letters import read_since
from revoker.dead_letters import Selection, resubmitted_id
from revoker.failure import Failure
from revoker.messages import Seen
from tests.revoker.conftest import OneQueue

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


def test_status_counts_by_state_and_reason(desk: OneQueue) -> None:
    """What waits and what was dead-lettered is counted, with the reasons, and nothing changes."""
    assert desk.revoker("publish", "e", "f").code == 0
    before = desk.events
    ran = desk.revoker("status", "--json")
    assert ran.code == 1
    found = ran.json
    assert (found["active"], found["scheduled"], found["dead_lettered"]) == (2, 0, 4)
    assert found["dead_letter_reasons"] == {"One": 2, "Two": 2}
    assert 0 <= found["oldest_seconds"] < 60
    assert found["oldest_dead_letter_seconds"] > 86_400  # from the first enqueue
    assert found["complete"]
    limited = desk.revoker("status", "--limit", "1").out
    assert "One" in limited
    assert "There may be more" in limited
    assert desk.events == before


def test_list_and_show_change_nothing(desk: OneQueue) -> None:
    """Looking is peeking: no event, no lock, no delivery counted; bodies only where asked for."""
    before = desk.events
    listed = desk.revoker("dead-letters", "list", "--reason", "Two", "--json").json["dead_letters"]
    assert [(each["session_id"], each["attempts"]) for each in listed] == [("b", 7), ("d", 7)]
    number = str(listed[0]["sequence_number"])
    shown = desk.revoker("dead-letters", "show", number).out
    assert "why: Two" in shown
    assert "sessionId" not in shown
    assert "sessionId" in desk.revoker("dead-letters", "show", number, "--body").out
    assert desk.revoker("dead-letters", "show", "999").code == 1
    assert desk.events == before


def test_resubmit_starts_the_effort_anew_and_keeps_the_history(desk: OneQueue) -> None:
    """Attempts are forgotten, the publisher's properties and the reason of the dead letter stay."""
    ran = desk.revoker("dead-letters", "resubmit", "--session", "a", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (0, 1)
    (message,) = desk.messages()
    assert message["message_id"].startswith("a:resubmit:")
    assert message["properties"]["correlation-id"] == "case-7"
    assert message["properties"]["content-type"] == "application/json"
    properties = message["application_properties"]
    assert properties.pop(f"{HISTORY}at").startswith("20")
    assert properties == {
        "team": "fraud",
        "revoker-root-id": "a",
        f"{HISTORY}from-reason": "One",
        f"{HISTORY}from-description": "why: One",
        f"{HISTORY}count": 1,
    }
    reject_one(desk, "Again")
    assert desk.revoker("dead-letters", "resubmit", "--reason", "Again").code == 0
    (second,) = desk.messages()
    assert second["message_id"] != message["message_id"]
    properties = second["application_properties"]
    assert properties["revoker-root-id"] == "a"
    assert (properties[f"{HISTORY}count"], properties[f"{HISTORY}from-reason"]) == (2, "Again")


def test_resubmit_takes_what_was_asked_for_and_leaves_the_rest(desk: OneQueue) -> None:
    """A dry run changes nothing; what was not selected can be had by others at once."""
    before = desk.events
    select = ("dead-letters", "resubmit", "--reason", "Two", "--json")
    dry = desk.revoker(*select, "--dry-run")
    assert dry.json == {"would_be_resubmitted": 2, "sessions": ["b", "d"]}
    assert desk.events == before
    assert desk.revoker("dead-letters", "resubmit").code == 2
    assert desk.revoker("dead-letters", "resubmit", "--all", "--reason", "One").code == 2
    assert desk.revoker(*select).code == 0
    assert [each["message_id"][0] for each in desk.messages()] == ["b", "d"]
    left = [(each["message_id"], each["state"]) for each in desk.messages(dead=True)]
    assert left == [("a", "ready"), ("c", "ready")]


def test_resubmit_does_not_double_what_was_sent_before_an_interruption(desk: OneQueue) -> None:
    """When the dead letter's completion fails after its copy was sent, the next copy is dropped."""
    fault = {"operation": "complete", "condition": "com.microsoft:message-lock-lost", "count": 1}
    desk.broker.control("POST", "/faults", fault)
    ran = desk.revoker("dead-letters", "resubmit", "--all", "--json", "--wait", "10")
    assert desk.broker.control("GET", "/faults") == []
    assert ran.json["resubmitted"] == 4
    assert (desk.counts["active"], desk.counts["dead_lettered"]) == (4, 0)
    assert [each["event"] for each in desk.events].count("duplicate_dropped") == 1


@contextlib.contextmanager
def one_locked(desk: OneQueue) -> Iterator[int]:
    """The first dead letter is locked by somebody else; the value is its number."""
    connection_string = desk.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(desk.name, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as other,
    ):
        (message,) = other.receive_messages(1, max_wait_time=5)
        yield message.sequence_number or 0


def test_resubmit_waits_for_what_somebody_else_has_locked(desk: OneQueue) -> None:
    """What an earlier run that was killed holds comes free when its lock expires."""
    with one_locked(desk):
        assert desk.revoker("dead-letters", "resubmit", "--all", "--wait", "10").code == 0
    assert (desk.counts["active"], desk.counts["dead_lettered"]) == (4, 0)


def bodies_of_data(desk: OneQueue) -> list[bytes]:
    """Of the queue's messages, those that the Functions host can read."""
    with (
        ServiceBusClient.from_connection_string(desk.broker.connection_string) as client,
        client.get_queue_receiver(desk.name) as receiver,
    ):
        messages = receiver.peek_messages(10)
        return [b"".join(m.body) for m in messages if m.body_type is AmqpMessageBodyType.DATA]


def test_resubmit_says_what_it_leaves(desk_with_a_rest: OneQueue, tmp_path: Path) -> None:
    """What stays locked, and what has no bytes to be copied faithfully, is left with its number;
    the exit code says that work is left. A value of text goes back as bytes; discard takes all."""
    desk = desk_with_a_rest
    with one_locked(desk) as number:
        ran = desk.revoker("dead-letters", "resubmit", "--all", "--wait", "1", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (1, 4)
    kept = ran.json["kept"]
    assert "locked" in kept.pop(str(number))
    (why,) = kept.values()
    assert "AMQP value" in why
    assert (desk.counts["active"], desk.counts["dead_lettered"]) == (4, 2)
    assert b'{"sessionId": "a-text"}' in bodies_of_data(desk)
    ran = desk.revoker(
        *("dead-letters", "discard", "--reason", "MaxDeliveryCountExceeded", "--yes"),
        *("--record", str(tmp_path / "record.jsonl")),
    )
    assert (ran.code, desk.counts["dead_lettered"]) == (0, 1)


def test_discard_asks_and_writes_a_record(desk: OneQueue, tmp_path: Path) -> None:
    """Nothing is thrown away without a yes, and everything thrown away is in the record."""
    record = tmp_path / "record.jsonl"
    arguments = ["dead-letters", "discard", "--session", "b", "--record", str(record)]
    refused = desk.revoker(*arguments, stdin="n\n")
    assert refused.code == 1
    assert "Two: b" in refused.err
    assert (desk.counts["dead_lettered"], record.exists()) == (4, False)
    assert "1 of 1 discarded" in desk.revoker(*arguments, stdin="y\n").out
    (line,) = [json.loads(text) for text in record.read_text().splitlines()]
    assert (line["session_id"], line["reason"]) == ("b", "Two")
    assert "body_sha256" in line
    assert record.stat().st_mode & 0o077 == 0
    assert [each["message_id"] for each in desk.messages(dead=True)] == ["a", "c", "d"]
    nowhere = str(tmp_path / "no" / "record.jsonl")
    ran = desk.revoker("dead-letters", "discard", "--all", "--yes", "--record", nowhere)
    assert ran.code == 2
    assert desk.counts["dead_lettered"] == 3


def test_resubmitted_ids_are_never_too_long() -> None:
    """Service Bus takes 128 characters, and different dead letters have different ids."""
    assert resubmitted_id("a", 7) == "a:resubmit:7"
    long = resubmitted_id("a" * 128, 7)
    assert len(long) <= 128
    assert long not in (resubmitted_id("a" * 128, 8), resubmitted_id("b" * 128, 7))


def test_since_reads_ages_and_times() -> None:
    """An age counts back from now; a time without offset is UTC; anything else is a usage error."""
    ago = read_since("90m")
    assert ago is not None
    assert abs(datetime.now(UTC) - timedelta(minutes=90) - ago) < timedelta(seconds=10)
    assert read_since("2026-01-31T08:00") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert read_since(None) is None
    with pytest.raises(Failure, match="not a valid value"):
        read_since("soon")


def test_a_selection_takes_what_meets_all_its_conditions() -> None:
    """Reason, session and time are joined by and; what is not said does not matter."""
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
    assert Selection(reason="One", session="a", since=when).takes(seen)
    assert not Selection(reason="Two").takes(seen)
    assert not Selection(reason="One", session="b").takes(seen)
    assert not Selection(since=when + timedelta(seconds=1)).takes(seen)
