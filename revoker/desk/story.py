"""The history of a message, from all sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from revoker.copies import AT, COUNT, FROM_DESCRIPTION, FROM_REASON
from revoker.desk.local_cloud import LogLine
from revoker.desk.rendering import read_time
from revoker.messages import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened to a message."""

    at: datetime | None
    """None if that is unknown."""
    what: str
    source: str


def steps(
    seen: Sequence[Seen],
    record: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    lines: Sequence[LogLine],
) -> list[Step]:
    """Return the events of one session's messages, oldest first.

    Args:
        seen: the messages that carry the session.
        record: the record of its dead letters.
        events: events of the local cloud's broker.
        lines: log lines of the local cloud's function.
    """
    found = [step for each in seen for step in _of_message(each)]
    found += [_of_record(each) for each in record]
    found += [_of_event(each) for each in events]
    found += [_of_line(each) for each in lines]
    return sorted(found, key=lambda step: step.at or datetime.min.replace(tzinfo=UTC))


def _of_message(seen: Seen) -> list[Step]:
    message = f"message {seen.message_id}"
    found = [Step(at=seen.first_enqueued_at, what=f"{message} first enqueued", source="message")]
    if seen.enqueued_at > seen.first_enqueued_at:
        times = "1 attempt" if seen.attempts == 1 else f"{seen.attempts} attempts"
        what = f"{message} enqueued again, after {times}"
        if seen.last_error:
            what += f"; the last error: {seen.last_error}"
        found.append(Step(at=seen.enqueued_at, what=what, source="message"))
    if (at := read_time(seen.properties.get(AT))) is not None:
        properties = seen.properties
        what = (
            f"resubmitted (number {properties.get(COUNT, 1)}) after "
            f"{properties.get(FROM_REASON)}: {properties.get(FROM_DESCRIPTION)}"
        )
        found.append(Step(at=at, what=what, source="message"))
    return found


def _of_record(line: Mapping[str, Any]) -> Step:
    what = f"{line.get('done')} through the {line.get('through')}; it was {line.get('reason')}"
    return Step(at=read_time(line.get("at")), what=what, source="record")


def _of_event(event: Mapping[str, Any]) -> Step:
    what = (
        f"{event['event'].replace('_', '-')}: number {event['sequence_number']} of {event['queue']}"
    )
    if event["reason"]:
        what += f", {event['reason']}"
    return Step(at=datetime.fromtimestamp(event["time"], UTC), what=what, source="broker")


def _of_line(line: LogLine) -> Step:
    facts = line.facts
    what = str(facts.get("outcome", facts.get("event")))
    for name in ("status", "code", "reason"):
        if facts.get(name):
            what += f", {name} {facts[name]}"
    if delay := facts.get("delay_seconds"):
        what += f", next attempt in {delay} s"
    if request_id := facts.get("request_id"):
        what += f", Face request id {request_id}"
    return Step(at=line.at, what=what, source=f"function ({line.host})")
