"""The fault suite's checker of receipts, which must be able to fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from local.soak.invariants import Evidence, LogLine, Published, Verdict
from local.soak.receipts import check_receipts


def happened(seq: int, message_id: str, what: str, reason: str | None = None) -> dict[str, Any]:
    return {"seq": seq, "message_id": message_id, "event": what, "reason": reason}


def told(root: str, ending: str, **data: Any) -> dict[str, Any]:
    return {
        "id": f"{root}:1:{ending}",
        "type": f"x.{ending}",
        "data": {"rootMessageId": root, **data},
    }


def ended(message_id: str, outcome: str) -> LogLine:
    return LogLine(0, 0.0, {"event": "revocation", "message_id": message_id, "outcome": outcome})


DONE = told("a", "completed", sessionId="A", outcome="deleted")
GIVEN_UP = told("b", "failed", outcome="dead_lettered", reason="MalformedMessage")
BY_BROKER = told("c", "failed", sessionId="C", reason="TTLExpiredException")

GOOD = Evidence(
    published=[
        Published(message_id="a", body=b"", session_id="A"),
        Published(message_id="b", body=b"", ends=("MalformedMessage",)),
        Published(message_id="c", body=b"", session_id="C", ends=("TTLExpiredException",)),
    ],
    ledger=[
        *(happened(1, "a", "delivered"), happened(3, "a", "completed")),
        *(happened(4, "b", "delivered"), happened(6, "b", "dead_lettered", "MalformedMessage")),
        happened(7, "c", "dead_lettered", "TTLExpiredException"),
    ],
    dead_letters=[
        {"message_id": "b", "reason": "MalformedMessage", "description": ""},
        {"message_id": "c", "reason": "TTLExpiredException", "description": ""},
    ],
    in_queue=0,
    sessions=frozenset({"C"}),
    calls=[],
    lines=[ended("a", "deleted"), ended("b", "dead_lettered")],
    calls_per_second=1,
    processes=1,
    starts=1,
    receipts=[DONE, GIVEN_UP, BY_BROKER],
    receipts_ledger=[
        happened(2, DONE["id"], "enqueued"),
        happened(5, GIVEN_UP["id"], "enqueued"),
        happened(8, BY_BROKER["id"], "enqueued"),
    ],
)


def failing(evidence: Evidence) -> set[str]:
    verdict = Verdict()
    check_receipts(evidence, verdict)
    return {threshold.name for threshold in verdict.thresholds if not threshold.ok}


def receipts(evidence: Evidence, *some: dict[str, Any]) -> Evidence:
    return replace(evidence, receipts=some)


def sent_at(evidence: Evidence, seq: int, receipt: dict[str, Any], what: str) -> Evidence:
    return replace(
        evidence,
        receipts_ledger=[*evidence.receipts_ledger, happened(seq, receipt["id"], what)],
    )


def test_right_receipts_pass() -> None:
    """Each end has its receipt, also the broker's own afterwards; switched off, nothing counts."""
    verdict = Verdict()
    check_receipts(GOOD, verdict)
    assert len(verdict.thresholds) == 5
    assert (failing(GOOD), verdict.problems) == (set(), [])
    off = Verdict()
    check_receipts(replace(GOOD, receipts=None), off)
    assert off.thresholds == []


ALIVE = replace(GOOD, sessions=frozenset({"A", "C"}))
DOCTORED: dict[str, tuple[str, Callable[[], Evidence]]] = {
    "none": ("missing", lambda: receipts(GOOD, GIVEN_UP, BY_BROKER)),
    "broker's untold": ("missing", lambda: receipts(GOOD, DONE, GIVEN_UP)),
    "session lives": ("wrong", lambda: ALIVE),
    "told both": (
        "wrong",
        lambda: receipts(GOOD, DONE, GIVEN_UP, BY_BROKER, told("a", "failed", reason="X")),
    ),
    "other reason": (
        "wrong",
        lambda: receipts(GOOD, DONE, told("b", "failed", reason="X"), BY_BROKER),
    ),
    "other session": (
        "wrong",
        lambda: receipts(
            GOOD, told("a", "completed", sessionId="B", outcome="deleted"), GIVEN_UP, BY_BROKER
        ),
    ),
    "nobody's": (
        "wrong",
        lambda: receipts(GOOD, DONE, GIVEN_UP, BY_BROKER, told("x", "completed")),
    ),
    "twice": ("twice", lambda: receipts(GOOD, DONE, DONE, GIVEN_UP, BY_BROKER)),
    "after the completion": (
        "before their receipt",
        lambda: sent_at(
            replace(GOOD, receipts_ledger=GOOD.receipts_ledger[1:]), 9, DONE, "enqueued"
        ),
    ),
    "after the dead-lettering": (
        "before their receipt",
        lambda: replace(GOOD, receipts_ledger=GOOD.receipts_ledger[:1]),
    ),
    "again for nothing": (
        "without a reason",
        lambda: sent_at(GOOD, 9, DONE, "duplicate_dropped"),
    ),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_checker_finds_what_is_wrong(name: str) -> None:
    """Evidence with one thing wrong fails the threshold that is about it."""
    threshold, doctor = DOCTORED[name]
    assert any(threshold in each for each in failing(doctor()))


def test_what_may_be() -> None:
    """A redelivery or a restarted broker explains a repetition; done before it was given up is true."""
    again = sent_at(GOOD, 9, DONE, "duplicate_dropped")
    redelivered = replace(again, ledger=[*again.ledger, happened(9, "a", "delivered")])
    assert failing(redelivered) == set()
    assert failing(replace(again, broker_starts=2)) == set()
    done_before = told("c", "completed", sessionId="C", outcome="deleted")
    gone = replace(GOOD, sessions=frozenset[str]())
    assert failing(receipts(gone, DONE, GIVEN_UP, BY_BROKER, done_before)) == set()
