"""The receipts in their queue, as peeking shows them: none is taken from its publisher."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

import msgspec
from azure.servicebus import ServiceBusReceivedMessage

from delete_session.receipt import Data
from revoker.connection import QueueAddress
from revoker.failure import Failure
from revoker.messages import body_of, look, walk


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt."""

    number: int
    """Its sequence number in its queue."""
    id: str
    time: datetime
    data: Data


class _Event(msgspec.Struct):
    id: str
    time: datetime
    data: Data


async def readable(outcomes: QueueAddress | None) -> tuple[QueueAddress | None, str]:
    """Return where receipts can be read, or why they cannot."""
    if outcomes is None:
        return None, "OUTCOME_QUEUE is not set."
    try:
        await look(outcomes, 1, dead_letters=False)
    except Failure as failure:
        return None, failure.cause
    return outcomes, ""


async def receipts(outcomes: QueueAddress, start: int = 1) -> AsyncGenerator[Receipt]:
    """Yield the receipts that are in their queue, oldest first; other messages are left out.

    A caller that stops early must close it (`aclosing`).

    Args:
        outcomes: the queue of the receipts; the right to Listen is needed.
        start: the first sequence number.
    """
    async with aclosing(walk(outcomes, dead_letters=False, start=start)) as messages:
        async for message in messages:
            if (receipt := read(message)) is not None:
                yield receipt


def read(message: ServiceBusReceivedMessage) -> Receipt | None:
    """Read a peeked message; return None if it is no receipt."""
    try:
        event = msgspec.json.decode(body_of(message) or b"", type=_Event)
    except (msgspec.DecodeError, RecursionError):
        return None
    return Receipt(message.sequence_number or 0, event.id, event.time, event.data)
