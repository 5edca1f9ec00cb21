"""The history of a session's messages, from all that the command can see."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revoker.carriers import Carrier, carriers
from revoker.connection import QueueAddress
from revoker.copies import AT, COUNT, FROM_DESCRIPTION, FROM_REASON
from revoker.messages import Seen
from revoker.outcomes import Receipt, readable, receipts
from revoker.record import last, who_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened to a message."""

    at: datetime
    what: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known about one session."""

    steps: Sequence[Step]
    """Oldest first."""
    carriers: Sequence[Carrier]
    """The messages that name it now."""
    unreadable: Sequence[str]
    """Lines of the record that cannot be read."""
    no_receipts: str
    """Why receipts cannot be read; empty if they can be."""


async def story(
    address: QueueAddress, outcomes: QueueAddress | None, record: Path, session_id: str
) -> Story:
    """Tell the story of one session. Changes nothing, and takes no receipt from its receiver.

    Args:
        address: the queue's address; the right to Listen is needed.
        outcomes: the queue of the receipts, if there is one.
        record: the file of the record.
        session_id: the session.
    """
    found = (await carriers(address, {session_id})).get(session_id, [])
    outcomes, no_receipts = await readable(outcomes)
    told = []
    if outcomes is not None:
        async with aclosing(receipts(outcomes)) as some:
            told = [each async for each in some if each.data.session_id == session_id]
    lines, unreadable = last(record, sys.maxsize)
    about = [line for line in lines if line.get("session_id") == session_id]
    all_steps = steps([each.seen for each in found], about)
    all_steps += [step for each in told for step in _of_receipt(each)]
    return Story(
        steps=in_order(all_steps),
        carriers=found,
        unreadable=unreadable,
        no_receipts=no_receipts,
    )


def steps(seen: Sequence[Seen], record: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return what messages tell themselves, and what the record says about them."""
    found = [step for each in seen for step in _of_message(each)]
    return found + [_of_record(each) for each in record]


def in_order(found: Iterable[Step]) -> list[Step]:
    """Return steps, oldest first, each once: several receipts name the same publication."""
    return sorted(dict.fromkeys(found), key=lambda step: step.at)


def _of_message(seen: Seen) -> list[Step]:
    message = f"message {seen.message_id}"
    found = [Step(at=seen.first_enqueued_at, what=f"{message} first enqueued", source="message")]
    if seen.enqueued_at > seen.first_enqueued_at:
        times = "1 attempt" if seen.attempts == 1 else f"{seen.attempts} attempts"
        what = f"{message} enqueued again, after {times}"
        if seen.last_error:
            what += f"; the last error: {seen.last_error}"
        found.append(Step(at=seen.enqueued_at, what=what, source="message"))
    if (at := _time(seen.properties.get(AT))) is not None:
        properties = seen.properties
        what = (
            f"resubmitted (number {properties.get(COUNT, 1)}) after "
            f"{properties.get(FROM_REASON)}: {properties.get(FROM_DESCRIPTION)}"
        )
        found.append(Step(at=at, what=what, source="message"))
    return found


def _of_record(line: Mapping[str, Any]) -> Step:
    what = f"{line.get('done')} through the {line.get('through')}"
    if reason := line.get("reason"):
        what += f"; it was {reason}"
    elif message_id := line.get("message_id"):
        what += f"; message {message_id}"
    if who := who_of(line):
        what += f"; by {who}"
    return Step(
        at=_time(line.get("at")) or datetime.min.replace(tzinfo=UTC), what=what, source="record"
    )


def _of_receipt(receipt: Receipt) -> list[Step]:
    data = receipt.data
    message = f"message {data.root_message_id}"
    found = [Step(at=data.published_at, what=f"{message} first enqueued", source="receipt")]
    if data.first_attempt_at is not None:
        what = f"{message}: first attempt"
        found.append(Step(at=data.first_attempt_at, what=what, source="receipt"))
    times = "1 attempt" if data.attempts == 1 else f"{data.attempts} attempts"
    what = f"{message}: {data.outcome} after {times}"
    if data.reason:
        what += f", {data.reason}: {data.description or 'no description'}"
    if data.asked_types:
        what += f"; asked: {', '.join(data.asked_types)}"
    if data.face_request_id:
        what += f"; Face request id {data.face_request_id}"
    return [*found, Step(at=receipt.time, what=what, source="receipt")]


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time
