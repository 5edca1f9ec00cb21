"""The contents of the queue and of its dead letters, and whether anything ends; found by peeking."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from revoker.carriers import publications
from revoker.connection import QueueAddress
from revoker.failure import Failure
from revoker.messages import Seen, look
from revoker.outcomes import Receipt, receipts
from revoker.remedies import cause_of, for_error, for_reason, plain

WATCH_SECONDS = 10.0
"""How long to wait for a message to end, if any waits. The function holds one for less than that."""
_KNOWN_SECONDS = 3.0  # the same if the error of each is known

_EVERY_SECONDS = 1.0
_MISSING = 3  # sessions that are more than chance
_DELIVERIES = 3  # without an end, from which on a message is suspect

_REFUSED = (
    "the broker refuses to schedule, to dead-letter or to take receipts: check the function's roles on "
    "the queue (Data Sender, Data Receiver), and whether the queue that its OUTCOME_QUEUE names exists "
    "and is not full. 'broker_refuses' in its log has the reason."
)

# A message that is locked for the first time looks like one that was never taken.
_TAKES_NONE = (
    "The function takes no messages, or cannot settle them. It is stopped, does not start, or may not "
    "receive: check its state (az functionapp show --query state) and the first lines of its log. Or "
    f"{_REFUSED}"
)
_HOLDS = (
    f"The function holds messages and ends none: most likely {_REFUSED} If the function was killed, "
    "its messages are free after a minute."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counts of messages; `complete` is False if there may be more than were examined."""

    active: int
    scheduled: int
    deferred: int
    dead_lettered: int
    publications: int
    """How many were published of the dead letters: an original and its copies are one."""
    oldest_seconds: float | None
    """Age of the oldest pending revocation since its first enqueue; None if nothing is pending."""
    oldest_dead_letter_seconds: float | None
    waiting_because: dict[str, int]
    """Number of messages by the HTTP status and code of their last error."""
    dead_letter_reasons: dict[str, int]
    publishers: dict[str, int]
    """Number of dead letters, and of messages that wait because of an error, by their publisher."""
    not_found: dict[str, int]
    """Sessions that were not found in the last hour, of publishers most of whose sessions were not."""
    complete: bool
    advice: list[str]
    """What is wrong and what to do about it, the most likely cause first."""
    watched_seconds: float | None = None
    """For how long a message was waited for to end; None if nothing waits, or too much to tell."""
    ended: int = 0
    """How many messages ended meanwhile."""

    @property
    def stalled(self) -> bool:
        """Whether messages wait, and none of them ended."""
        return self.watched_seconds is not None and not self.ended

    @property
    def is_wrong(self) -> bool:
        """Whether somebody has to look."""
        return bool(self.dead_lettered or self.waiting_because or self.stalled or self.not_found)


async def status(address: QueueAddress, limit: int, outcomes: QueueAddress | None = None) -> Status:
    """Count up to `limit` messages of each of the two queues, and of the receipts in `outcomes`.

    If messages wait, look again until one has ended, for a few seconds. All counts are of the last
    reading.
    """
    found = await _watched(address, limit)
    if outcomes is None:
        return found
    try:
        examined = await _receipts(outcomes, limit)
    except Failure:
        return found  # this login may not read the receipts
    found = replace(found, complete=found.complete and len(examined) < limit)
    return _with_receipts(found, examined)


async def _watched(address: QueueAddress, limit: int) -> Status:
    first, dead = await _read(address, limit)
    found = progress(first, first, summary(first, dead, limit), 0)
    began = time.monotonic()
    while found.stalled:
        await asyncio.sleep(_EVERY_SECONDS)
        waiting, dead = await _read(address, limit)
        seconds = time.monotonic() - began
        found = progress(first, waiting, summary(waiting, dead, limit), seconds)
        known = all(each.last_error for each in waiting)
        if seconds >= (_KNOWN_SECONDS if known else WATCH_SECONDS):
            break
    return found


def progress(
    first: Sequence[Seen], waiting: Sequence[Seen], found: Status, seconds: float
) -> Status:
    """Add to what was found how many messages have ended since an earlier reading, or why none has.

    Args:
        first: what waited at the earlier reading.
        waiting: what waits now.
        found: the summary of what waits now.
        seconds: the time between the two readings.
    """
    pending = any(each.state == "active" or each.last_error for each in first)
    if not pending or not found.complete:
        return found
    ended = len({each.root_id for each in first} - {each.root_id for each in waiting})
    cause = None if ended or not seconds else _standstill(first, waiting)
    advice = [cause, *found.advice] if cause else found.advice
    return replace(found, watched_seconds=round(seconds, 1), ended=ended, advice=advice)


