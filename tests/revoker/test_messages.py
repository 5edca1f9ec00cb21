"""What the tools believe of a message, and what they keep of it."""

import struct
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusMessageState
from azure.servicebus._pyamqp import _decode
from azure.servicebus._pyamqp.types import TYPE, VALUE, AMQPTypes
from azure.servicebus.amqp import AmqpMessageBodyType

from delete_session.message import History
from revoker.amqp import typed
from revoker.messages import Seen
from tests.revoker.conftest import OneQueue

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass
class Raw:
    properties: Any = None


@dataclass
class Fake:
    """As much of a received message as `Seen` reads."""

    application_properties: dict[str, Any]
    message_id: str = "m"
    sequence_number: int = 7
    enqueued_time_utc: datetime | None = NOW
    expires_at_utc: datetime | None = None
    scheduled_enqueue_time_utc: datetime | None = None
    delivery_count: int = 0
    state: ServiceBusMessageState = ServiceBusMessageState.ACTIVE
    body_type: AmqpMessageBodyType = AmqpMessageBodyType.DATA
    body: tuple[bytes, ...] = (b'{"sessionId": "s"}',)
    raw_amqp_message: Raw = field(default_factory=Raw)

    def __post_init__(self) -> None:
        self.raw_amqp_message.properties = self  # which has the message id

    content_type: str | None = "application/json"


def seen(**values: Any) -> Seen:
    return Seen.read(Fake(**values))  # type: ignore[arg-type]


OLD = History(root_id="r", first_enqueued_at=NOW - timedelta(days=5), attempts=40, copies=3)


def test_retry_properties_are_read_as_the_function_reads_them() -> None:
    """They count under the message id that follows from them, and under no other."""
    own = seen(application_properties=OLD.write(), message_id=OLD.copy_id)
    assert (own.root_id, own.attempts, own.first_enqueued_at) == ("r", 40, NOW - timedelta(days=5))
    forged = seen(application_properties=OLD.write(), message_id="new-id")
    assert (forged.root_id, forged.attempts, forged.last_error) == ("new-id", 0, None)
    assert forged.first_enqueued_at == NOW


@pytest.mark.parametrize(
    "first", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01T00:00:00+00:00"]
)
def test_no_date_breaks_anything(first: str) -> None:
    """A first enqueue before Service Bus, or after this one, does not count."""
    forged = History(root_id="r", first_enqueued_at=datetime.fromisoformat(first), copies=1)
    read = seen(application_properties=forged.write(), message_id=forged.copy_id)
    assert read.first_enqueued_at == NOW
    assert f"{read.first_enqueued_at.astimezone(UTC):%Y}" == "2026"


@pytest.mark.parametrize("error", [OverflowError, AttributeError])
def test_times_that_python_does_not_know_are_left_out(error: type[Exception]) -> None:
    """The SDK raises on a time of the broker that is out of range, or that is a text."""

    class Absurd(Fake):
        @property
        def expires_at_utc(self) -> datetime:
            raise error

        @expires_at_utc.setter
        def expires_at_utc(self, _: object) -> None: ...

    assert Seen.read(Absurd(application_properties={})).expires_at is None  # type: ignore[arg-type]


def test_a_resubmitted_message_has_the_id_it_was_published_under() -> None:
    """However often a dead letter was resubmitted."""
    assert seen(application_properties={}, message_id="m:resubmit:7:resubmit:8").root_id == "m"


def _of(kind: str, value: Any) -> dict[str, Any]:
    return {TYPE: kind, VALUE: value}


def _described(name: bytes, value: Any) -> dict[str, Any]:
    return _of(AMQPTypes.described, (_of(AMQPTypes.symbol, name), value))


def _nested(levels: int) -> bytes:
    wire = b"\x45"  # an empty list
    for _ in range(levels):
        wire = b"\xd0" + struct.pack(">II", len(wire) + 4, 1) + wire
    return wire


