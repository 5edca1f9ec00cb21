"""The dead-letter desk: look, put back, throw away.

Looking is peeking. To take a message out of the dead-letter queue it must be received, and messages
come in the broker's order, not by wish: the wanted ones are chosen by peeking first, and what
comes besides is given back at the end.
"""

import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from delete_session.history import ATTEMPT, COPY, FIRST_ENQUEUED, LAST_ERROR, ROOT_ID
from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure
from revoker.messages import DEAD_LETTER_PROPERTIES, Seen, body_of, peek, text_keys
from revoker.publish import MAX_MESSAGE_ID

# Application properties that a resubmitted message carries: its history.
FROM_REASON = "revoker-resubmitted-from-reason"
FROM_DESCRIPTION = "revoker-resubmitted-from-description"
COUNT = "revoker-resubmitted-count"
AT = "revoker-resubmitted-at"

_BATCH = 20  # few enough to be settled well within the lock duration
_RECEIVE_SECONDS = 2.0

type Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters; what is None does not matter."""

    reason: str | None = None
    session: str | None = None
    since: datetime | None = None
    """First enqueued at or after."""
    sequence_number: int | None = None

    def takes(self, seen: Seen) -> bool:
        """Whether this dead letter is selected."""
        return (
            self.reason in (None, seen.reason)
            and self.session in (None, seen.session_id)
            and self.sequence_number in (None, seen.sequence_number)
            and (self.since is None or seen.first_enqueued_at >= self.since)
        )


@dataclass(slots=True)
class Outcome:
    """What became of the selected dead letters, by sequence number."""

    selected: int
    settled: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    """Left where they are, and why."""


async def select(
    address: QueueAddress, selection: Selection, limit: int | None = None
) -> list[Seen]:
    """The selected dead letters, oldest first; changes nothing."""
    start = selection.sequence_number or 1
    found: list[Seen] = []
    async with address.receiver(dead_letters=True) as receiver:
        async for message in peek(receiver, start=start):
            seen = Seen.read(message)
            if selection.takes(seen):
                found.append(seen)
            if limit is not None and len(found) >= limit:
                break
            if selection.sequence_number is not None:
                break  # it would have been the first
    return found


async def show(address: QueueAddress, sequence_number: int) -> tuple[Seen, bytes | None]:
    """One dead letter and its body.

    Raises:
        Failure: there is none with this number.
    """
    async with address.receiver(dead_letters=True) as receiver:
        async for message in peek(receiver, start=sequence_number, limit=1):
            if message.sequence_number == sequence_number:
                return Seen.read(message), body_of(message)
    raise Failure(
        f"There is no dead letter number {sequence_number}.",
        "'revoker dead-letters list' shows which there are.",
        Exit.WRONG,
    )


async def resubmit(
    address: QueueAddress, wanted: Sequence[Seen], patience: float, progress: Progress
) -> Outcome:
    """Put dead letters into the queue again, each as if it were new.

    A copy is sent and confirmed before the dead letter is completed, and its message id follows
    from the dead letter's sequence number: whoever is interrupted between the two and runs it again
    within the duplicate detection window sends what the broker drops.

    Args:
        address: of the queue.
        wanted: which, by `select`.
        patience: seconds to wait for messages that somebody else has locked.
        progress: told how many are done.
    """
    async with address.sender() as sender:

        async def settle(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
            await sender.send_messages(copy_of(message, datetime.now(UTC)))
            await receiver.complete_message(message)

        return await _settle_all(address, wanted, patience, settle, progress)


async def discard(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: TextIO,
    patience: float,
    progress: Progress,
) -> Outcome:
    """Complete dead letters; each is written to the record before. Arguments as of `resubmit`.

    Args:
        record: JSON lines are added to it; no bodies, but their SHA-256.
    """

    async def settle(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        line = {"discarded_at": datetime.now(UTC), **asdict(Seen.read(message))}
        body = body_of(message)
        line["body_sha256"] = None if body is None else hashlib.sha256(body).hexdigest()
        record.write(json.dumps(line, default=str) + "\n")
        record.flush()
        os.fsync(record.fileno())
        await receiver.complete_message(message)

    return await _settle_all(address, wanted, patience, settle, progress)


def copy_of(message: ServiceBusReceivedMessage, now: datetime) -> ServiceBusMessage:
    """What is sent in the place of a dead letter: the effort starts anew, the history stays.

    Raises:
        _Uncopiable: the body has no bytes.
    """
    seen = Seen.read(message)
    body = body_of(message)
    if body is None:
        raise _Uncopiable("its body is neither bytes nor text but another AMQP value")
    properties = text_keys(message.application_properties)
    for name in (ATTEMPT, COPY, FIRST_ENQUEUED, LAST_ERROR, *DEAD_LETTER_PROPERTIES):
        properties.pop(name, None)
    count = properties.get(COUNT)
    properties |= {
        ROOT_ID: seen.root_id,
        FROM_REASON: seen.reason,
        FROM_DESCRIPTION: seen.description,
        COUNT: (count if isinstance(count, int) else 0) + 1,
        AT: now.isoformat(timespec="seconds"),
    }
    return ServiceBusMessage(
        body,
        message_id=resubmitted_id(seen.root_id, seen.sequence_number),
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        subject=message.subject,
        application_properties=properties,  # type: ignore[arg-type]
        # No time to live of its own: it lives as long as a new message of this queue.
    )


def resubmitted_id(root_id: str, sequence_number: int) -> str:
    """Message id of the copy of a dead letter: always the same, and never that of another one."""
    suffix = f":resubmit:{sequence_number}"
    if len(root_id) + len(suffix) > MAX_MESSAGE_ID:
        root_id = hashlib.sha256(root_id.encode()).hexdigest()
    return root_id + suffix


class _Uncopiable(Exception):
    """No copy would be what the publisher sent; the text says why."""


type _Settle = Callable[[ServiceBusReceiver, ServiceBusReceivedMessage], Awaitable[None]]


async def _settle_all(
    address: QueueAddress,
    wanted: Sequence[Seen],
    patience: float,
    settle: _Settle,
    progress: Progress,
) -> Outcome:
    outcome = Outcome(len(wanted))
    left = {seen.sequence_number for seen in wanted}
    for seen in wanted:
        if seen.state == "deferred":
            left.discard(seen.sequence_number)
            outcome.kept[seen.sequence_number] = "deferred: it can be had by whoever deferred it"
    async with address.receiver(dead_letters=True) as receiver:
        others: list[ServiceBusReceivedMessage] = []
        try:
            async for message in _received(receiver, left, patience):
                number = message.sequence_number or 0
                if number not in left:
                    others.append(message)
                    continue
                left.discard(number)
                try:
                    await settle(receiver, message)
                except MessageLockLostError:
                    # Its lock has expired meanwhile: it comes again, and the copy is a duplicate.
                    left.add(number)
                    continue
                except _Uncopiable as why:
                    outcome.kept[number] = str(why)
                    others.append(message)
                    continue
                outcome.settled.append(number)
                progress(len(outcome.settled))
        finally:
            for message in others:
                # What cannot be given back comes back when its lock expires.
                with suppress(ServiceBusError, ValueError):
                    await receiver.abandon_message(message)
    outcome.kept |= dict.fromkeys(sorted(left), "locked by somebody else, or gone")
    return outcome


async def _received(
    receiver: ServiceBusReceiver, left: set[int], patience: float
) -> AsyncIterator[ServiceBusReceivedMessage]:
    """Dead letters as they come, while some of `left` are left and none has been long in coming."""
    until = time.monotonic() + patience
    while left and (seconds := until - time.monotonic()) > 0:
        seconds = min(seconds, _RECEIVE_SECONDS)
        for message in await receiver.receive_messages(_BATCH, max_wait_time=seconds):
            if message.sequence_number in left:
                until = time.monotonic() + patience
            yield message
