"""`revoker dead-letters receipts`, and the receipts that resubmit and discard send."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from delete_session.message import History
from tests.local.broker_process import BrokerProcess
from tests.revoker.conftest import Ran, revoker
from tests.revoker.desk.conftest import opened

PAIRS = 14
"""Queues for revocations, each with one for the receipts; a test uses one pair."""

FIRST = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
TYPE = "liveness-session-revoker.session-revocation.failed"
HISTORY = History(
    root_id="copied",
    first_enqueued_at=FIRST,
    attempts=7,
    copies=3,
    last_error="HTTP 503 x",
    first_attempt_at=FIRST,
    last_attempt_at=FIRST.replace(hour=3),
)


class Letters:
    """A queue with dead letters that the broker and the function gave up, and one for receipts."""

    def __init__(self, broker: BrokerProcess, queue: str, outcomes: str) -> None:
        self.broker, self.queue, self.outcomes = broker, queue, outcomes
        self.environment = {
            "ServiceBusConnection": broker.connection_string,
            "SESSION_REVOKED_QUEUE": queue,
            "OUTCOME_QUEUE": outcomes,
        }
        messages = [
            self._message("plain", correlation_id="case-7"),
            self._message(
                HISTORY.copy_id,
                session="copied",
                properties={**HISTORY.write(), "publisher": "shop"},
            ),
            self._message("rejected"),
        ]
        with ServiceBusClient.from_connection_string(broker.connection_string) as client:
            with client.get_queue_sender(queue) as sender:
                sender.send_messages(messages)
            with client.get_queue_receiver(queue) as receiver:
                left = len(messages)
                while left:
                    for message in receiver.receive_messages(9, max_wait_time=5):
                        if message.message_id == "rejected":
                            receiver.dead_letter_message(message, reason="BadArgument")
                            left -= 1
                        else:
                            left -= (message.delivery_count or 0) + 1 >= 2
                            receiver.abandon_message(message)

    @staticmethod
    def _message(
        message_id: str, session: str | None = None, properties: Any = None, **more: Any
    ) -> ServiceBusMessage:
        body = json.dumps({"sessionId": session or message_id})
        return ServiceBusMessage(
            body, message_id=message_id, application_properties=properties, **more
        )

    def revoker(self, *arguments: str, **environment: str) -> Ran:
        return revoker(self.environment | environment, "dead-letters", *arguments)

    def receipts(self) -> list[tuple[Any, dict[str, Any]]]:
        """Correlation id and event of each receipt, taken out of its queue."""
        found = []
        with (
            ServiceBusClient.from_connection_string(self.broker.connection_string) as client,
            client.get_queue_receiver(self.outcomes) as receiver,
        ):
            while some := receiver.receive_messages(9, max_wait_time=1):
                for each in some:
                    found.append((each.correlation_id, json.loads(b"".join(each.body))))
                    receiver.complete_message(each)
        return sorted(found, key=lambda pair: str(pair[0]))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    names = [f"{kind}-{n:02}" for n in range(PAIRS) for kind in ("revocations", "outcomes")]
    folder = tmp_path_factory.mktemp("broker")
    with BrokerProcess.with_queues(folder, names, maxDeliveryCount=2) as running:
        yield running


@pytest.fixture(scope="module")
def _unused_pairs() -> Iterator[int]:
    return iter(range(PAIRS))


@pytest.fixture
def letters(broker: BrokerProcess, _unused_pairs: Iterator[int]) -> Letters:
    number = next(_unused_pairs)
    return Letters(broker, f"revocations-{number:02}", f"outcomes-{number:02}")


def test_what_the_broker_dead_lettered_gets_one_receipt(letters: Letters) -> None:
    """Its receipts say why; those of the function are left alone, and a second run changes nothing."""
    assert "2 would be sent" in letters.revoker("receipts", "--dry-run").out
    assert letters.revoker("receipts", "--json").json["sent"] == 2
    assert letters.revoker("receipts").out.endswith("2 receipts were sent.\n")
    (plain_for, plain), (copied_for, copied) = letters.receipts()
    assert (copied_for, plain_for) == ("copied", "case-7")
    assert {copied["type"], plain["type"]} == {TYPE}
    assert copied["id"] == HISTORY.derived_id("failed")
    assert plain["id"].startswith("plain:")
    data = copied["data"]
    assert data.pop("description").endswith("; the last error: HTTP 503 x")
    assert data == {
        "sessionId": "copied",
        "outcome": "dead_lettered",
        "reason": "MaxDeliveryCountExceeded",
        "attempts": 7,
        "publishedAt": "2026-01-01T00:00:00Z",
        "firstAttemptAt": "2026-01-01T00:00:00Z",
        "lastAttemptAt": "2026-01-01T03:00:00Z",
        "rootMessageId": "copied",
        "publisher": "shop",
    }
    assert plain["data"]["attempts"] == 0
    assert letters.broker.counts(letters.queue)["dead_lettered"] == 3


def test_any_reason_is_told_on_request(letters: Letters) -> None:
    """What was dead-lettered while receipts were off can be told later."""
    assert letters.revoker("receipts", "--reason", "BadArgument", "--json").json["sent"] == 1
    assert [event["data"]["reason"] for _, event in letters.receipts()] == ["BadArgument"]
    assert "no such dead letters" in letters.revoker("receipts", "--session", "other").out


@pytest.mark.parametrize("verb", ["resubmit", "discard"])
def test_other_verbs_send_the_receipt_first(letters: Letters, verb: str, tmp_path: Path) -> None:
    """Before such a dead letter leaves its queue, the publisher gets its receipt."""
    more = ["--yes", "--record", str(tmp_path / "record")] if verb == "discard" else []
    assert letters.revoker(verb, "--all", *more).code == 0
    assert [to for to, _ in letters.receipts()] == ["case-7", "copied"]
    assert letters.broker.counts(letters.queue)["dead_lettered"] == 0
    ledger = [
        (each["queue"], each["event"])
        for each in letters.broker.control("GET", "/ledger")
        if each["message_id"].startswith("plain")
    ]
    told = ledger.index((letters.outcomes, "enqueued"))
    assert told < ledger.index((f"{letters.queue}/$deadletterqueue", "completed"))


@pytest.mark.parametrize("action", ["resubmit", "discard"])
def test_the_desk_tells_first_too(letters: Letters, action: str, tmp_path: Path) -> None:
    """What is done in the browser has the same receipts."""
    with opened(letters.environment, tmp_path / "record") as desk:
        assert "3 of 3" in desk.carry_out(action)
    assert [to for to, _ in letters.receipts()] == ["case-7", "copied"]


def test_dead_letter_that_cannot_be_told_stays(letters: Letters) -> None:
    """Without the queue of the receipts, nothing is taken out of the dead letters."""
    ran = letters.revoker("resubmit", "--session", "plain", "--outcome-queue", "elsewhere")
    assert ran.code == 3
    assert "elsewhere" in ran.err
    assert letters.broker.counts(letters.queue)["dead_lettered"] == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "OUTCOME_QUEUE is not set."),
        (
            "a b",
            "OUTCOME_QUEUE must be the name of a Service Bus queue (or of a topic for receipts).",
        ),
        ("the same", "OUTCOME_QUEUE must not be SESSION_REVOKED_QUEUE"),
    ],
)
def test_receipts_need_a_queue_of_their_own(letters: Letters, name: str, says: str) -> None:
    """A missing or wrong name is said before anything is sent."""
    ran = letters.revoker("receipts", OUTCOME_QUEUE=letters.queue if name == "the same" else name)
    assert ran.code == 2
    assert says in ran.err


def test_without_receipts_the_verbs_work_as_ever(letters: Letters) -> None:
    """Where OUTCOME_QUEUE is not set, resubmit sends no receipt."""
    assert letters.revoker("resubmit", "--session", "plain", OUTCOME_QUEUE="").code == 0
    assert letters.receipts() == []
