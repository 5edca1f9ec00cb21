"""The copy that replaces a dead letter in the queue."""

import hashlib
from datetime import datetime

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from delete_session.message import PROPERTIES, PUBLISHED_ID
from revoker.amqp import readable, typed
from revoker.messages import DESCRIPTION, REASON, Seen, body_of, text_of

MAX_MESSAGE_ID = 128  # characters, by Service Bus

# Application properties in which a resubmitted message carries its history.
FROM_REASON = "revoker-resubmitted-from-reason"
FROM_DESCRIPTION = "revoker-resubmitted-from-description"
COUNT = "revoker-resubmitted-count"
AT = "revoker-resubmitted-at"

_MAX_COUNT = 1_000_000


class CannotCopy(Exception):
    """No copy would be what the publisher sent, or the broker takes none. The text says why."""


def copy_of(message: ServiceBusReceivedMessage, now: datetime) -> ServiceBusMessage:
    """Make the message that replaces a dead letter: its retry deadline restarts, its history stays.

    The publisher's properties keep their AMQP types.

    Raises:
        CannotCopy: the body has no bytes.
    """
    seen = Seen.read(message)
    body = body_of(message)
    if body is None:
        raise CannotCopy("its body is neither bytes nor text, but another AMQP value")
    ours = (*PROPERTIES, REASON, DESCRIPTION)
    count = seen.properties.get(COUNT)
    kept = {
        name: typed(value)
        for name, value in (message.application_properties or {}).items()
        if readable(name) not in ours
    }
    properties = {
        **{readable(name): value for name, value in kept.items()},
        PUBLISHED_ID: seen.root_id,
        FROM_REASON: seen.reason,
        FROM_DESCRIPTION: seen.description,
        COUNT: (count if isinstance(count, int) and 0 <= count < _MAX_COUNT else 0) + 1,
        AT: now.isoformat(timespec="seconds"),
    }
    copy = ServiceBusMessage(
        body,
        message_id=copy_id(seen.root_id, now),
        content_type=seen.content_type,
        subject=text_of(message, "subject"),
        application_properties=properties,
        # Without a time to live, it lives as long as any new message of the queue.
    )
    before, after = message.raw_amqp_message.properties, copy.raw_amqp_message.properties
    if before is not None and after is not None:
        after.correlation_id = before.correlation_id
        if type(after.correlation_id) is bytes:  # text; the SDK would send it as binary
            after.correlation_id = readable(after.correlation_id)
    return copy


def copy_id(root_id: str, now: datetime) -> str:
    """Return the message id of a copy: another one each time, so that it is never dropped.

    A copy under an id that the queue has seen is dropped without a trace, although the copy before it
    may have failed and been discarded. Two copies are harmless: the second finds the session gone.
    """
    suffix = f":resubmit:{int(now.timestamp() * 1_000_000)}"
    if len(root_id) + len(suffix) > MAX_MESSAGE_ID:
        root_id = hashlib.sha256(root_id.encode("utf-8", "replace")).hexdigest()
    return root_id + suffix