NOT_DECODED = {
    "empty array": b"\xe0\x02\x00\xa1",
    "nested": _nested(70),
    "list as a key": b"\xc1\x03\x02\x45\x40",
    "list as a descriptor": b"\x00\x45\x40",
    "described often": b"\x00\x45" * 16_000 + b"\x40",
    "items without bytes": b"\xf0" + struct.pack(">II", 5, 65_536) + b"\x41",
    "many items": b"\xd0" + struct.pack(">II", 65_537 + 4, 65_537) + b"\x40" * 65_537,
}
"""Values on the wire for which the SDK's decoder fails, and with it the whole batch."""


@pytest.mark.parametrize("name", NOT_DECODED)
@pytest.mark.parametrize("section", [114, 116, 118, 119, 120])
def test_what_the_sdk_cannot_decode_hides_nothing_else(name: str, section: int) -> None:
    """Not what stands beside it, wherever it stands; and it costs no more than 50 ms."""
    value = NOT_DECODED[name]
    if section in (114, 116, 120):  # a map
        pair = b"\xa1\x01a" + value + b"\xa1\x01b\x41"
        value = b"\xd1" + struct.pack(">II", len(pair) + 4, 4) + pair
    payload = b"\x00\x53" + bytes([section]) + value + b"\x00\x53\x75\xa0\x02{}"
    began = time.process_time()
    message = _decode.decode_payload(memoryview(payload))
    assert time.process_time() - began < 0.05
    properties = message.application_properties or {}
    assert message.data == [b"{}"]
    if section == 116:
        assert properties[b"b"] is True
        wire = typed(properties[b"a"])
        assert name == "nested" or wire == _of("RAW", NOT_DECODED[name])


PROPERTIES: dict[str | bytes, Any] = {
    "long": _of(AMQPTypes.long, 1_769_847_300_000),
    "small long": _of(AMQPTypes.long, 5),
    "ulong": _of(AMQPTypes.ulong, 2**64 - 1),
    "timestamp": _of(AMQPTypes.timestamp, 1_769_847_300_000),
    "binary": _of(AMQPTypes.binary, b"\xff\x00"),
    "binary text": _of(AMQPTypes.binary, b"text"),
    "symbol": _of(AMQPTypes.symbol, b"symbol"),
    "string": "text",
    "float": _of(AMQPTypes.float, 1.5),
    "double": 2.5,
    "uuid": UUID(int=7),
    "boolean": True,
    "null": None,
    "decimal": Decimal("12.50"),
    "ubyte": _of(AMQPTypes.ubyte, 200),
    "byte": _of(AMQPTypes.byte, -5),
    "ushort": _of(AMQPTypes.ushort, 60_000),
    "short": _of(AMQPTypes.short, -3),
    "uint": _of(AMQPTypes.uint, 2**32 - 1),
    "int": 7,
    "char": _of("RAW", b"\x73\x00\x00\x00A"),
    "uri": _described(b"com.microsoft:uri", "http://x"),
    "time span": _described(b"com.microsoft:timespan", _of(AMQPTypes.long, 36_000_000_000)),
    **{name: _of("RAW", wire) for name, wire in NOT_DECODED.items() if len(wire) < 100},
}


def _types(queue: OneQueue) -> dict[str, tuple[Any, ...]]:
    """The application properties of the first message: type and value, and the bytes of odd types."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        (message,) = receiver.peek_messages(1)
        given: dict[Any, Any] = message.application_properties or {}
        return {
            name.decode(): (type(value).__name__, getattr(value, "wire", value))
            for name, value in given.items()
            if not name.startswith(b"revoker-")
        }


def test_a_copy_keeps_the_types_of_its_properties(queue: OneQueue) -> None:
    """Whatever a publisher's client sends goes back into the queue as it was."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        body = b'{"sessionId": "a"}'
        sender.send_messages(ServiceBusMessage(body, application_properties=PROPERTIES))
        before = _types(queue)
        (message,) = receiver.receive_messages(1, max_wait_time=10)
        receiver.dead_letter_message(message, reason="Odd")
    assert set(before) == set(PROPERTIES)
    shown = queue.revoker("dead-letters", "show", "1", "--json").json["properties"]
    assert (shown["long"], shown["uri"], shown["char"]) == (1_769_847_300_000, "http://x", "A")
    ran = queue.revoker("dead-letters", "resubmit", "1")
    assert (ran.code, queue.counts["active"]) == (0, 1), ran.out
    assert _types(queue) == before
