"""A message as its publisher encoded it, what the broker reads of it and what it adds.

Source: AMQP 1.0, part 3, section 3.2. The bare message (properties, application properties, body)
stays as it came, byte for byte, except for a message id if there is none, and application
properties that a settlement adds.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from . import encoding
from .encoding import Described, EncodingError, Symbol

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS = 0x70, 0x71, 0x72
PROPERTIES, APPLICATION_PROPERTIES = 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78

_SECTIONS_BY_NAME = {
    "amqp:header:list": HEADER,
    "amqp:delivery-annotations:map": DELIVERY_ANNOTATIONS,
    "amqp:message-annotations:map": MESSAGE_ANNOTATIONS,
    "amqp:properties:list": PROPERTIES,
    "amqp:application-properties:map": APPLICATION_PROPERTIES,
    "amqp:data:binary": DATA,
    "amqp:amqp-sequence:list": SEQUENCE,
    "amqp:amqp-value:*": VALUE,
    "amqp:footer:map": FOOTER,
}

SCHEDULED_ENQUEUE_TIME = "x-opt-scheduled-enqueue-time"
SEQUENCE_NUMBER = "x-opt-sequence-number"
ENQUEUED_TIME = "x-opt-enqueued-time"
LOCKED_UNTIL = "x-opt-locked-until"
MESSAGE_STATE = "x-opt-message-state"
LOCK_TOKEN = "x-opt-lock-token"  # a delivery annotation
_OWNED_BY_BROKER = frozenset(
    (SEQUENCE_NUMBER, ENQUEUED_TIME, LOCKED_UNTIL, MESSAGE_STATE, LOCK_TOKEN)
)


def section(code: int, value: bytes) -> bytes:
    """Return one encoded message section."""
    return encoding.described(code, value)


def split(encoded: bytes) -> list[tuple[int, bytes]]:
    """Split a message into sections, each a code and an encoded value; raise EncodingError."""
    sections = []
    at = 0
    while at < len(encoded):
        if encoded[at] != 0x00:
            raise EncodingError("a message section was expected")
        descriptor, start = encoding.decode(encoded, at + 1)
        if isinstance(descriptor, Symbol):
            descriptor = _SECTIONS_BY_NAME.get(descriptor)
        if not isinstance(descriptor, int) or not HEADER <= descriptor <= FOOTER:
            raise EncodingError("an unknown message section")
        at = encoding.skip(encoded, start)
        sections.append((descriptor, encoded[start:at]))
    return sections


@dataclass(frozen=True, slots=True)
class Message:
    """An encoded message, split into the parts that a broker deals with.

    `delivery_annotations`, `annotations` and `application_properties` are encoded maps,
    `properties` is an encoded list (each empty if absent); `body` is the rest, section descriptors
    included, and empty if there is none. `ttl_ms` is the
    header's time to live.
    """

    durable: bool
    priority: int | None
    ttl_ms: int | None
    delivery_annotations: bytes
    annotations: bytes
    properties: bytes
    application_properties: bytes
    body: bytes
    message_id: str | None
    absolute_expiry_ms: int | None
    scheduled_for_ms: int | None
    size: int

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Split an encoded message into its parts; raise EncodingError."""
        parts: dict[int, bytes] = {}
        body = []
        for code, value in split(encoded):
            if code in (DATA, SEQUENCE, VALUE, FOOTER):
                body.append(section(code, value))
            else:
                parts[code] = value
        header = _list_of(parts.get(HEADER, encoding.NULL))
        properties = _list_of(parts.get(PROPERTIES, encoding.NULL))
        annotations = parts.get(MESSAGE_ANNOTATIONS, b"")
        encoding.map_items(parts.get(APPLICATION_PROPERTIES, b""))  # refuses an invalid map now
        return cls(
            durable=bool(_at(header, 0)),
            priority=_at(header, 1),
            ttl_ms=_at(header, 2),
            delivery_annotations=parts.get(DELIVERY_ANNOTATIONS, b""),
            annotations=annotations,
            properties=parts.get(PROPERTIES, b""),
            application_properties=parts.get(APPLICATION_PROPERTIES, b""),
            body=b"".join(body),
            message_id=_identifier(_at(properties, 0)),
            absolute_expiry_ms=_at(properties, 8),
            scheduled_for_ms=_scheduled_for(annotations),
            size=len(encoded),
        )

    def encode(
        self,
        *,
        delivery_count: int = 0,
        ttl_ms: int | None = None,
        delivery_annotations: Mapping[str, bytes] | None = None,
        annotations: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Return the whole message, with what the broker adds.

        `ttl_ms` replaces the header's time to live if given. The values of both kinds of
        annotations are encoded; they replace a publisher's own of the same name.
        """
        if ttl_ms is None:
            ttl_ms = self.ttl_ms
        header = [
            encoding.boolean(self.durable),
            encoding.NULL if self.priority is None else encoding.ubyte(self.priority),
            encoding.NULL if ttl_ms is None else encoding.uint(min(ttl_ms, 0xFFFFFFFF)),
            encoding.NULL,  # first-acquirer
            encoding.uint(delivery_count),
        ]
        parts = [section(HEADER, encoding.sequence(header))]
        for code, own, added in (
            (DELIVERY_ANNOTATIONS, self.delivery_annotations, delivery_annotations),
            (MESSAGE_ANNOTATIONS, self.annotations, annotations),
        ):
            if own or added:
                parts.append(section(code, own if added is None else _merged(own, added)))
        if self.properties:
            parts.append(section(PROPERTIES, self.properties))
        if self.application_properties:
            parts.append(section(APPLICATION_PROPERTIES, self.application_properties))
        parts.append(self.body)
        return b"".join(parts)

    def with_message_id(self, message_id: str) -> Self:
        """Return the message with another message id."""
        others = encoding.list_items(self.properties)[1:]
        properties = encoding.sequence([encoding.string(message_id), *others])
        return replace(self, message_id=message_id, properties=properties)

    def with_application_properties(self, changes: Mapping[str, Any]) -> Self:
        """Return the message with some application properties added or replaced."""
        if not changes:
            return self
        kept = [
            pair
            for key, pair in encoding.map_items(self.application_properties)
            if key not in changes
        ]
        added = [encoding.string(key) + encoding.primitive(v) for key, v in changes.items()]
        return replace(self, application_properties=encoding.mapping(kept + added))

    def read_application_properties(self) -> dict[str, Any]:
        """Return the application properties as Python values."""
        if not self.application_properties:
            return {}
        value: dict[str, Any] = encoding.decode(self.application_properties)[0] or {}
        return value

    def read_properties(self) -> dict[str, Any]:
        """Return the properties section as Python values, under the AMQP standard's names."""
        values = _list_of(self.properties or encoding.NULL)
        return {k: v for k, v in zip(_PROPERTY_NAMES, values, strict=False) if v is not None}


def _merged(own: bytes, added: Mapping[str, bytes]) -> bytes:
    """Return an encoded map of a publisher's annotations and the broker's."""
    kept = [pair for key, pair in encoding.map_items(own) if key not in _OWNED_BY_BROKER]
    return encoding.mapping(kept + [encoding.symbol(key) + v for key, v in added.items()])


_PROPERTY_NAMES = (
    "message-id",
    "user-id",
    "to",
    "subject",
    "reply-to",
    "correlation-id",
    "content-type",
    "content-encoding",
    "absolute-expiry-time",
    "creation-time",
    "group-id",
    "group-sequence",
    "reply-to-group-id",
)


def unpack(encoded: bytes) -> list[Message]:
    """Return the message in a transfer, or those of a batch; raise EncodingError.

    A batch (message format 0x80013700) has one data section per message. Proton does not show a
    transfer's message format, so a batch is recognized by its form: its body has data sections
    only, and each of them holds a complete message.
    """
    sections = split(encoded)
    contents = [value for code, value in sections if code == DATA]
    if contents and all(code not in (SEQUENCE, VALUE, FOOTER) for code, _ in sections):
        inner = [encoding.decode(value)[0] for value in contents]
        if all(isinstance(content, bytes) and content[:2] == b"\x00\x53" for content in inner):
            try:
                return [Message.decode(content) for content in inner]
            except EncodingError:
                pass  # plain data that happens to begin like a message
    return [Message.decode(encoded)]


def request_value(encoded: bytes) -> tuple[bytes, str | None, dict[str, Any], Any]:
    """Read a request to a management node.

    Return the encoded message id, the reply-to address, the application properties and the body.
    """
    message_id, reply_to = encoding.NULL, None
    application_properties: dict[str, Any] = {}
    body: Any = None
    for code, value in split(encoded):
        match code:
            case 0x73:
                properties = _list_of(value)
                reply_to = _at(properties, 4)
                message_id = next(iter(encoding.list_items(value)), encoding.NULL)
            case 0x74:
                application_properties = encoding.decode(value)[0] or {}
            case 0x77:
                body = encoding.decode(value)[0]
    return message_id, reply_to, application_properties, body


def response(message_id: bytes, application_properties: Iterable[bytes], body: bytes) -> bytes:
    """Return the encoded answer to the request with this encoded message id."""
    properties = [encoding.NULL] * 5 + [message_id]
    return (
        section(PROPERTIES, encoding.sequence(properties))
        + section(APPLICATION_PROPERTIES, encoding.mapping(application_properties))
        + section(VALUE, body)
    )


def readable(value: Any) -> Any:
    """Return a decoded AMQP value as something JSON can express."""
    match value:
        case None | bool() | float() | str() | int():
            return value
        case uuid.UUID():
            return str(value)
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case dict():
            return {str(k): readable(v) for k, v in value.items()}
        case list():
            return [readable(v) for v in value]
        case Described():
            return readable(value.value)
        case _:
            return str(value)


def _list_of(encoded: bytes) -> list[Any]:
    value = encoding.decode(encoded)[0]
    if value is None:
        return []
    if not isinstance(value, list):
        raise EncodingError("a list was expected")
    return value


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _identifier(value: Any) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else str(value)


def _scheduled_for(annotations: bytes) -> int | None:
    for key, pair in encoding.map_items(annotations):
        if key == SCHEDULED_ENQUEUE_TIME:
            _, start = encoding.decode(pair)
            value = encoding.decode(pair, start)[0]
            return int(value) if isinstance(value, int) else None
    return None
