"""Dead letters: look at them, put them back into the queue, throw them away.

Looking means peeking. A message must be received to be taken out of the dead-letter queue, and the
broker alone decides the order. So the wanted messages are selected by peeking first, and the
others that come along are given back at the end.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from delete_session import message as history
from revoker.carriers import Carrier, carriers
from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure
from revoker.messages import DEAD_LETTER_PROPERTIES, Seen, body_of, peek, text_keys
from revoker.receipts import telling
from revoker.record import Record

MAX_MESSAGE_ID = 128  # characters, by Service Bus

# Application properties in which a resubmitted message carries its history.
FROM_REASON = "revoker-resubmitted-from-reason"
FROM_DESCRIPTION = "revoker-resubmitted-from-description"
COUNT = "revoker-resubmitted-count"
AT = "revoker-resubmitted-at"

_BATCH = 20  # few enough to be settled well before their locks expire
_RECEIVE_SECONDS = 2.0

type Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are wanted; a condition that is None does not matter."""

    reason: str | None = None
    session: str | None = None
    since: datetime | None = None
    """The earliest time of the first enqueue."""
    before: datetime | None = None
    """The time before which the first enqueue must lie."""
    sequence_number: int | None = None

    def takes(self, seen: Seen) -> bool:
        """Tell whether this dead letter is wanted."""
        return (
            self.reason in (None, seen.reason)
            and self.session in (None, seen.session_id)
            and self.sequence_number in (None, seen.sequence_number)
            and (self.since is None or seen.first_enqueued_at >= self.since)
            and (self.before is None or seen.first_enqueued_at < self.before)
        )


@dataclass(slots=True)
class Outcome:
    """What became of the selected dead letters, by sequence number."""

    selected: int
    settled: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    """Why each of these was left where it is."""


async def select(
    address: QueueAddress, selection: Selection, limit: int | None = None
) -> list[Seen]:
    """Return the selected dead letters, oldest first. Changes nothing."""
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
                break  # it would have come first
    return found


async def show(address: QueueAddress, sequence_number: int) -> tuple[Seen, bytes | None]:
    """Return one dead letter and its body.

    Raises:
        Failure: no dead letter has this number.
    """
    async with address.receiver(dead_letters=True) as receiver:
        async for message in peek(receiver, start=sequence_number, limit=1):
            if message.sequence_number == sequence_number:
                return Seen.read(message), body_of(message)
    raise Failure(
        f"There is no dead letter number {sequence_number}.",
        "'revoker dead-letters list' shows the numbers.",
        Exit.WRONG,
    )


async def others_of(
    address: QueueAddress, wanted: Sequence[Seen]
) -> Mapping[str, Sequence[Carrier]]:
    """Return what carries the sessions of these dead letters besides them, by session."""
    return without(wanted, await carriers(address, sessions_of(wanted)))


def sessions_of(wanted: Sequence[Seen]) -> frozenset[str]:
    """Return the sessions that these dead letters name."""
    return frozenset(seen.session_id for seen in wanted if seen.session_id is not None)


def without(
    wanted: Sequence[Seen], found: Mapping[str, Sequence[Carrier]]
) -> Mapping[str, Sequence[Carrier]]:
    """Return what carries sessions besides these dead letters, by session."""
    own = {seen.sequence_number for seen in wanted}
    kept = {
        session: [each for each in some if not (each.dead and each.seen.sequence_number in own)]
        for session, some in found.items()
    }
    return {session: some for session, some in kept.items() if some}


