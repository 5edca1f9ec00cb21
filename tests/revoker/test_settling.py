"""`revoker dead-letters resubmit` and `discard`: each message separately, with a true record."""

import asyncio
import errno
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import ServiceBusReceiver

from delete_session.message import ROOT_ID
from revoker import canary, record, settling
from revoker.carriers import publications
from revoker.connection import QueueAddress
from revoker.copies import copy_of
from revoker.messages import Seen
from tests.local.broker_process import until
from tests.revoker.conftest import OneQueue

RESUBMIT = ("dead-letters", "resubmit")
DISCARD = ("dead-letters", "discard")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def done(path: Path) -> list[tuple[str, str]]:
    return [(line["done"], line["session_id"]) for line in lines(path)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the record."""
    monkeypatch.setenv("REVOKER_RECORD", str(tmp_path / "record.jsonl"))
    return tmp_path / "record.jsonl"


def dead_letter(queue: OneQueue, reason: str, *bodies: bytes) -> None:
    """Send messages, and dead-letter them."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        for body in bodies:
            sender.send_messages(ServiceBusMessage(body))
            (message,) = receiver.receive_messages(1, max_wait_time=10)
            receiver.dead_letter_message(message, reason=reason)


# ---- one message does not stop the others ----


def test_a_copy_that_is_too_large_is_left_and_the_rest_goes_on(queue: OneQueue, path: Path) -> None:
    """The broker refuses it for its size, which says nothing about the next one."""
    dead_letter(queue, "Large", b'{"sessionId": "1"}', b"x" * 261_900, b'{"sessionId": "3"}')
    ran = queue.revoker(*RESUBMIT, "--all", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (1, 2)
    assert ran.json["kept"] == {"2": "its copy is larger than the broker accepts"}
    assert (queue.counts["active"], queue.counts["dead_lettered"]) == (2, 1)
    (left,) = [line for line in lines(path) if line["done"] == "left"]
    assert (left["sequence_number"], left["why"]) == (2, ran.json["kept"]["2"])


def test_a_copy_that_cannot_be_encoded_is_left_and_the_rest_goes_on(
    seeded: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK closes its link over it, and opens it again for the next one."""

    def copy(message: Any, now: datetime) -> ServiceBusMessage:
        made = copy_of(message, now)
        if Seen.read(message).session_id == "b":
            made.application_properties = {"n": 2**70}
        return made

    monkeypatch.setattr(settling, "copy_of", copy)
    ran = seeded.revoker(*RESUBMIT, "--all", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (1, 3)
    assert "its copy cannot be sent" in ran.json["kept"]["2"]
    assert "Traceback" not in ran.err
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (3, 1)


def test_what_every_message_would_meet_ends_the_run(seeded: OneQueue, path: Path) -> None:
    """A queue that is full is no reason to try all the others; what was done before is counted."""
    fault = {"operation": "send", "queue": seeded.name, "count": None}
    full = {"condition": "amqp:resource-limit-exceeded"}
    seeded.broker.control("POST", "/faults", fault | full)
    ran = seeded.revoker(*RESUBMIT, "--all", "--json")
    seeded.broker.control("DELETE", "/faults")
    assert (ran.code, ran.json["resubmitted"], ran.json["of"]) == (3, 0, 4)
    assert done(path) == [("resubmitting", "a"), ("left", "a")]
    assert seeded.counts["dead_lettered"] == 4


# ---- the record is true ----


@pytest.mark.parametrize("verb", [RESUBMIT, (*DISCARD, "--yes")])
def test_a_full_disk_is_reported_before_anything_is_done(
    seeded: OneQueue, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the line before the act cannot be synced, nothing is sent and nothing is removed."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = seeded.revoker(*verb, "--all")
    assert ran.code == 2
    assert "cannot be written: No space left on device" in ran.err
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (0, 4)


def test_a_disk_that_is_full_after_the_act_hides_nothing(
    seeded: OneQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the second line cannot be synced, the message counts as resubmitted."""
    synced = []

    def full_at_last(_: int) -> None:
        synced.append(1)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_last)
    ran = seeded.revoker(*RESUBMIT, "--all", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (2, 1)
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (1, 3)


async def test_ctrl_c_lets_the_message_in_hand_end() -> None:
    """The record and the count then have its outcome, too."""
    ended = asyncio.Event()

    async def settling_one() -> bool:
        await asyncio.sleep(0.01)
        ended.set()
        return True

    working = asyncio.create_task(settling._to_its_end(settling_one()))
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


def test_a_record_that_is_no_file_is_refused(seeded: OneQueue, tmp_path: Path) -> None:
    """A device and a pipe keep nothing; a pipe without a reader does not block the command."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for nowhere in ("/dev/full", "/dev/null", str(pipe)):
        ran = seeded.revoker(*RESUBMIT, "--all", "--record", nowhere)
        assert ran.code == 2, nowhere
        assert "not a file" in ran.err
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (0, 4)


def test_a_line_that_was_cut_off_does_not_spoil_the_next(seeded: OneQueue, path: Path) -> None:
    """A record that ends within a line goes on with a new one."""
    path.write_text('{"done": "resub')
    assert seeded.revoker(*RESUBMIT, "--session", "a").code == 0
    assert [line.get("done") for line in record.last(path, 9)[0]] == ["resubmitted", "resubmitting"]


def test_a_copy_is_never_swallowed(queue: OneQueue, path: Path) -> None:
    """A copy was sent, its dead letter stayed, and the copy was discarded: the next resubmit sends
    another one, under an id that duplicate detection has not seen."""
    dead_letter(queue, "One", b'{"sessionId": "s"}')
    dead = f"{queue.name}/$deadletterqueue"
    fault = {"operation": "complete", "queue": dead, "count": None}
    queue.broker.control(
        "POST", "/faults", fault | {"condition": "com.microsoft:message-lock-lost"}
    )
    ran = queue.revoker(*RESUBMIT, "--all", "--wait", "1", "--json")
    queue.broker.control("DELETE", "/faults")
    assert (ran.code, ran.json["resubmitted"]) == (1, 0)
    assert "is in the queue" in ran.json["kept"]["1"]
    assert done(path)[:2] == [("resubmitting", "s"), ("left", "s")]
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        (copy,) = receiver.receive_messages(1, max_wait_time=10)
        receiver.complete_message(copy)
    assert queue.revoker(*RESUBMIT, "--all", "--wait", "10").code == 0
    assert (queue.counts["active"], queue.counts["dead_lettered"]) == (1, 0)
    assert "duplicate_dropped" not in [event["event"] for event in queue.events]


# ---- which ones ----


def test_the_numbers_of_list_can_be_given(seeded: OneQueue) -> None:
    """Those are resubmitted; a number that no dead letter has is reported."""
    listed = seeded.revoker("dead-letters", "list", "--json").json["dead_letters"]
    numbers = [str(each["sequence_number"]) for each in listed if each["session_id"] in "bd"]
    ran = seeded.revoker(*RESUBMIT, *numbers, "999", "--json")
    assert (ran.code, ran.json["resubmitted"]) == (1, 2)
    assert ran.json["kept"] == {"999": "there is no such dead letter"}
    assert [each["message_id"][0] for each in seeded.messages()] == ["b", "d"]


def test_several_reasons_since_and_limit(seeded: OneQueue) -> None:
    """Reasons add up, the other conditions narrow, and the oldest come first."""
    both = ("--reason", "One", "--reason", "Two", "--dry-run", "--json")
    assert seeded.revoker(*RESUBMIT, *both).json["sessions"] == ["a", "b", "c", "d"]
    assert seeded.revoker(*RESUBMIT, *both, "--limit", "3").json["sessions"] == ["a", "b", "c"]
    assert seeded.revoker(*RESUBMIT, *both, "--since", "1h").json["sessions"] == []


def test_an_unknown_reason_is_an_error_that_names_the_others(seeded: OneQueue) -> None:
    """A typing error must not look like an empty queue; a reason that may come is none."""
    for verb in (RESUBMIT, DISCARD, ("dead-letters", "list")):
        ran = seeded.revoker(*verb, "--reason", "Tow")
        assert ran.code == 2
        assert "Tow" in ran.err
        assert "One (2), Two (2)" in ran.err
    assert seeded.revoker(*RESUBMIT, "--reason", "TTLExpiredException").code == 0


def test_all_leaves_malformed_messages_out(queue: OneQueue) -> None:
    """They would only come back; who names the reason gets them."""
    dead_letter(queue, "MalformedMessage", b"{}")
    dead_letter(queue, "One", b'{"sessionId": "s"}')
    ran = queue.revoker(*RESUBMIT, "--all")
    assert "1 of 1 resubmitted" in ran.out
    assert "1 with the reason MalformedMessage left out" in ran.err
    assert queue.counts["dead_lettered"] == 1
    assert queue.revoker(*RESUBMIT, "--reason", "MalformedMessage").code == 0
    assert queue.counts["dead_lettered"] == 0


def test_list_says_when_it_is_cut(seeded: OneQueue) -> None:
    """With as many as fit it is whole, and with fewer it is not."""
    whole = seeded.revoker("dead-letters", "list", "--limit", "4", "--json").json
    assert (len(whole["dead_letters"]), whole["complete"]) == (4, True)
    cut = seeded.revoker("dead-letters", "list", "--limit", "3", "--json").json
    assert (len(cut["dead_letters"]), cut["complete"]) == (3, False)
    assert "more than these 3" in seeded.revoker("dead-letters", "list", "--limit", "3").err


def test_one_behind_many_is_found(queue: OneQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are passed on the way keep their locks, and are free again at the end."""
    receive = ServiceBusReceiver.receive_messages

    async def slowly(*arguments: Any, **more: Any) -> list[Any]:
        await asyncio.sleep(0.2)  # for all of them longer than a lock lasts
        return await receive(*arguments, **more)

    monkeypatch.setattr(ServiceBusReceiver, "receive_messages", slowly)
    monkeypatch.setattr(settling, "_BATCH", 2)
    monkeypatch.setattr(settling, "_LARGE_BATCH", 2)
    monkeypatch.setattr(settling, "_KEEP_SECONDS", 0.5)
    dead_letter(queue, "One", *[b'{"sessionId": "s%d"}' % n for n in range(30)])
    ran = queue.revoker(*RESUBMIT, "--session", "s29", "--wait", "5")
    assert ran.code == 0, ran.out
    assert [each["state"] for each in queue.messages(dead=True)] == ["ready"] * 29
    events = [event["event"] for event in queue.events]
    assert (events.count("delivered"), events.count("lock_expired")) == (60, 0)


def test_discard_lists_sessions_that_may_be_alive_first(seeded: OneQueue) -> None:
    """Those of the seeded queue have expired; the one that was just dead-lettered has not."""
    dead_letter(seeded, "Three", b'{"sessionId": "young"}')
    ran = seeded.revoker(*DISCARD, "--all", stdin="n\n")
    first = ran.err.splitlines()[0]
    assert "nothing else names young, which may be alive" in first
    assert "nothing else names a, which has expired" in ran.err
    assert "1 of these may be alive" in ran.err


# ---- canaries ----


def test_a_canary_goes_first(seeded: OneQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each reason one is tried: where it was processed, the others follow; where it was
    dead-lettered again, they stay, and that is said."""
    monkeypatch.setattr(canary, "_EVERY_SECONDS", 0.1)
    connection_string = seeded.environment["ServiceBusConnection"]

    def function() -> None:
        with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_receiver(seeded.name) as receiver,
        ):
            for _ in range(2):
                (message,) = receiver.receive_messages(1, max_wait_time=20)
                if message.message_id and message.message_id.startswith("a"):
                    receiver.complete_message(message)
                else:
                    receiver.dead_letter_message(message, reason="Still")

    thread = threading.Thread(target=function)
    thread.start()
    ran = seeded.revoker(*RESUBMIT, "--all", "--canary", "--json")
    thread.join(30)
    assert (ran.code, ran.json["resubmitted"]) == (1, 3)  # a and b, and c as a went well
    (why,) = ran.json["kept"].values()
    assert "dead-lettered again as Still" in why
    until(lambda: seeded.counts["active"] == 1, "the copy of c")
    assert seeded.counts["dead_lettered"] == 2


async def test_a_canary_that_waits_stops_its_reason(seeded: OneQueue) -> None:
    """What is neither processed nor dead-lettered in time tells nothing good about the others."""
    address = QueueAddress.read(seeded.environment)
    ran = await run_in_thread(seeded, *RESUBMIT, "--session", "a", "--json")
    assert ran == 0
    (copy,) = seeded.messages()
    (first,) = [
        Seen(
            **{
                **EMPTY,
                "sequence_number": 1,
                "reason": "One",
                "first_enqueued_at": datetime.now(UTC),
            }
        )
    ]
    failed = await canary.outcomes_of(address, [first], {1: copy["message_id"]}, seconds=1.0)
    assert failed == {"One": "its copy still waits in the queue after 1 s"}


def test_a_retry_before_any_call_belongs_to_its_canary() -> None:
    """Where the function may make no call, its copies count no attempt."""
    retry = Seen(**{**EMPTY, "message_id": "x:1:1", "properties": {ROOT_ID: "x"}, "attempts": 0})
    assert canary._copy(retry) == "x"


def test_ten_thousand_copies_are_told_from_others_quickly() -> None:
    """A plan page shows the first few of them, whose search must not compare each with each."""
    facts = {**EMPTY, "root_id": "x", "session_id": "s"}
    dead = [Seen(**{**facts, "sequence_number": number}) for number in range(10_000)]
    (publication,) = publications(dead[:1], [], dead)
    began = time.process_time()
    assert (len(publication.copies), publication.others) == (9_999, [])
    assert time.process_time() - began < 1


EMPTY: dict[str, Any] = dict.fromkeys(Seen.__dataclass_fields__)


async def run_in_thread(queue: OneQueue, *arguments: str) -> int:
    """Run the command in a thread, because it starts an event loop."""
    return (await asyncio.to_thread(queue.revoker, *arguments)).code
