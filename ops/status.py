"""`revoker status`: what is in the queue and in its dead-letter queue, by peeking."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ops.connection import QueueAddress
from ops.messages import Seen, peek


@dataclass(slots=True)
class Status:
    """Counts of messages; `complete` is False where there are more than were looked at."""

    active: int = 0
    scheduled: int = 0
    deferred: int = 0
    dead_lettered: int = 0
    oldest_seconds: float | None = None
    """Age of the oldest revocation that is not done, from its first enqueue; None: there is none."""
    oldest_dead_letter_seconds: float | None = None
    waiting_because: dict[str, int] = field(default_factory=dict)
    """What stood in the way of the retry copies last: HTTP status and code."""
    dead_letter_reasons: dict[str, int] = field(default_factory=dict)
    complete: bool = True


async def status(address: QueueAddress, limit: int) -> Status:
    """Look at up to `limit` messages of each of the two queues."""
    result = Status()
    now = datetime.now(UTC)
    because: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    async with address.receiver() as receiver:
        async for message in peek(receiver, limit=limit):
            seen = Seen.read(message)
            match seen.state:
                case "scheduled":
                    result.scheduled += 1
                case "deferred":
                    result.deferred += 1
                case _:
                    result.active += 1
            result.oldest_seconds = _older(result.oldest_seconds, seen, now)
            if seen.last_error:
                because[seen.last_error.partition(":")[0]] += 1
    async with address.receiver(dead_letters=True) as receiver:
        async for message in peek(receiver, limit=limit):
            seen = Seen.read(message)
            result.dead_lettered += 1
            reasons[seen.reason] += 1
            result.oldest_dead_letter_seconds = _older(result.oldest_dead_letter_seconds, seen, now)
    result.waiting_because, result.dead_letter_reasons = dict(because), dict(reasons)
    waiting = result.active + result.scheduled + result.deferred
    result.complete = max(waiting, result.dead_lettered) < limit
    return result


def _older(age: float | None, seen: Seen, now: datetime) -> float:
    seconds = max(0.0, (now - seen.first_enqueued_at).total_seconds())
    return round(max(age or 0.0, seconds), 1)
