"""Receipts of dead letters: the function sends none for those that the broker dead-lettered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.exceptions import MessageSizeExceededError

from delete_session.message import History
from delete_session.receipt import Data, make_receipt
from revoker.connection import QueueAddress, answered
from revoker.failure import first_line
from revoker.messages import UNNAMED, Seen, properties_of, text_of, walk

BROKER_REASONS = ("MaxDeliveryCountExceeded", "TTLExpiredException", "HeaderSizeExceeded")
"""The broker's own reasons: delivered too often, or expired."""

_BATCH = 100
_CANNOT_BE_SENT = (MessageSizeExceededError, ValueError, TypeError, ArithmeticError)

type Tell = Callable[[ServiceBusReceivedMessage], Awaitable[str | None]]
"""Sends a receipt if one is due; returns why it can never be sent, or None."""


def receipt_of(message: ServiceBusReceivedMessage, queue: str) -> ServiceBusMessage:
    """Return the receipt of a dead letter, under the id that the function would give it.

    Args:
        message: a peeked or received dead letter.
        queue: of the revocations.
    """
    seen = Seen.read(message)
    properties = properties_of(message)
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
        root_message_id=seen.root_id,
        publisher=None if seen.publisher == UNNAMED else seen.publisher,
    )
    return make_receipt(
        data,
        history=history,
        correlation_id=text_of(message, "correlation_id"),
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
        takes: whether a dead letter is wanted.
        of_any_reason: also those that the function dead-lettered, with a receipt if receipts were on.
    """
    found = []
    async with aclosing(walk(address)) as messages:
        async for message in messages:
            seen = Seen.read(message)
            if takes(seen) and (of_any_reason or seen.reason in BROKER_REASONS):
                found.append((seen, receipt_of(message, address.queue)))
    return found


async def send(
    outcomes: QueueAddress, receipts: Sequence[ServiceBusMessage], progress: Callable[[int], None]
) -> list[str]:
    """Send receipts; the broker confirms each batch before the next is sent.

    Returns:
        The message ids of those that can never be sent, each with the reason.
    """
    refused: list[str] = []
    async with outcomes.sender() as sender:

        async def send_some(some: Sequence[ServiceBusMessage]) -> None:
            try:
                await answered(sender.send_messages(list(some)))
            except _CANNOT_BE_SENT as error:
                if len(some) == 1:
                    refused.append(f"{some[0].message_id}: {first_line(error)}")
                    return
                for each in some:  # together they are too large, or one of them is wrong
                    await send_some([each])

        for start in range(0, len(receipts), _BATCH):
            await send_some(receipts[start : start + _BATCH])
            progress(min(start + _BATCH, len(receipts)) - len(refused))
    return refused


@asynccontextmanager
async def telling(outcomes: QueueAddress | None, queue: str) -> AsyncIterator[Tell]:
    """Yield a function that sends the receipt of a dead letter, if the broker dead-lettered it.

    Args:
        outcomes: where receipts go; None: nowhere.
        queue: of the revocations.
    """
    if outcomes is None:

        async def nothing(_: ServiceBusReceivedMessage) -> None:
            return None

        yield nothing
        return
    async with outcomes.sender() as sender:

        async def tell(message: ServiceBusReceivedMessage) -> str | None:
            if message.dead_letter_reason not in BROKER_REASONS:
                return None
            try:
                await answered(sender.send_messages(receipt_of(message, queue)))
            except _CANNOT_BE_SENT as error:
                return first_line(error)  # it can never be sent, and must not hold the message up
            except Exception as error:
                async with outcomes.explained("Send"):
                    raise error
            return None

        yield tell
