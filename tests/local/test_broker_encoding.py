"""The broker's AMQP encoding against Proton's, which is another one's work."""

import math
import uuid
from typing import Any

import proton
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.broker import encoding, message
from local.broker.encoding import EncodingError
from local.broker.message import Message

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.uuids(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@given(VALUES)
def test_reads_what_proton_writes(value: Any) -> None:
    """Any value Proton encodes is decoded to the same value, to the last byte."""
    data = proton.Data()
    data.put_object(value)
    encoded = bytes(data.encode())
    assert encoding.decode(encoded) == (value, len(encoded))
    assert encoding.skip(encoded, 0) == len(encoded)


@given(SCALARS)
def test_proton_reads_what_is_written(value: Any) -> None:
    """Any scalar that is encoded is decoded by Proton to the same value."""
    data = proton.Data()
    data.decode(encoding.primitive(value))
    data.rewind()
    data.next()
    assert plain(data.get_object()) == value


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_decoded(encoded: bytes) -> None:
    """Garbage is refused as such, and nothing else goes wrong."""
    for read in (encoding.decode, Message.decode, message.unpack, message.request_value):
        try:
            read(encoded)
        except EncodingError:
            continue


def test_reads_every_kind_of_array_and_number() -> None:
    """Arrays of fixed, sized and described elements, and the short forms of numbers, are read."""
    ids = [uuid.uuid4(), uuid.uuid4()]
    for values, kind in (
        (ids, proton.Data.UUID),
        ([1, -1], proton.Data.LONG),
        (["a", "bc"], proton.Data.STRING),
        ([0, 255], proton.Data.UBYTE),
    ):
        data = proton.Data()
        data.put_array(False, kind)
        data.enter()
        for value in values:
            {
                proton.Data.UUID: data.put_uuid,
                proton.Data.LONG: data.put_long,
                proton.Data.STRING: data.put_string,
                proton.Data.UBYTE: data.put_ubyte,
            }[kind](value)
        data.exit()
        assert encoding.decode(bytes(data.encode()))[0] == values


def test_a_message_passes_byte_for_byte() -> None:
    """All but the header and the broker's annotations stays as it was encoded."""
    original = proton.Message(body={"a": [1, math.pi, uuid.uuid4()]}, subject="s", id="m")
    original.properties = {"int": proton.int32(1), "byte": proton.byte(3), "when": 5}
    original.annotations = {
        proton.symbol("x-opt-mine"): proton.ushort(4),
        proton.symbol("x-opt-sequence-number"): 99,
    }
    encoded = bytes(original.encode())
    cut = Message.decode(encoded)
    for part in (cut.properties, cut.application_properties, cut.body):
        assert part
        assert part in encoded
    delivered = cut.encode(delivery_count=2, annotations={"x-opt-sequence-number": b"\x55\x07"})
    for part in (cut.properties, cut.application_properties, cut.body):
        assert part in delivered
    read = proton.Message()
    read.decode(delivered)
    assert read.delivery_count == 2
    assert read.annotations == {"x-opt-mine": 4, "x-opt-sequence-number": 7}
    assert read.properties == original.properties
    assert read.body == original.body


def test_a_batch_with_the_properties_of_its_first_message_is_a_batch() -> None:
    """The JavaScript SDK puts the first message's properties around the batch."""
    inner = [proton.Message(body=b"a", inferred=True), proton.Message(body=b"b", inferred=True)]
    encoded = [message.section(message.DATA, encoding.binary(each.encode())) for each in inner]
    first = proton.Message(id="1", properties={"p": 1}, annotations={"x-opt-a": 1}).encode()
    around = [section for section in message.split(first) if section[0] != message.VALUE]
    batch = b"".join(message.section(code, value) for code, value in around) + b"".join(encoded)
    assert [each.body for each in message.unpack(batch)] == [
        message.section(message.DATA, encoding.binary(body)) for body in (b"a", b"b")
    ]


@pytest.mark.parametrize("properties", [{}, {"subject": "s", "correlation_id": "c"}])
def test_a_message_id_may_be_added(properties: dict[str, str]) -> None:
    """The other properties stay."""
    original = proton.Message(body="text", **properties)
    changed = proton.Message()
    changed.decode(Message.decode(original.encode()).with_message_id("new").encode())
    assert changed.id == "new"
    assert (changed.subject, changed.correlation_id) == (original.subject, original.correlation_id)


def test_data_that_looks_like_a_batch_is_one_message() -> None:
    """A body that merely begins like an encoded message is left alone."""
    data = message.section(message.DATA, encoding.binary(b"\x00\x53\x75 not a section"))
    (only,) = message.unpack(data)
    assert only.body == data


@pytest.mark.parametrize("encoded", [b"", message.section(message.HEADER, b"\x45")])
def test_a_message_may_have_no_body(encoded: bytes) -> None:
    """A message without a body section stays without one."""
    assert Message.decode(encoded).body == b""
    codes = [code for code, _ in message.split(Message.decode(encoded).encode())]
    assert codes == [message.HEADER]


def test_what_is_not_a_section_is_refused() -> None:
    """A message consists of sections only."""
    with pytest.raises(EncodingError):
        Message.decode(b"\x40")


def test_the_broker_owns_the_lock_token_and_leaves_other_delivery_annotations() -> None:
    """A publisher's delivery annotations pass, except for a lock token."""
    own = [
        encoding.symbol("x-opt-mine") + encoding.integer(1),
        encoding.symbol(message.LOCK_TOKEN) + encoding.string("made up"),
    ]
    encoded = message.section(message.DELIVERY_ANNOTATIONS, encoding.mapping(own))
    token = encoding.unique_identifier(uuid.UUID(int=7))
    received = Message.decode(encoded).encode(delivery_annotations={message.LOCK_TOKEN: token})
    sections = dict(message.split(received))
    assert encoding.decode(sections[message.DELIVERY_ANNOTATIONS])[0] == {
        "x-opt-mine": 1,
        message.LOCK_TOKEN: uuid.UUID(int=7),
    }