async def resubmit(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: Record,
    patience: float,
    progress: Progress,
    outcomes: QueueAddress | None = None,
) -> Outcome:
    """Put dead letters back into the queue, each as if it were new.

    The broker confirms the copy before the dead letter is completed, and the copy's message id
    follows from the dead letter's sequence number. After an interruption between the two, the next
    run sends the same copy again, and the broker drops it within the duplicate detection window.

    Args:
        address: the queue's address.
        wanted: the dead letters that `select` returned.
        record: gets a line for each.
        patience: seconds to wait for messages that another receiver has locked.
        progress: called with the number of dead letters done so far.
        outcomes: gets the receipts of those that the broker gave up by itself; None for no receipts.
    """
    async with address.sender() as sender, telling(outcomes, address.queue) as tell:

        async def settle(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
            copy = copy_of(message, datetime.now(UTC))
            await tell(message)
            await sender.send_messages(copy)
            record.write("resubmitted", message, new_message_id=copy.message_id)
            await receiver.complete_message(message)

        return await _settle_all(address, wanted, patience, settle, progress)


async def discard(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: Record,
    patience: float,
    progress: Progress,
    outcomes: QueueAddress | None = None,
) -> Outcome:
    """Complete dead letters, and write each to the record first.

    Args:
        address: the queue's address.
        wanted: the dead letters that `select` returned.
        record: gets a line for each.
        patience: seconds to wait for messages that another receiver has locked.
        progress: called with the number of dead letters done so far.
        outcomes: gets the receipts of those that the broker gave up by itself; None for no receipts.
    """

    async def settle(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        await tell(message)
        record.write("discarded", message)
        await receiver.complete_message(message)

    async with telling(outcomes, address.queue) as tell:
        return await _settle_all(address, wanted, patience, settle, progress)


def copy_of(message: ServiceBusReceivedMessage, now: datetime) -> ServiceBusMessage:
    """Make the message that replaces a dead letter: the effort starts anew, the history stays.

    Raises:
        CannotCopy: the body has no bytes.
    """
    seen = Seen.read(message)
    body = body_of(message)
    if body is None:
        raise CannotCopy("its body is neither bytes nor text, but another AMQP value")
    properties = text_keys(message.application_properties)
    for name in (*history.PROPERTIES, *DEAD_LETTER_PROPERTIES):
        properties.pop(name, None)
    count = properties.get(COUNT)
    properties |= {
        history.ROOT_ID: seen.root_id,
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
        # It has no time to live of its own, so that it lives as long as any new message of the queue.
    )


def resubmitted_id(root_id: str, sequence_number: int) -> str:
    """Return the message id of a dead letter's copy: always the same, and its alone."""
    suffix = f":resubmit:{sequence_number}"
    if len(root_id) + len(suffix) > MAX_MESSAGE_ID:
        root_id = hashlib.sha256(root_id.encode()).hexdigest()
    return root_id + suffix


class CannotCopy(Exception):
    """No copy would be what the publisher sent. The text says why."""


type _Settle = Callable[[ServiceBusReceiver, ServiceBusReceivedMessage], Awaitable[None]]


async def _settle_all(
    address: QueueAddress,
    wanted: Sequence[Seen],
    patience: float,
    settle: _Settle,
    progress: Progress,
) -> Outcome:
    deferred = {seen.sequence_number for seen in wanted if seen.state == "deferred"}
    left = {seen.sequence_number for seen in wanted} - deferred
    outcome = Outcome(len(wanted))
    outcome.kept |= dict.fromkeys(deferred, "deferred: only who deferred it can receive it")
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
                    # Its lock has expired: the message comes again, and the broker drops its copy.
                    left.add(number)
                    continue
                except CannotCopy as why:
                    outcome.kept[number] = str(why)
                    others.append(message)
                    continue
                outcome.settled.append(number)
                progress(len(outcome.settled))
        finally:
            for message in others:
                # A message that cannot be given back is free again when its lock expires.
                with suppress(ServiceBusError, ValueError):
                    await receiver.abandon_message(message)
    outcome.kept |= dict.fromkeys(sorted(left), "locked by another receiver, or gone")
    return outcome


async def _received(
    receiver: ServiceBusReceiver, left: set[int], patience: float
) -> AsyncIterator[ServiceBusReceivedMessage]:
    """Yield dead letters as they come, until none of `left` is left or none has come for long.

    Args:
        receiver: a receiver of the dead letters.
        left: the sequence numbers still wanted; the caller removes those that are done.
        patience: seconds to wait for the next wanted one.
    """
    until = time.monotonic() + patience
    while left and (seconds := until - time.monotonic()) > 0:
        seconds = min(seconds, _RECEIVE_SECONDS)
        for message in await receiver.receive_messages(_BATCH, max_wait_time=seconds):
            if message.sequence_number in left:
                until = time.monotonic() + patience
            yield message
