"""`revoker publish --wait`: the outcomes of a publication, and no guess."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from azure.servicebus import ServiceBusMessage

from delete_session.receipt import Data
from local.cloud import Options
from revoker.connection import QueueAddress
from revoker.waiting import wait
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import OneQueue, Ran, dead_letter, revoker

OUTCOMES = "outcomes"


@pytest.fixture(scope="module")
def function() -> Iterator[CloudThread]:
    """A local cloud with the function, which sends receipts."""
    with CloudThread.running(Options(outcome_queue=OUTCOMES)) as running:
        yield running


def create(cloud: CloudThread, kind: str, *ids: str) -> None:
    cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", {"ids": ids, "type": kind})


def publish(cloud: CloudThread, *arguments: str, **more: str) -> Ran:
    return revoker({**cloud.cloud.environment, **more}, "publish", "--wait", *arguments)


def test_says_that_sessions_were_deleted(function: CloudThread) -> None:
    """Receipts tell it, and stay in their queue for their receiver."""
    create(function, "livenessWithVerify", "d1", "d2")
    ran = publish(function, "d1", "d2", "--json")
    assert (ran.code, ran.json["outcomes"]["deleted"]) == (0, 2)
    assert ran.json["published"] == 2
    receipts = function.ask(
        function.cloud.broker, "GET", f"/messages?queue={OUTCOMES}&dead_letter=0"
    )
    assert len(receipts) >= 2
    assert {each["state"] for each in receipts} == {"ready"}


def test_a_wrong_column_exits_with_1_and_the_likely_causes(
    function: CloudThread, tmp_path: Path
) -> None:
    """The sessions live, and who published the wrong ids learns it at once; so does the operator."""
    create(function, "livenessWithVerify", "c1", "c2", "c3")
    file = tmp_path / "wrong.csv"
    file.write_text("sessionId,liveness\nx-1,c1\nx-2,c2\nx-3,c3\n")
    ran = publish(function, "--file", str(file))
    assert ran.code == 1
    assert "3 were not found" in ran.out
    for cause in ("the column", "--type", "FACE_API_VERSION", "FACE_ENDPOINT", "had expired"):
        assert cause in ran.out
    status = revoker(function.cloud.environment, "status", "--json")
    [(publisher, count)] = status.json["not_found"].items()
    assert (status.code, count, publisher[:16]) == (1, 3, "revoker publish ")
    assert f"{publisher}: 3 of 3 sessions were not found" in status.json["advice"][0]


def test_a_wrong_type_exits_with_1(function: CloudThread) -> None:
    """Nothing is deleted under the type that was not stated, and no success is reported."""
    create(function, "liveness", "t1")
    ran = publish(function, "t1", "--type", "livenessWithVerify", "--json")
    assert (ran.code, ran.json["outcomes"]["not_found"]) == (1, ["t1"])


def test_an_audit_takes_the_sessions_of_receipts(function: CloudThread, tmp_path: Path) -> None:
    """What its receipt calls not found exists, under the other type."""
    create(function, "liveness", "a1")
    publish(function, "a1", "--type", "livenessWithVerify")
    how = ("audit", "--of-receipts", "--rate", "100", "--evidence", str(tmp_path / "e"), "--json")
    ran = revoker(function.cloud.environment, *how)
    assert (ran.code, ran.json["alive"].get("a1")) == (1, "liveness")


@pytest.mark.parametrize("queue", ["", "nowhere"])
def test_without_receipts_only_gone_is_confirmed(function: CloudThread, queue: str) -> None:
    """Where they are off or cannot be read, no deletion is claimed, and it says why."""
    create(function, "livenessWithVerify", f"g{queue}")
    ran = publish(function, f"g{queue}", "no-such", OUTCOME_QUEUE=queue)
    assert ran.code == 0
    assert "deleted." not in ran.out
    assert "2 were processed" in ran.out
    assert ("OUTCOME_QUEUE is not set" in ran.out) == (not queue)
    assert ("nowhere does not exist" in ran.out) == bool(queue)


def test_a_dead_letter_exits_with_1(function: CloudThread) -> None:
    """Its reason is named."""
    rule = {"fault": "status", "status": 403, "code": "UnsupportedFeature", "session_id": "u1"}
    function.ask(function.cloud.face, "POST", "/_local/faults", rule)
    ran = publish(function, "u1", "--json")
    assert ran.code == 1
    assert ran.json["outcomes"]["dead_lettered"] == {"u1": "UnsupportedFeature"}


def test_nothing_is_published_by_who_cannot_see_the_outcomes(queue: OneQueue) -> None:
    """A missing right to Listen is named before the first message is sent."""
    only_sends = {"ServiceBusConnection": queue.broker.with_key("sender", "c2Vj")}
    ran = revoker(queue.environment | only_sends, "publish", "a", "--wait")
    assert ran.code == 3
    assert "no right to Listen" in ran.err
    assert queue.counts["active"] == 0


async def test_what_has_no_outcome_in_time_still_waits(seeded: OneQueue) -> None:
    """A message that was dead-lettered has an outcome, one that is not processed has none."""
    address = QueueAddress.read(seeded.environment)
    (dead,) = [each for each in seeded.messages(dead=True) if each["message_id"].startswith("a")]
    async with address.sender() as sender:
        await sender.send_messages(ServiceBusMessage(b'{"sessionId": "i"}', message_id="idle"))
    counts: list[int] = []
    found = await wait(address, None, {"a": "a", "idle": "i"}, counts.append, seconds=5.0)
    assert dead["message_id"] != "a"  # a retry copy, which is known by the id of the publication
    assert found.dead["a"].reason == "One"
    assert list(found.waiting) == ["idle"]
    assert (found.waiting["idle"] is not None, found.processed, set(counts)) == (True, set(), {1})


async def test_the_outcome_of_another_session_is_not_taken_for_this_one(queue: OneQueue) -> None:
    """Any publisher can send another session under an id that counts as that of this publication."""
    address, forged = QueueAddress.read(queue.environment), "mine:resubmit:1"
    dead_letter(queue, '{"sessionId": "other"}', "One", message_id=forged)
    data = Data(
        session_id="other",
        outcome="deleted",
        attempts=1,
        published_at=datetime.now(UTC),
        root_message_id="mine",
    )
    receipt = {"id": "r", "time": datetime.now(UTC), "data": data}
    async with address.sender() as sender:  # the receipt stands in the same queue
        message = ServiceBusMessage(b'{"sessionId": "victim"}', message_id="mine")
        bodies = [msgspec.json.encode(receipt), b'{"data": ' + b"[" * 30_000]
        await sender.send_messages([message, *map(ServiceBusMessage, bodies)])

    def stop(_: int) -> None:
        raise TimeoutError  # after one round

    found = await wait(address, address, {"mine": "victim"}, stop)
    assert (found.ended, list(found.waiting)) == (0, ["mine"])
