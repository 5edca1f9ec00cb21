"""What the host tells the worker about a message besides its body."""

from collections.abc import Mapping
from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage

type OddMetadata = Mapping[str, Mapping[str, object]]
"""By message id, what is told of a message and of its copies instead of the truth; None: nothing."""


def metadata(message: ServiceBusReceivedMessage, odd: OddMetadata) -> dict[str, object]:
    """Return trigger metadata under the names and in the forms that the platform's host gives them."""
    root_id = (message.message_id or "").partition(":")[0]
    return {**_metadata(message), **odd.get(root_id, {})}


def _metadata(message: ServiceBusReceivedMessage) -> dict[str, object]:
    properties = {
        _text(name): value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in (message.application_properties or {}).items()
    }
    return {
        "MessageId": message.message_id,
        "LockToken": str(message.lock_token),
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "EnqueuedTimeUtc": _naive(message.enqueued_time_utc),
        "ExpiresAtUtc": _naive(message.expires_at_utc) or "9999-12-31T23:59:59.9999999",
        "SequenceNumber": message.sequence_number,
        "CorrelationId": message.correlation_id,
        "ContentType": message.content_type,
        "Subject": message.subject,
        "Label": message.subject,
        "To": message.to,
        "ReplyTo": message.reply_to,
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _naive(time: datetime | None) -> str | None:
    # The host hands over DateTimeOffset.DateTime, which is serialised without an offset.
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() if time else None
