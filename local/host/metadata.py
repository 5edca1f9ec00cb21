"""The trigger metadata that the host passes to the worker with a message."""

from collections.abc import Mapping
from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage

type OddMetadata = Mapping[str, Mapping[str, object]]
"""By message id, what replaces the metadata of a message and of its copies; None: nothing."""


def metadata(message: ServiceBusReceivedMessage, odd: OddMetadata) -> dict[str, object]:
    """Return trigger metadata under the names and in the forms that the platform's host gives them."""
    told = _metadata(message)
    root_id = str(told["MessageId"]).partition(":")[0]
    return {**told, **odd.get(root_id, {})}


def _metadata(message: ServiceBusReceivedMessage) -> dict[str, object]:
    properties = {
        _text(name): value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in (message.application_properties or {}).items()
    }
    return {
        "MessageId": _id(message.message_id),
        "LockToken": str(message.lock_token),
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "EnqueuedTimeUtc": _naive(message.enqueued_time_utc),
        "ExpiresAtUtc": _naive(message.expires_at_utc) or "9999-12-31T23:59:59.9999999",
        "SequenceNumber": message.sequence_number,
        "CorrelationId": _id(message.correlation_id),
        "ContentType": message.content_type,
        "Subject": message.subject,
        "Label": message.subject,
        "To": message.to,
        "ReplyTo": message.reply_to,
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }


def _id(value: object) -> str | None:
    # AMQP allows a number, a UUID or bytes; .NET makes text of all of them.
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _naive(time: datetime | None) -> str | None:
    # The host hands over DateTimeOffset.DateTime, which is serialised without an offset.
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() if time else None
