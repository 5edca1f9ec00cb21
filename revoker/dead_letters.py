"""Look at dead letters, and select some of them. Nothing is locked, moved or changed."""

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure
from revoker.messages import Seen, body_of, walk
from revoker.remedies import is_known


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are wanted; an empty condition does not matter."""

    reasons: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    session: str | None = None
    since: datetime | None = None
    """The earliest time of the first enqueue."""
    before: datetime | None = None
    """The time before which the first enqueue must lie."""

    def takes(self, seen: Seen) -> bool:
        """Tell whether this dead letter is wanted."""
        return (
            (not self.reasons or seen.reason in self.reasons)
            and (not self.numbers or seen.sequence_number in self.numbers)
            and self.session in (None, seen.session_id)
            and (self.since is None or seen.first_enqueued_at >= self.since)
            and (self.before is None or seen.first_enqueued_at < self.before)
        )


async def select(
    address: QueueAddress, selection: Selection, limit: int | None = None
) -> list[Seen]:
    """Return the selected dead letters, oldest first. Changes nothing.

    Raises:
        Failure: no dead letter has one of the reasons, and none could have.
    """
    found: list[Seen] = []
    reasons: Counter[str] = Counter()
    numbers = selection.numbers
    async with aclosing(walk(address, start=min(numbers, default=1))) as messages:
        async for message in messages:
            seen = Seen.read(message)
            if numbers and seen.sequence_number > max(numbers):
                break
            reasons[seen.reason] += 1
            if selection.takes(seen):
                found.append(seen)
            if limit is not None and len(found) >= limit:
                break
    unknown = {each for each in selection.reasons - reasons.keys() if not is_known(each)}
    if unknown and reasons and not found:
        there = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        raise Failure(
            f"No dead letter has the reason {', '.join(sorted(unknown))}.",
            f"There are: {there}.",
            Exit.USAGE,
        )
    return found


async def show(address: QueueAddress, sequence_number: int) -> tuple[Seen, bytes | None]:
    """Return one dead letter and its body.

    Raises:
        Failure: no dead letter has this number.
    """
    async with aclosing(walk(address, start=sequence_number, limit=1)) as messages:
        async for message in messages:
            if message.sequence_number == sequence_number:
                return Seen.read(message), body_of(message)
    raise Failure(
        f"There is no dead letter number {sequence_number}.",
        "'revoker dead-letters list' shows the numbers.",
        Exit.WRONG,
    )
