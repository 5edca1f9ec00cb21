"""A retry copy as azure-servicebus sends it.

This module is loaded with the first copy, as that library is.
"""

import json
from datetime import timedelta

from azure.servicebus import ServiceBusMessage

from .message import RetryCopy


def as_message(copy: RetryCopy) -> ServiceBusMessage:
    """Return the copy as a message for the sender."""
    return ServiceBusMessage(
        copy.body,
        message_id=copy.message_id,
        content_type=copy.content_type,
        correlation_id=copy.correlation_id,
        subject=copy.subject,
        application_properties={
            name: _as_amqp(value)  # type: ignore[misc]  # null is allowed
            for name, value in copy.properties.items()
        },
        time_to_live=_time_to_live(copy),
    )


def _time_to_live(copy: RetryCopy) -> timedelta | None:
    # A scheduled message begins to live when it is enqueued.
    if copy.expires_at is None:
        return None
    return max(copy.expires_at - copy.enqueue_at, timedelta(seconds=1))


def _as_amqp(value: object) -> "str | int | float | bool | None":
    """Return a property that came through the host's JSON as the SDK can send it.

    It sends every int as one of 32 bits: a larger one, e.g. Unix milliseconds, is sent as text.
    """
    match value:
        case int() if not -(2**31) <= value < 2**31:
            return str(value)
        case str() | int() | float() | None:
            return value
        case _:
            return json.dumps(value, default=str)
