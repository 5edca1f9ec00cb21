"""Two versions share a queue while one replaces the other: each reads the other's retry copies."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from delete_session.message import Delivery, Revocation

from .fakes import ENQUEUED, message

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "fixtures/retry-copies-0.1.0.json").read_bytes()
)
"""Application properties and ids as version 0.1.0 wrote them, and what it read in them."""


def read(case: dict[str, Any]) -> Delivery:
    """A copy of 0.1.0, as this version reads it."""
    enqueued = datetime.fromisoformat(case["enqueued_at"])
    delivered = message(
        message_id=case["message_id"], properties=case["properties"], enqueued_time_utc=enqueued
    )
    return Delivery.from_trigger(delivered, enqueued)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_copies_of_the_last_release_are_carried_on(case: dict[str, Any]) -> None:
    """Attempts, first enqueue and root id are those that 0.1.0 wrote, and the next copy has the id
    that 0.1.0 would give it: a copy that both versions schedule is one."""
    history = read(case).history
    assert {
        "root_id": history.root_id,
        "first_enqueued_at": history.first_enqueued_at.isoformat(),
        "attempts": history.attempts,
        "copies": history.copies,
    } == case["read"]
    following = replace(history, copies=history.copies + 1)
    assert following.copy_id == case["next_message_id"]


def as_0_1_0_reads(message_id: str, properties: dict[str, object]) -> tuple[object, ...] | None:
    """What version 0.1.0 makes of a copy; None if it takes it for a message without a history."""
    root, first = properties.get("revoker-root-id"), properties.get("revoker-first-enqueued")
    copies, attempts = properties.get("revoker-copy"), properties.get("revoker-attempt")
    if not (isinstance(root, str) and isinstance(first, str) and isinstance(copies, int)):
        return None
    suffix = f":{int(datetime.fromisoformat(first).timestamp() * 1000)}:{copies}"
    long = len(root) + len(suffix) > 128
    start = hashlib.sha256(root.encode("utf-8", "replace")).hexdigest() if long else root
    return (root, first, attempts, copies) if message_id == start + suffix else None


@pytest.mark.parametrize("root_id", ["m-1", "i" * 128, "größe-日本"])
def test_the_last_release_reads_the_copies_of_this_one(root_id: str) -> None:
    """Rolling back loses neither attempts nor age: what is written now is a copy to 0.1.0, too."""
    delivery = Delivery.from_trigger(message(message_id=root_id), ENQUEUED)
    copy = Revocation(delivery, 48, lambda: 0.0).copy(30.0)
    found = as_0_1_0_reads(copy.message_id, dict(copy.properties))
    assert found == (root_id, ENQUEUED.isoformat(), 0, 1)
    assert isinstance(copy.properties["revoker-last-error"], str)
