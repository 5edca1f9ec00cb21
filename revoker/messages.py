"""Messages as peeking shows them: nothing is locked, moved or changed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from azure.servicebus import ServiceBusMessageState, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType

from delete_session.contract import SessionRevoked, SessionType, parse
from delete_session.message import ATTEMPT, FIRST_ENQUEUED, LAST_ERROR, ROOT_ID
from revoker.connection import QueueAddress

# What the SDK adds to the application properties of a dead letter.
DEAD_LETTER_PROPERTIES = ("DeadLetterReason", "DeadLetterErrorDescription")
NO_REASON = "(none)"

_PEEK = 250  # messages per request; Service Bus returns no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One message without its body. All times are aware and in UTC."""

    sequence_number: int
    message_id: str
    root_id: str
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

    @classmethod
    def read(cls, message: ServiceBusReceivedMessage) -> Self:
        """Read a message that a receiver peeked or received."""
        properties = text_keys(message.application_properties)
        enqueued_at = _utc(message.enqueued_time_utc) or datetime.now(UTC)
        body = body_of(message)
        revoked = parse(body, message.content_type) if body is not None else None
        known = revoked if isinstance(revoked, SessionRevoked) else None
        # AMQP allows a number, a UUID or bytes as an id, too.
        message_id = str(_decoded(message.message_id or ""))
        root = properties.get(ROOT_ID)
        attempts = properties.get(ATTEMPT)
        return cls(
            sequence_number=message.sequence_number or 0,
            message_id=message_id or f"sequence-{message.sequence_number}",
            root_id=root if isinstance(root, str) and root else message_id,
            state=_STATES.get(message.state, "active"),
            session_id=revoked.session_id if revoked else None,
            session_type=known.session_type if known else None,
            enqueued_at=enqueued_at,
            first_enqueued_at=_first(properties.get(FIRST_ENQUEUED), enqueued_at),
            expires_at=_utc(message.expires_at_utc),
            scheduled_for=_utc(message.scheduled_enqueue_time_utc),
            delivery_count=message.delivery_count or 0,
            attempts=attempts if isinstance(attempts, int) else 0,
            last_error=_text(properties.get(LAST_ERROR)),
            reason=message.dead_letter_reason or NO_REASON,
            description=message.dead_letter_error_description or "",
            content_type=message.content_type,
            size=len(body or b""),
            properties={
                name: value if isinstance(value, str | int | float | bool) else str(value)
                for name, value in properties.items()
                if name not in DEAD_LETTER_PROPERTIES
            },
        )


_STATES = {
    ServiceBusMessageState.ACTIVE: "active",
    ServiceBusMessageState.DEFERRED: "deferred",
    ServiceBusMessageState.SCHEDULED: "scheduled",
}


async def peek(
    receiver: ServiceBusReceiver, *, start: int = 1, limit: int | None = None
) -> AsyncIterator[ServiceBusReceivedMessage]:
    """Yield every message in any state, in the order of sequence numbers, from `start` on.

    Args:
        receiver: a receiver of the queue or of its dead letters.
        start: the first sequence number.
        limit: the most messages to yield; None for all.
    """
    found = 0
    while limit is None or found < limit:
        wanted = _PEEK if limit is None else min(_PEEK, limit - found)
        messages = await receiver.peek_messages(wanted, sequence_number=start)
        if not messages:
            return
        for message in messages:
            yield message
        found += len(messages)
        start = (messages[-1].sequence_number or start) + 1


async def look(address: QueueAddress, limit: int, *, dead_letters: bool) -> list[Seen]:
    """Return the messages of a queue or of its dead letters, at most `limit` of them."""
    async with address.receiver(dead_letters=dead_letters) as receiver:
        return [Seen.read(message) async for message in peek(receiver, limit=limit)]


def body_of(message: ServiceBusReceivedMessage) -> bytes | None:
    """Return the body's bytes; None for an AMQP sequence and for a value without bytes.

    A text value, such as a TextMessage of JMS, has bytes. The Functions host cannot read it, but a
    copy that carries the bytes as data is what the publisher meant.
    """
    match message.body_type, message.body:
        case AmqpMessageBodyType.DATA, parts:
            return b"".join(parts)
        case AmqpMessageBodyType.VALUE, bytes(text):
            return text
        case _:
            return None


def text_keys(properties: Any) -> dict[str, Any]:
    """Return application properties with keys and texts as str; the SDK leaves them as bytes."""
    return {_decoded(name): _decoded(value) for name, value in (properties or {}).items()}


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _first(value: object, enqueued_at: datetime) -> datetime:
    try:
        first = _utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        first = None
    return min(first or enqueued_at, enqueued_at)
