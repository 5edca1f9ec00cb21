"""The record: who did what, where, and as part of which action."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest

from delete_session import __version__
from delete_session.connection import ServiceBusConnection
from revoker import actor, face
from revoker.actor import actor_of, service_bus_actor
from revoker.record import who_of
from tests.revoker.conftest import OneQueue

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


def test_two_people_at_once_and_killed_leave_true_lines(seeded: OneQueue, path: Path) -> None:
    """Each dead letter that is gone has one line that says so or one that says it was begun, by one
    of them; no line is torn."""
    people = ("ada", "bob")
    for after in (0.9, 1.3, 30.0):
        started = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "revoker", "dead-letters", "discard", "--all"),
                    *("--yes", "--wait", "3"),
                ],
                env={**os.environ, **seeded.environment, "LOGNAME": person},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for person in people
        ]
        for process in started:
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    found = lines(path)  # so none is torn
    assert seeded.counts["dead_lettered"] == 0
    discarded = [line["sequence_number"] for line in found if line["done"] == "discarded"]
    begun = {line["sequence_number"] for line in found if line["done"] == "discarding"}
    assert len(discarded) == len(set(discarded))
    assert begun == {1, 2, 3, 4}
    completed = [
        (event["sequence_number"]) for event in seeded.events if event["event"] == "completed"
    ]
    assert set(discarded) <= set(completed)
    by_operation = {(line["operation"], line["who"]["os_user"]) for line in found}
    assert len(by_operation) == len({operation for operation, _ in by_operation})
    assert {who for _, who in by_operation} <= set(people)
