"""Messages as peeking shows them: nothing is locked, moved or changed."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from azure.servicebus import ServiceBusMessageState, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType

from delete_session.contract import SessionRevoked, SessionType, parse
from delete_session.message import History, published_id
from revoker.amqp import readable, remember_types
from revoker.connection import QueueAddress, answered

remember_types()

# What the SDK adds to the application properties of a dead letter.
REASON = "DeadLetterReason"
DESCRIPTION = "DeadLetterErrorDescription"
NO_REASON = "(none)"
UNNAMED = "unnamed"

_PEEK = 250  # messages per request; Service Bus returns no more
_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)  # no message is older than Service Bus


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One message without its body. All times are aware and in UTC."""

    sequence_number: int
    message_id: str
    root_id: str
    """Message id under which it was published, as far as that can be known."""
    state: str
    """`active`, `deferred` or `scheduled`; a locked message counts as active."""
    session_id: str | None
    session_type: SessionType | None
    enqueued_at: datetime
    first_enqueued_at: datetime
    expires_at: datetime | None
    scheduled_for: datetime | None
    delivery_count: int
    attempts: int
    last_error: str | None
    reason: str
    description: str
    content_type: str | None
    size: int
    properties: dict[str, Any]

    @property
    def publisher(self) -> str:
        """Who published it, as far as it says."""
        return str(self.properties.get("publisher") or UNNAMED)

    @property
    def publication(self) -> tuple[str, str | None]:
        """What tells it from other publications: nothing keeps publishers from using an id twice."""
        return self.root_id, self.session_id

    @classmethod
    def read(cls, message: ServiceBusReceivedMessage) -> Self:
        """Read a message that a receiver peeked or received."""
        properties = properties_of(message)
        enqueued_at = _time(lambda: message.enqueued_time_utc) or datetime.now(UTC)
        content_type = text_of(message, "content_type")
        body = body_of(message)
        revoked = parse(body, content_type) if body is not None else None
        known = revoked if isinstance(revoked, SessionRevoked) else None
        message_id = id_of(message)
        history = History.read(properties, message_id)
        return cls(
            sequence_number=message.sequence_number or 0,
            message_id=message_id,
            root_id=published_id(history.root_id if history else message_id, properties),
            state=_STATES.get(message.state, "active"),
            session_id=revoked.session_id if revoked else None,
            session_type=known.session_type if known else None,
            enqueued_at=enqueued_at,
            first_enqueued_at=_first(history, enqueued_at),
            expires_at=_time(lambda: message.expires_at_utc),
            scheduled_for=_time(lambda: message.scheduled_enqueue_time_utc),
            delivery_count=message.delivery_count or 0,
            attempts=history.attempts if history else 0,
            last_error=(history.last_error if history else "") or None,
            reason=str(properties.get(REASON) or NO_REASON),
            description=str(properties.get(DESCRIPTION) or ""),
            content_type=content_type,
            size=len(body or b""),
            properties={
                name: value
                for name, value in properties.items()
                if name not in (REASON, DESCRIPTION)
            },
        )


_STATES = {
    ServiceBusMessageState.ACTIVE: "active",
    ServiceBusMessageState.DEFERRED: "deferred",
    ServiceBusMessageState.SCHEDULED: "scheduled",
}


async def peek(
    receiver: ServiceBusReceiver, *, start: int = 1, limit: int | None = None
) -> AsyncGenerator[ServiceBusReceivedMessage]:
    """Yield every message in any state, in the order of sequence numbers, from `start` on.

    Args:
        receiver: a receiver of the queue or of its dead letters.
        start: the first sequence number.
        limit: the maximum number of messages; None for all.
    """
    found = 0
    while limit is None or found < limit:
        wanted = _PEEK if limit is None else min(_PEEK, limit - found)
        messages = await answered(receiver.peek_messages(wanted, sequence_number=start))
        if not messages:
            return
        for message in messages:
            yield message
        found += len(messages)
        start = (messages[-1].sequence_number or start) + 1


async def walk(
    address: QueueAddress, *, dead_letters: bool = True, start: int = 1, limit: int | None = None
) -> AsyncGenerator[ServiceBusReceivedMessage]:
    """Open a receiver, and yield what `peek` finds.

    A caller that stops early must close it (`aclosing`).
    """
    async with address.receiver(dead_letters=dead_letters) as receiver:
        async for message in peek(receiver, start=start, limit=limit):
            yield message


async def look(address: QueueAddress, limit: int, *, dead_letters: bool) -> list[Seen]:
    """Return the messages of a queue or of its dead letters, at most `limit` of them."""
    async with aclosing(walk(address, dead_letters=dead_letters, limit=limit)) as messages:
        return [Seen.read(message) async for message in messages]


def body_of(message: ServiceBusReceivedMessage) -> bytes | None:
    """Return the body's bytes; None for an AMQP sequence and for a value without bytes.

    A text value, such as a TextMessage of JMS, has bytes. The Functions host cannot read it, but a
    copy that carries the bytes as data is what the publisher meant.
    """
    match message.body_type, message.body:
        case AmqpMessageBodyType.DATA, parts:
            return b"".join(parts)
        case AmqpMessageBodyType.VALUE, bytes(text):
            return bytes(text)
        case _:
            return None


def properties_of(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    """Return the application properties as text, numbers and truth values."""
    properties: Mapping[Any, Any] = message.application_properties or {}
    return {str(readable(name)): readable(value) for name, value in properties.items()}


def text_of(message: ServiceBusReceivedMessage, name: str) -> str | None:
    """Return a property of the AMQP message, such as `subject`, as text; None where it is empty."""
    value = readable(getattr(message.raw_amqp_message.properties, name, None))
    return None if value is None or value == "" else str(value)


def id_of(message: ServiceBusReceivedMessage) -> str:
    """Return the message id as text: AMQP allows a number, a UUID or bytes, too."""
    return text_of(message, "message_id") or f"sequence-{message.sequence_number}"


def _time(read: Callable[[], datetime | None]) -> datetime | None:
    try:
        time = read()
        return time and (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    # A time before or after all that Python knows, or an annotation that is none.
    except (ValueError, OverflowError, OSError, AttributeError, TypeError):
        return None


def _first(history: History | None, enqueued_at: datetime) -> datetime:
    if history is not None and _EARLIEST < history.first_enqueued_at < enqueued_at:
        return history.first_enqueued_at.astimezone(UTC)
    return enqueued_at
