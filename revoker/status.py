"""The contents of the queue and of its dead letters, and whether anything ends; found by peeking."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median

from azure.servicebus.aio import ServiceBusReceiver

from revoker.carriers import publications
from revoker.connection import QueueAddress
from revoker.failure import Failure
from revoker.local_cloud import CloudDown, LocalCloud, LogLine
from revoker.messages import Seen, look, peek
from revoker.outcomes import Receipt, read
from revoker.remedies import cause_of, for_error, for_reason, plain

WATCH_SECONDS = 10.0
"""How long to wait for a message to end, if any waits."""
_KNOWN_SECONDS = 3.0  # the same if the error of each is known

_EVERY_SECONDS = 1.0
_MISSING = 3  # sessions that are more than chance
_DELIVERIES = 3  # without an end, from which on a message is suspect
_SLOW_SECONDS = 3.0  # of a call, which usually takes a fraction of a second
_RECENT = timedelta(minutes=5)
"""A message that the function cannot settle is delivered again after four minutes."""

_STOPPED = (
    "The function takes no messages. It is stopped, does not start, or may not receive: check its "
    "state (az functionapp show --query state) and the first lines of its log."
)
_CHECK_ROLES = "check its roles on this queue, Data Sender and Data Receiver."
_CHECK_OUTCOME_QUEUE = (
    "check that this queue, its OUTCOME_QUEUE, exists and is not full, and that it has the role Data "
    "Sender on it. The sessions are deleted; the messages are delivered again every four minutes."
)
_REFUSED = (
    "the broker refuses to schedule, to dead-letter or to take receipts: check the function's roles on "
    "the queue (Data Sender, Data Receiver), and whether the queue that its OUTCOME_QUEUE names exists "
    "and is not full."
)
_HOLDS = (
    f"The function holds messages and ends none: most likely {_REFUSED} 'broker_refuses' in its log "
    "has the reason. If the function was killed, its messages are free after a minute."
)
# A message that is locked for the first time looks like one that was never taken.
_UNKNOWN = (
    "Look at the function's log. Without new lines, the function is stopped or does not start: check "
    f"its state (az functionapp show --query state). With 'broker_refuses', {_REFUSED} Otherwise its "
    "calls of the Face API may be slow: run 'revoker doctor'."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found at one time, of at most `limit` messages of each queue."""

    limit: int
    waiting: Sequence[Seen]
    dead: Sequence[Seen]
    receipts: Sequence[Receipt] = ()
    receipts_failure: str = ""
    """Why the receipts could not be read."""
    locked: int | None = None
    """How many messages the function holds; only the local cloud tells."""
    lines: Sequence[LogLine] = ()
    """The function's log of the last minutes; only the local cloud has it."""
    cause: str = ""
    """Why messages may be held, and what to do, according to that log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counts of messages; `complete` is False if there may be more than were examined."""

    active: int
    scheduled: int
    """Retry copies, and what publishers scheduled."""
    retries_scheduled: int
    deferred: int
    dead_lettered: int
    publications: int
    """How many were published of the dead letters: an original and its copies are one."""
    oldest_seconds: float | None
    """Age of the oldest pending revocation since its first enqueue; None if nothing is pending."""
    oldest_by_state: dict[str, float]
    """The same for each state that some have; retries are `retry`, not `scheduled`."""
    oldest_dead_letter_seconds: float | None
    waiting_because: dict[str, int]
    """Number of messages by the HTTP status and code of their last error."""
    dead_letter_reasons: dict[str, int]
    publishers: dict[str, int]
    """Number of dead letters, and of messages that wait because of an error, by their publisher."""
    not_found: dict[str, int]
    """Sessions that were not found in the last hour, of publishers most of whose sessions were not."""
    complete: bool
    unread: list[str]
    """What was not examined, in sentences."""
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
        return bool(self.advice) or self.stalled


