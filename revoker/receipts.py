"""Receipts of messages that the broker dead-lettered: the function sent none for them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from delete_session.message import History
from delete_session.receipt import Data, make_receipt, published_id
from revoker.connection import QueueAddress
from revoker.messages import Seen, peek, text_keys

BROKER_REASONS = ("MaxDeliveryCountExceeded", "TTLExpiredException")
"""The broker's reasons for dead-lettering: delivered too often, or expired."""

_BATCH = 100

type Tell = Callable[[ServiceBusReceivedMessage], Awaitable[None]]


def receipt_of(message: ServiceBusReceivedMessage, queue: str) -> ServiceBusMessage:
    """Return the receipt of a dead letter, under the id that the function would give it.

    Args:
        message: a peeked or received dead letter.
        queue: of the revocations.
    """
    seen = Seen.read(message)
    properties = text_keys(message.application_properties)
    history = History.read(properties, seen.message_id)
    if history is None:
        history = History(root_id=seen.message_id, first_enqueued_at=seen.enqueued_at)
    data = Data(
        session_id=seen.session_id,
        session_type=seen.session_type,
        outcome="dead_lettered",
        reason=seen.reason,
        description="; the last error: ".join(filter(None, (seen.description, seen.last_error))),
        attempts=history.attempts,
        published_at=history.first_enqueued_at,
        first_attempt_at=history.first_attempt_at,
        last_attempt_at=history.last_attempt_at,
        root_message_id=published_id(history),
    )
    return make_receipt(
        data,
        history=history,
        correlation_id=message.correlation_id,
        trace=properties,
        queue=queue,
        time=datetime.now(UTC),
    )


async def missing(
    address: QueueAddress, takes: Callable[[Seen], bool], *, of_any_reason: bool = False
) -> list[tuple[Seen, ServiceBusMessage]]:
    """Return the receipts of dead letters without one from the function. Changes nothing.

    Args:
        address: the queue's address.
        takes: returns whether a dead letter is selected.
        of_any_reason: also those that the function dead-lettered, with a receipt if receipts were on.
    """
    found = []
    async with address.receiver(dead_letters=True) as receiver:
        async for message in peek(receiver):
            seen = Seen.read(message)
            if takes(seen) and (of_any_reason or seen.reason in BROKER_REASONS):
                found.append((seen, receipt_of(message, address.queue)))
    return found


async def send(
    outcomes: QueueAddress, receipts: Sequence[ServiceBusMessage], progress: Callable[[int], None]
) -> None:
    """Send receipts; the broker confirms each batch before the next is sent."""
    async with outcomes.sender() as sender:
        for start in range(0, len(receipts), _BATCH):
            some = receipts[start : start + _BATCH]
            await sender.send_messages(list(some))
            progress(start + len(some))


@asynccontextmanager
async def telling(outcomes: QueueAddress | None, queue: str) -> AsyncIterator[Tell]:
    """Yield a function that sends the receipt of a dead letter if the broker dead-lettered it.

    Args:
        outcomes: where receipts go; None: nowhere.
        queue: of the revocations.
    """
    if outcomes is None:

        async def nothing(message: ServiceBusReceivedMessage) -> None:
            del message

        yield nothing
        return
    async with outcomes.sender() as sender:

        async def tell(message: ServiceBusReceivedMessage) -> None:
            if message.dead_letter_reason in BROKER_REASONS:
                async with outcomes.explained("Send"):
                    await sender.send_messages(receipt_of(message, queue))

        yield tell
