"""The envelope of a CloudEvents 1.0 message, in structured and in binary mode.

As the CloudEvents AMQP protocol binding 1.0.2 has it. Only the data decide about a deletion: of the
attributes, what is missing or wrong is an oddity.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

BATCH = "application/cloudevents-batch"
STRUCTURED_MODE = "application/cloudevents"

_BINARY_MODE = ("cloudEvents:", "cloudEvents_")
_JSON_MEDIA_TYPE = re.compile(r"(?i)\s*[a-z0-9.+-]+/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?$")


class _Envelope(msgspec.Struct, frozen=True):
    """The envelope of structured mode: required attributes, and the data still undecoded."""

    specversion: Literal["1.0"]
    id: Annotated[str, msgspec.Meta(min_length=1)]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    type: Annotated[str, msgspec.Meta(min_length=1)]
    data: msgspec.Raw
    datacontenttype: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)


def data(text: str) -> msgspec.Raw:
    """Return the data of an event in structured mode, undecoded.

    Raises:
        DecodeError: it is not to the letter what the specification asks for.
    """
    event = _envelope.decode(text)
    if event.datacontenttype and not _JSON_MEDIA_TYPE.match(event.datacontenttype):
        raise msgspec.ValidationError("datacontenttype: not JSON")
    return event.data


def odd_properties(media_type: str, properties: Mapping[str, object]) -> list[str]:
    """Return what is odd about the attributes of binary mode; nothing where there are none."""
    attributes = {
        name[len("cloudEvents:") :]: value
        for name, value in properties.items()
        if isinstance(name, str) and name.startswith(_BINARY_MODE)
    }
    if not attributes:
        return []
    oddities = [f"application property cloudEvents:{odd}" for odd in odd_attributes(attributes)]
    if media_type and not _JSON_MEDIA_TYPE.match(media_type):
        oddities.append("content type: not application/json")
    return oddities


def odd_attributes(attributes: Mapping[str, object]) -> list[str]:
    """Return what is odd about the attributes of a CloudEvent, without prefix."""
    oddities = [] if attributes.get("specversion") == "1.0" else ["specversion: not '1.0'"]
    for name in ("id", "source", "type"):
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            oddities.append(f"{name}: not a non-empty string")
    kind = attributes.get("datacontenttype")
    if kind and not (isinstance(kind, str) and _JSON_MEDIA_TYPE.match(kind)):
        oddities.append("datacontenttype: not application/json")
    return oddities