async def status(
    address: QueueAddress,
    limit: int,
    outcomes: QueueAddress | None = None,
    cloud: LocalCloud | None = None,
) -> Status:
    """Count up to `limit` messages of each of the two queues, and of the receipts in `outcomes`.

    If messages wait, look again until one has ended, for a few seconds. All counts are of the last
    reading. `cloud` is the local cloud, if it is one.
    """
    first = reading = await _read(address, limit)
    began, seconds = time.monotonic(), 0.0
    while findings(reading, first, seconds).stalled and seconds < _watch(reading):
        await asyncio.sleep(_EVERY_SECONDS)
        reading = await _read(address, limit)
        seconds = time.monotonic() - began
    if outcomes is not None:
        try:
            async with outcomes.receiver() as receiver:
                reading = replace(reading, receipts=await first_receipts(receiver, limit))
        except Failure as failure:
            reading = replace(reading, receipts_failure=failure.cause)
    if cloud is not None:
        reading = await with_local_facts(reading, cloud, address.queue)
    return findings(reading, first, seconds)


def _watch(reading: Reading) -> float:
    return _KNOWN_SECONDS if all(each.last_error for each in reading.waiting) else WATCH_SECONDS


async def with_local_facts(reading: Reading, cloud: LocalCloud, queue: str) -> Reading:
    """Add what only the local cloud tells: how many messages are locked, and the function's log."""
    try:
        locked = (await cloud.queue(queue)).get("locked")
    except CloudDown:
        locked = None
    since = datetime.now(UTC) - _RECENT
    lines = [each for each in await asyncio.to_thread(cloud.last_lines) if each.at > since]
    cause = ""
    for facts in (each.facts for each in lines):
        match facts.get("event"):
            case "broker_refuses":
                check = _CHECK_ROLES if facts["queue"] == queue else _CHECK_OUTCOME_QUEUE
                cause = f"The broker refuses what the function sends to {facts['queue']}: {check}"
                cause += f" The reason: {facts['reason']}"
            case "circuit_open":
                cause = ": ".join(cause_of(facts["last_failure"]))
            case "circuit_closed":
                cause = ""
    return replace(reading, locked=locked, lines=lines, cause=cause)


async def _read(address: QueueAddress, limit: int) -> Reading:
    # The queue first: a message that moves in between is then seen in one of the two.
    waiting = await look(address, limit, dead_letters=False)
    dead = await look(address, limit, dead_letters=True)
    return Reading(limit=limit, waiting=waiting, dead=dead)


async def first_receipts(receiver: ServiceBusReceiver, limit: int) -> list[Receipt]:
    """Return the first `limit` receipts in their queue; other messages are left out."""
    found: list[Receipt] = []
    async with aclosing(peek(receiver)) as messages:
        async for message in messages:
            if (receipt := read(message)) is not None:
                found.append(receipt)
            if len(found) == limit:
                break
    return found


def findings(last: Reading, first: Reading | None = None, seconds: float = 0.0) -> Status:
    """Return what is in the queues, what is wrong and what to do.

    Args:
        last: the last reading, of which all counts are.
        first: an earlier reading, to find whether messages have ended since then.
        seconds: the time between the two.
    """
    found = _summary(last)
    slow = _slow_calls(last)
    missing, not_found = _not_found(last.receipts)
    advice = [*slow, *missing, *found.advice]
    complete = max(len(last.waiting), len(last.dead)) < last.limit
    if first and complete and any(s.state == "active" or s.last_error for s in first.waiting):
        ended = len({each.root_id for each in first.waiting} - {e.root_id for e in last.waiting})
        if not ended and seconds and not slow and (cause := _standstill(first, last)):
            advice = [cause, *advice]
        found = replace(found, watched_seconds=round(seconds, 1), ended=ended)
    return replace(found, not_found=not_found, advice=advice)


