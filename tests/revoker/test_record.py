"""The record: who did what, where, and as part of which action."""

import asyncio
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from delete_session import __version__
from delete_session.connection import ServiceBusConnection
from revoker import actor, face
from revoker.actor import actor_of, service_bus_actor
from revoker.record import who_of
from tests.local.broker_process import BrokerProcess
from tests.revoker.conftest import KILLED, OneQueue
from tests.revoker.people import act_at_once, untruths

KEY = "k" * 32


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the record."""
    monkeypatch.setenv("REVOKER_RECORD", str(tmp_path / "record.jsonl"))
    return tmp_path / "record.jsonl"


def done(found: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["done"], line["session_id"]) for line in found]


def test_every_line_names_the_person_the_place_and_the_action(
    seeded: OneQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One action has one operation id, two actions have two."""
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("platform.node", lambda: "laptop-7")
    for reason in ("One", "Two"):
        assert seeded.revoker("dead-letters", "resubmit", "--reason", reason).code == 0
    found = lines(path)
    assert {line["version"] for line in found} == {__version__}
    assert {who_of(line) for line in found} == {"ada on laptop-7"}
    operations = [line["operation"] for line in found]
    assert [operations.count(each) for each in dict.fromkeys(operations)] == [4, 4]


def test_a_publication_is_recorded_under_the_run(queue: OneQueue, path: Path) -> None:
    """Each message has a line before and after, with the id that the queue has; the run joins them."""
    ran = queue.revoker("publish", "a", "b", "--json")
    found = lines(path)
    assert done(found) == [
        ("publishing", "a"),
        ("publishing", "b"),
        ("published", "a"),
        ("published", "b"),
    ]
    assert {line["operation"] for line in found} == {ran.json["run"]}
    assert [line["message_id"] for line in found[2:]] == [
        each["message_id"] for each in queue.messages()
    ]


def test_a_batch_that_the_broker_refuses_is_recorded_as_unconfirmed(
    queue: OneQueue, path: Path
) -> None:
    """No line claims that its messages were published."""
    fault = {"operation": "send", "queue": queue.name, "count": None}
    queue.broker.control("POST", "/faults", fault | {"condition": "amqp:resource-limit-exceeded"})
    ran = queue.revoker("publish", "a")
    queue.broker.control("DELETE", "/faults")
    assert ran.code == 3
    assert done(lines(path)) == [("publishing", "a"), ("unconfirmed", "a")]
    assert lines(path)[1]["why"]


def test_nothing_is_published_without_a_record(queue: OneQueue, tmp_path: Path) -> None:
    """A record that cannot be written ends the command before anything is sent."""
    ran = queue.revoker("publish", "a", "--record", str(tmp_path / "no" / "record.jsonl"))
    assert ran.code == 2
    assert queue.counts["active"] == 0


def test_who_looks_at_a_body_is_recorded(seeded: OneQueue, path: Path) -> None:
    """Looking without the body leaves no line."""
    assert seeded.revoker("dead-letters", "show", "1").code == 0
    assert not path.exists()
    assert seeded.revoker("dead-letters", "show", "1", "--body").code == 0
    assert done(lines(path)) == [("body_viewed", "a")]
    assert "sessionId" not in path.read_text()


async def test_a_login_is_named_by_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Microsoft Entra, the object id and the name come from the token of the login."""

    async def token(scope: str, *_: object) -> str:
        assert scope == actor.SERVICE_BUS_SCOPE
        return jwt.encode({"oid": "0123", "upn": "ada@example.com"}, KEY)

    monkeypatch.setattr(face, "token", token)
    connection = ServiceBusConnection(fully_qualified_namespace="ns.servicebus.windows.net")
    who = await service_bus_actor(connection)
    assert (who.object_id, who.name) == ("0123", "ada@example.com")
    assert who.what.startswith("ada@example.com (")


@pytest.mark.parametrize("bearer", [None, "nonsense", jwt.encode({"oid": 7, "upn": []}, KEY)])
def test_a_token_that_names_nobody_leaves_the_place(bearer: str | None) -> None:
    """Without a readable name, the OS user and the machine remain."""
    who = actor_of(bearer)
    assert (who.object_id, who.name) == (None, None)
    assert " on " in who.what


async def _fill(queue: OneQueue, count: int) -> None:
    """Send messages; all that the queue then has becomes dead letters."""
    async with (
        ServiceBusClient.from_connection_string(
            queue.environment["ServiceBusConnection"]
        ) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        bodies = [f'{{"sessionId": "s-{n}"}}' for n in range(count)]
        await sender.send_messages([ServiceBusMessage(body) for body in bodies])
        while queue.counts["active"]:
            for message in await receiver.receive_messages(50, max_wait_time=5):
                await receiver.dead_letter_message(message, reason="One")


@pytest.mark.parametrize("round_", range(int(os.environ.get("KILL_ROUNDS", "2"))))
def test_two_people_at_once_and_killed_leave_true_lines(
    round_: int, broker: BrokerProcess, path: Path
) -> None:
    """One resubmits and one discards the same dead letters, and both are killed: the lines of each
    act are a true pair, or a first line that only a killed command leaves."""
    queue = OneQueue(broker, KILLED)
    asyncio.run(_fill(queue, 12))
    before = len(queue.events)
    acts = {
        "ada": ("dead-letters", "resubmit", "--all", "--wait", "1"),
        "bob": ("dead-letters", "discard", "--all", "--wait", "1", "--yes"),
    }
    environment = queue.environment | {"REVOKER_RECORD": str(path)}
    killed = act_at_once(environment, acts, path, random.Random(round_))
    found = lines(path)  # so none is torn
    assert {line["who"]["os_user"] for line in found} <= set(acts)
    operations = {line["operation"] for line in found if line["who"]["os_user"] in killed}
    assert untruths(found, queue.events[before:], operations) == []


def line(done: str, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"operation": "o", "sequence_number": number, "done": done, **more}


COPY: dict[str, Any] = {"new_message_id": "m:resubmit:1"}
GONE = {"event": "completed", "queue": "q/$deadletterqueue", "sequence_number": 1}
SENT = {"event": "enqueued", "queue": "q", "sequence_number": 9, "message_id": "m:resubmit:1"}


@pytest.mark.parametrize(
    ("found", "events"),
    [
        ([line("discarding"), line("discarded")], []),
        ([line("discarding"), line("discarded"), line("discarding"), line("discarded")], [GONE]),
        ([line("discarded")], [GONE]),
        ([line("discarding")], [GONE]),
        ([line("discarding"), line("discarding", 2), line("discarded")], [GONE]),
        ([line("discarding"), line("left", why="refused")], [GONE]),
        ([line("resubmitting", **COPY), line("discarded")], [GONE]),
        ([line("resubmitting", **COPY), line("resubmitted", **COPY)], [GONE]),
        ([line("resubmitting", **COPY), line("left")], [SENT]),
        ([], [GONE]),
        ([], [SENT]),
    ],
)
def test_every_untruth_is_found(found: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """The check of the test above sees whatever a record says falsely or does not say."""
    assert untruths(found, events, set())
