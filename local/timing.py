"""Where a published message spent its time: pure functions of the broker's ledger and the log."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Any

FEW = 20
"""With fewer messages, the highest five percent are less than one."""


@dataclass(slots=True)
class Times:
    """The parts of the time from the first enqueue to the last settling, in milliseconds."""

    queued: float = 0.0
    """Until the host took the message, or its retry copy."""
    waiting: float = 0.0
    """In the function and not in a call: waiting for the rate limiter, or for a retry in place.
    Includes the settling of dead-lettered and copied messages."""
    calling: float = 0.0
    scheduled: float = 0.0
    """Delay of scheduled retry copies."""
    settling: float = 0.0
    """From the function's log line to the broker's completion."""

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self)

    def __iter__(self) -> Iterator[float]:
        """Yield the parts."""
        return (getattr(self, each.name) for each in fields(self))


@dataclass(slots=True)
class _Life:
    """Times of one broker message, published or a retry copy. Seconds."""

    enqueued: float
    delivered: float | None = None
    ended: float | None = None


def split(
    ledger: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> dict[str, Times]:
    """Return the parts of the time of each ended message, by the id of the published message."""
    lives: dict[str, dict[str, _Life]] = defaultdict(dict)
    for event in ledger:
        message_id, time = event["message_id"], event["time"]
        family = lives[message_id.partition(":")[0]]
        if event["event"] == "enqueued":
            family.setdefault(message_id, _Life(time))
        elif life := family.get(message_id):
            if event["event"] == "delivered" and life.delivered is None:
                life.delivered = time
            elif event["event"] in ("completed", "dead_lettered"):
                life.ended = time
    logged: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line.get("event") == "revocation":
            logged[line["message_id"]].append(line)
    return {
        root: _times(family, logged)
        for root, family in lives.items()
        if all(life.ended is not None for life in family.values())
    }


def _times(family: Mapping[str, _Life], logged: Mapping[str, Sequence[Mapping[str, Any]]]) -> Times:
    times = Times()
    before: float | None = None
    for message_id, life in sorted(family.items(), key=lambda item: item[1].enqueued):
        assert life.ended is not None
        if before is not None:
            times.scheduled += (life.enqueued - before) * 1000
        before = life.ended
        whole = (life.ended - life.enqueued) * 1000
        lines = logged.get(message_id, ())
        queued = ((life.delivered or life.ended) - life.enqueued) * 1000
        calling = sum(line["ms_in_call"] for line in lines)
        settling = max(0.0, whole - lines[-1]["ms_since_enqueued"]) if lines else 0.0
        times.queued += queued
        times.calling += calling
        times.settling += settling
        # The broker's times and the log's are rounded, so a slightly negative time is zero.
        times.waiting += max(0.0, whole - queued - calling - settling)
    return times


def mean(several: Sequence[Times]) -> Times:
    """Return the mean of each part; the parts' means add up to the mean of the whole."""
    return Times(*(sum(part) / len(several) for part in zip(*several, strict=True)))


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed."""
    return sorted(values)[max(0, ceil(part * len(values)) - 1)]


def summary(milliseconds: Sequence[float]) -> str:
    """Say how long it took; without percentiles for few messages."""
    if not milliseconds:
        return "no message ended"
    number, maximum = len(milliseconds), max(milliseconds)
    middle = percentile(milliseconds, 0.5)
    if number < FEW:
        shown = f"median {middle:,.0f}, maximum {maximum:,.0f}"
        return f"from enqueue to the end, n = {number}, milliseconds: {shown}"
    return (
        f"from enqueue to the end, n = {number:,}, milliseconds: p50 {middle:,.0f}, "
        f"p95 {percentile(milliseconds, 0.95):,.0f}, maximum {maximum:,.0f}"
    )