def _summary(reading: Reading) -> Status:
    waiting, dead = reading.waiting, reading.dead
    states = Counter(seen.state for seen in waiting)
    kinds: dict[str, list[Seen]] = {}
    for seen in waiting:
        is_retry = seen.state == "scheduled" and seen.last_error  # each retry copy has an error
        kinds.setdefault("retry" if is_retry else seen.state, []).append(seen)
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
    publishers = Counter(seen.publisher for seen in wrong)
    return Status(
        active=states["active"],
        scheduled=states["scheduled"],
        retries_scheduled=len(kinds.get("retry", ())),
        deferred=states["deferred"],
        dead_lettered=len(dead),
        publications=len(publications(dead, (), ())),
        oldest_seconds=_oldest(waiting),
        oldest_by_state={kind: age for kind, some in kinds.items() if (age := _oldest(some))},
        oldest_dead_letter_seconds=_oldest(dead),
        waiting_because=dict(because.most_common()),
        dead_letter_reasons=dict(reasons.most_common()),
        publishers=dict(publishers.most_common()),
        not_found={},
        complete=max(len(waiting), len(dead), len(reading.receipts)) < reading.limit,
        unread=_unread(reading),
        advice=[
            *(f"{', '.join(some)}: {remedy}" for remedy, some in names.items()),
            *_delivered_repeatedly(waiting),
            *(
                " ".join((f"{name}: {plain(for_reason(name).remedy)}.", *faults.get(name, ())))
                for name, _ in reasons.most_common()
            ),
        ],
    )


def _unread(reading: Reading) -> list[str]:
    found = []
    if max(len(reading.waiting), len(reading.dead)) >= reading.limit:
        found.append(f"Only the first {reading.limit} messages of each queue were examined.")
    if len(reading.receipts) >= reading.limit:
        found.append(
            f"Only the first {reading.limit} receipts were examined, the last of "
            f"{reading.receipts[-1].time:%Y-%m-%d %H:%M:%SZ}. What later ones say is not counted."
        )
    if reading.receipts_failure:
        found.append(f"No receipts were examined: {reading.receipts_failure}")
    return found


def _slow_calls(reading: Reading) -> list[str]:
    """Say that calls are slow, from the last receipts of a single call, or else from the log."""
    since = datetime.now(UTC) - _RECENT
    seconds = [
        (each.data.last_attempt_at - each.data.first_attempt_at).total_seconds()
        for each in reading.receipts
        if each.time > since
        and each.data.attempts == 1
        and each.data.first_attempt_at
        and each.data.last_attempt_at
    ] or [
        line.facts["ms_in_call"] / 1000 / len(line.facts["asked"])
        for line in reading.lines
        if line.at > since and line.facts.get("outcome") in ("deleted", "already_gone")
    ]
    if not seconds or median(seconds) < _SLOW_SECONDS:
        return []
    return [
        f"The calls of the Face API are slow: in the last minutes, half of {len(seconds)} took "
        f"{median(seconds):.0f} s or more. Revocations take longer, and nothing is lost: wait, and see "
        "Azure's status page; 'revoker doctor' shows how long a call takes from this machine."
    ]


def _not_found(receipts: Sequence[Receipt]) -> tuple[list[str], dict[str, int]]:
    """Find publishers of which, in the last hour, at least three sessions and most were not found.

    The alert already-gone uses the same bounds.
    """
    since = datetime.now(UTC) - timedelta(hours=1)
    ended = [
        each.data for each in receipts if each.time > since and each.data.outcome != "dead_lettered"
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
    return advice, most


def _standstill(first: Reading, last: Reading) -> str | None:
    """Return the most likely cause if active messages stayed as they were."""
    if last.cause and last.locked != 0:
        return last.cause
    if not {_state(each) for each in first.waiting} <= {_state(each) for each in last.waiting}:
        return None  # they are delivered, and retried or abandoned
    active = [each for each in last.waiting if each.state == "active"]
    if not active:
        return None
    if last.locked:
        return (
            f"The function holds {last.locked} messages: most likely its calls of the Face API are "
            "slow. Run 'revoker doctor'. If the function was killed, they are free after a minute."
        )
    if last.locked is None and any(each.delivery_count for each in active):
        return _HOLDS
    if last.locked is None and (
        min(each.enqueued_at for each in active) > datetime.now(UTC) - _RECENT
    ):
        return _UNKNOWN
    return _STOPPED


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
