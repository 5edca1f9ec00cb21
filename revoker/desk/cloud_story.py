"""What the local cloud knows about a session's messages, beside what the command can see."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from revoker.local_cloud import LogLine
from revoker.story import Step


def steps(events: Sequence[Mapping[str, Any]], lines: Sequence[LogLine]) -> list[Step]:
    """Return what happened.

    Args:
        events: events of the local cloud's broker.
        lines: log lines of the local cloud's function.
    """
    return [_of_event(each) for each in events] + [_of_line(each) for each in lines]


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
