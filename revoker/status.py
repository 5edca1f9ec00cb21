"""The contents of the queue and of its dead letters, found by peeking."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from revoker.connection import QueueAddress
from revoker.messages import Seen, look


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counts of messages; `complete` is False if there may be more than were examined."""

    active: int
    scheduled: int
    deferred: int
    dead_lettered: int
    oldest_seconds: float | None
    """Age of the oldest pending revocation since its first enqueue; None if nothing is pending."""
    oldest_dead_letter_seconds: float | None
    waiting_because: dict[str, int]
    """Number of retry copies by the HTTP status and code of their last error."""
    dead_letter_reasons: dict[str, int]
    complete: bool


async def status(address: QueueAddress, limit: int) -> Status:
    """Count up to `limit` messages of each of the two queues."""
    waiting, dead = await asyncio.gather(
        look(address, limit, dead_letters=False), look(address, limit, dead_letters=True)
    )
    return summary(waiting, dead, limit)


def summary(waiting: Sequence[Seen], dead: Sequence[Seen], limit: int) -> Status:
    """Count messages; at most `limit` of each of the two queues were examined."""
    states = Counter(seen.state for seen in waiting)
    because = Counter(seen.last_error.partition(":")[0] for seen in waiting if seen.last_error)
    return Status(
        active=states["active"],
        scheduled=states["scheduled"],
        deferred=states["deferred"],
        dead_lettered=len(dead),
        oldest_seconds=_oldest(waiting),
        oldest_dead_letter_seconds=_oldest(dead),
        waiting_because=dict(because),
        dead_letter_reasons=dict(Counter(seen.reason for seen in dead)),
        complete=max(len(waiting), len(dead)) < limit,
    )


def _oldest(messages: Sequence[Seen]) -> float | None:
    if not messages:
        return None
    first = min(seen.first_enqueued_at for seen in messages)
    return round(max(0.0, (datetime.now(UTC) - first).total_seconds()), 1)
