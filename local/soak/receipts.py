"""What must hold of receipts after every scenario: pure functions of the evidence.

Each ended revocation has one receipt with the true outcome, sent before its message ended. A receipt
was sent twice only because a process died or a message was delivered again.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from local.soak.invariants import DONE, Evidence, Published, Threshold, Verdict, root_id

BROKER_REASONS = ("MaxDeliveryCountExceeded", "TTLExpiredException", "HeaderSizeExceeded")
"""Dead-lettered by the broker: the operator's command sends the receipts afterwards."""

_SHOWN = 128


def check_receipts(evidence: Evidence, verdict: Verdict) -> None:
    """Add the thresholds of receipts and the problems to a verdict; nothing where receipts are off."""
    if evidence.receipts is None:
        return
    told: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in evidence.receipts:
        told[event["data"]["rootMessageId"]].append(event)
    reasons = {root_id(each["message_id"]): each["reason"] for each in evidence.dead_letters}
    missing = wrong = 0
    for each in evidence.published:
        reason = reasons.get(each.message_id)
        true = [event for event in told[each.message_id] if _is_true(event, each, reason, evidence)]
        untrue = len(told[each.message_id]) - len(true)
        wrong += untrue
        ending = "completed" if reason is None else "failed"
        is_missing = not any(event["type"].endswith(ending) for event in true)
        missing += is_missing
        if untrue or is_missing:
            kinds = [event["type"] for event in told[each.message_id]]
            verdict.problems.append(f"{each.message_id}: ended as {reason or DONE}, told {kinds}")
    strangers = set(told) - {each.message_id for each in evidence.published}
    ids = Counter(event["id"] for event in evidence.receipts)
    verdict.thresholds += [
        Threshold("receipts missing", missing, 0),
        Threshold("receipts that are wrong", wrong + len(strangers), 0),
        Threshold("receipts twice in their queue", ids.total() - len(ids), 0),
        Threshold("messages that ended before their receipt", _ended_untold(evidence, verdict), 0),
        Threshold("receipts sent again without a reason", _repeated(evidence, verdict), 0),
    ]


def _is_true(
    event: Mapping[str, Any], each: Published, reason: str | None, evidence: Evidence
) -> bool:
    """Return whether a receipt agrees with the broker and the Face API."""
    data = event["data"]
    if data.get("sessionId") not in (each.session_id, None):
        return False
    if event["type"].endswith(".failed"):
        return reason is not None and data["reason"] == reason
    # The deletion of what the broker dead-letters may have succeeded before its process died.
    may_be_done = reason is None or reason in BROKER_REASONS
    gone = data["sessionId"] == each.session_id and each.session_id not in evidence.sessions
    return may_be_done and gone and data["outcome"] in DONE


def _ended_untold(evidence: Evidence, verdict: Verdict) -> int:
    """Count the messages that the function ended before the broker had a receipt."""
    done = {
        line.record["message_id"] for line in evidence.lines if line.record.get("outcome") in DONE
    }
    first: dict[tuple[str, str], int] = {}
    for sent in evidence.receipts_ledger:
        first.setdefault((root_id(sent["message_id"]), _ending(sent)), sent["seq"])
    untold = 0
    for event in evidence.ledger:
        match event["event"]:
            case "completed" if event["message_id"] in done:
                ending = "completed"
            case "dead_lettered" if event["reason"] not in BROKER_REASONS:
                ending = "failed"
            case _:
                continue
        told_at = first.get((root_id(event["message_id"]), ending), float("inf"))
        if told_at > event["seq"]:
            untold += 1
            verdict.problems.append(f"{event['message_id']}: {ending} before its receipt was sent")
    return untold


def _ending(sent: Mapping[str, Any]) -> str:
    return str(sent["message_id"]).rpartition(":")[2]


def _repeated(evidence: Evidence, verdict: Verdict) -> int:
    """Count the receipts that were sent again although the earlier one was not lost."""
    if evidence.broker_starts > 1:
        return 0  # a sender that waited for an answer had to send again
    delivered = Counter(
        event["message_id"] for event in evidence.ledger if event["event"] == "delivered"
    )
    again = {root_id(message_id) for message_id, count in delivered.items() if count > 1}
    sent = Counter(
        event["message_id"]
        for event in evidence.receipts_ledger
        if event["event"] in ("enqueued", "duplicate_dropped")
    )
    repeated = [key for key, count in sent.items() if count > 1 and root_id(key) not in again]
    if repeated:
        verdict.problems.append(f"receipts sent again: {', '.join(repeated)}"[:_SHOWN])
    return len(repeated)
