"""`revoker session ID --story`: the history of a session, from all that the command can see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.broker_process import until
from tests.revoker.conftest import OneQueue, Ran
from tests.revoker.desk.conftest import opened


@pytest.fixture
def outcomes(seeded: OneQueue, _unused_queues: Iterator[str]) -> str:
    """A queue with the receipts of the two dead letters of one reason."""
    name = next(_unused_queues)
    sent = seeded.revoker(
        *("dead-letters", "receipts", "--reason", "One", "--outcome-queue", name, "--json")
    )
    assert sent.json["sent"] == 2
    return name


def story(queue: OneQueue, session_id: str, *arguments: str) -> Ran:
    ran = queue.revoker("session", session_id, "--story", *arguments)
    assert ran.code == 0, ran.err
    return ran


def test_tells_publication_retries_dead_letter_receipt_and_operators(
    seeded: OneQueue, outcomes: str
) -> None:
    """All of it in the order of its times, each with its source; and what names the session now."""
    assert seeded.revoker("dead-letters", "resubmit", "--session", "a").code == 0
    assert seeded.revoker("publish", "a").code == 0
    told = story(seeded, "a", "--outcome-queue", outcomes, "--json").json
    steps = [(step["source"], step["what"]) for step in told["steps"]]
    assert sorted(step["at"] for step in told["steps"]) == [step["at"] for step in told["steps"]]
    for source, what in (
        ("receipt", "message a first enqueued"),
        ("receipt", "message a: dead_lettered after 7 attempts, One: why: One"),
        ("message", "resubmitted (number 1) after"),
        ("record", "resubmitted through the command; it was One; by"),
        ("record", "published through the command; message"),
    ):
        assert any(step[0] == source and what in step[1] for step in steps), what
    assert told["carried_by"] == ["a message that is active"] * 2
    assert told["no_receipts"] is None
    assert '"a"' in told["log_query"]


def test_takes_no_receipt_and_moves_no_message(seeded: OneQueue, outcomes: str) -> None:
    """It only peeks."""
    before = seeded.broker.counts(outcomes), seeded.events
    story(seeded, "a", "--outcome-queue", outcomes)
    assert (seeded.broker.counts(outcomes), seeded.events) == before


def test_tells_nothing_of_other_sessions(seeded: OneQueue, outcomes: str) -> None:
    """A session that nothing names has no story, and it says where to look."""
    told = story(seeded, "none", "--outcome-queue", outcomes)
    assert "now: nothing in the queue" in told.out
    assert "first enqueued" not in told.out
    assert "AppTraces" in told.out


def test_says_why_there_are_no_receipts(seeded: OneQueue) -> None:
    """They are off, or cannot be read; the rest is told."""
    assert "OUTCOME_QUEUE is not set" in story(seeded, "a").out
    told = story(seeded, "a", "--outcome-queue", "nowhere").out
    assert "The queue nowhere does not exist" in told
    assert "now: dead letter number 1, One" in told
    assert "why 1 is a dead letter: why: One" in told


def test_tells_what_the_desk_tells(seeded: OneQueue, tmp_path: Path) -> None:
    """The steps of messages and of the record are on the desk's page of the session."""
    record = tmp_path / "default-record.jsonl"
    assert seeded.revoker("dead-letters", "resubmit", "--session", "b").code == 0
    steps = story(seeded, "b", "--json").json["steps"]
    assert {step["source"] for step in steps} == {"message", "record"}
    with opened(seeded.environment, record) as desk:
        until(lambda: all(step["what"] in desk.text("/sessions/b") for step in steps), "all steps")