async def _read(address: QueueAddress, limit: int) -> tuple[list[Seen], list[Seen]]:
    # The queue first: a message that moves in between is then seen in one of the two.
    waiting = await look(address, limit, dead_letters=False)
    return waiting, await look(address, limit, dead_letters=True)


def summary(waiting: Sequence[Seen], dead: Sequence[Seen], limit: int) -> Status:
    """Count messages; at most `limit` of each of the two queues were examined."""
    states = Counter(seen.state for seen in waiting)
    causes = Counter(cause_of(seen.last_error) for seen in waiting if seen.last_error)
    because: Counter[str] = Counter()
    names: dict[str, list[str]] = {}  # by their remedy, the most frequent cause first
    for (name, remedy), count in causes.most_common():
        because[name] += count
        names.setdefault(remedy, []).append(name)
    reasons = Counter(seen.reason for seen in dead)
    faults: dict[str, dict[str, None]] = {}
    for seen in dead:
        if fault := for_error(seen.description):
            faults.setdefault(seen.reason, {})[fault] = None
    wrong = [*dead, *(seen for seen in waiting if seen.last_error)]
    publishers = Counter(str(seen.properties.get("publisher") or "unnamed") for seen in wrong)
    return Status(
        active=states["active"],
        scheduled=states["scheduled"],
        deferred=states["deferred"],
        dead_lettered=len(dead),
        publications=len(publications(dead, (), ())),
        oldest_seconds=_oldest(waiting),
        oldest_dead_letter_seconds=_oldest(dead),
        waiting_because=dict(because.most_common()),
        dead_letter_reasons=dict(reasons.most_common()),
        publishers=dict(publishers.most_common()),
        not_found={},
        complete=max(len(waiting), len(dead)) < limit,
        advice=[
            *(f"{', '.join(some)}: {remedy}" for remedy, some in names.items()),
            *_delivered_repeatedly(waiting),
            *(
                " ".join((f"{name}: {plain(for_reason(name).remedy)}.", *faults.get(name, ())))
                for name, _ in reasons.most_common()
            ),
        ],
    )


async def _receipts(outcomes: QueueAddress, limit: int) -> list[Receipt]:
    """Return the first `limit` receipts in their queue."""
    found: list[Receipt] = []
    async with aclosing(receipts(outcomes)) as some:
        async for each in some:
            found.append(each)
            if len(found) == limit:
                break
    return found


def _with_receipts(found: Status, examined: Sequence[Receipt]) -> Status:
    """Add the publishers of which, in the last hour, at least three sessions and most were not found.

    The alert already-gone uses the same bounds.
    """
    since = datetime.now(UTC) - timedelta(hours=1)
    ended = [
        each.data for each in examined if each.time > since and each.data.outcome != "dead_lettered"
    ]
    missing = [each for each in ended if each.outcome == "already_gone"]
    total = Counter(each.publisher or "unnamed" for each in ended)
    most = {
        name: count
        for name, count in Counter(each.publisher or "unnamed" for each in missing).items()
        if count >= _MISSING and count > total[name] / 2
    }
    advice = [
        f"{name}: {count} of {total[name]} sessions were not found in the last hour, and may be alive. "
        "Most likely the column of the ids, the sessionType, FACE_API_VERSION or the Face resource "
        "is wrong: run 'revoker audit' on their ids."
        for name, count in most.items()
    ]
    return replace(found, not_found=most, advice=[*advice, *found.advice])


def _standstill(first: Sequence[Seen], last: Sequence[Seen]) -> str | None:
    """Return the most likely cause if active messages stayed as they were."""
    if not {_state(each) for each in first} <= {_state(each) for each in last}:
        return None  # they are delivered, and retried or abandoned
    active = [each for each in last if each.state == "active"]
    if not active:
        return None
    return _HOLDS if any(each.delivery_count for each in active) else _TAKES_NONE


def _state(seen: Seen) -> tuple[int, str, int]:
    return seen.sequence_number, seen.state, seen.delivery_count


def _delivered_repeatedly(waiting: Sequence[Seen]) -> list[str]:
    worst = max(waiting, key=lambda seen: seen.delivery_count, default=None)
    if worst is None or worst.delivery_count < _DELIVERIES:
        return []
    return [
        f"Message {worst.message_id} (session {worst.session_id}) was delivered "
        f"{worst.delivery_count} times without an end: it crashes the function, or the broker refuses "
        "what the function does with it. Check AppExceptions and 'settlement_failed' in the log."
    ]


def _oldest(messages: Sequence[Seen]) -> float | None:
    if not messages:
        return None
    first = min(seen.first_enqueued_at for seen in messages)
    return round(max(0.0, (datetime.now(UTC) - first).total_seconds()), 1)
