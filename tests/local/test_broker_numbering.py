"""Delivery numbers that clients mix up, frame by frame."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.broker import encoding
from local.broker.encoding import Described
from local.broker.numbering import DeliveryNumbers

HEADER = b"AMQP\x00\x01\x00\x00"
BEGIN, TRANSFER, DISPOSITION = 0x11, 0x14, 0x15
MAX_FRAME_BYTES = 1000


def frame(code: int, *fields: Any, channel: int = 0, payload: bytes = b"") -> bytes:
    values = encoding.sequence([encoding.primitive(field) for field in fields])
    body = encoding.described(code, values) + payload
    return (8 + len(body)).to_bytes(4) + b"\x02\x00" + channel.to_bytes(2) + body


def transfer(number: int | None, *, handle: int = 0, more: bool = False, **where: Any) -> bytes:
    return frame(TRANSFER, handle, number, b"tag", 0, None, more, payload=b"payload", **where)


def read(data: bytes) -> list[tuple[int, list[Any], bytes]]:
    """Code, fields and payload of each frame."""
    frames = []
    while data:
        size = int.from_bytes(data[:4])
        performative, end = encoding.decode(data[:size], 8)
        assert isinstance(performative, Described)
        frames.append((performative.descriptor, performative.value, data[end:size]))
        data = data[size:]
    return frames


def numbers(data: bytes) -> list[int | None]:
    assert all(payload == b"payload" for _, _, payload in read(data))
    return [fields[1] for _, fields, _ in read(data)]


@pytest.fixture
def started() -> DeliveryNumbers:
    started = DeliveryNumbers(MAX_FRAME_BYTES)
    assert started.receive(HEADER) == HEADER
    assert started.send(HEADER) == HEADER
    return started


@given(st.lists(st.integers(1, 40), max_size=20))
def test_what_is_regular_passes_as_it_is(sizes: list[int]) -> None:
    """However the bytes are cut, regular frames come out unchanged, each as soon as it is whole."""
    sent = HEADER + frame(BEGIN, None, 7) + b"".join(transfer(n) for n in (7, 8, 9))
    untouched = DeliveryNumbers(MAX_FRAME_BYTES)
    rest, got = sent, b""
    for size in [*sizes, len(sent)]:
        got += untouched.receive(rest[:size])
        rest = rest[size:]
    assert got == sent


def test_deliveries_are_numbered_as_they_arrive(started: DeliveryNumbers) -> None:
    """Numbers that come twice, or early, or leave gaps, become regular ones."""
    sent = b"".join(transfer(number) for number in (5, 7, 6, 6, 9))
    assert numbers(started.receive(sent)) == [5, 6, 7, 8, 9]


def test_a_delivery_of_several_frames_keeps_its_number(started: DeliveryNumbers) -> None:
    """Frames that continue a delivery get its number, or none if they have none."""
    sent = (
        transfer(0, more=True)
        + transfer(0, handle=1)
        + transfer(None, more=True)
        + transfer(0)
        + transfer(1)
    )
    assert numbers(started.receive(sent)) == [0, 1, None, 0, 2]


def test_dispositions_go_out_under_the_numbers_of_the_client(started: DeliveryNumbers) -> None:
    """Each delivery is settled under the number it came with, on the channel it came on."""
    started.receive(b"".join(transfer(number, channel=1) for number in (0, 2, 1, 1, 4)))
    begin = frame(BEGIN, 1, 0)
    assert started.send(begin) == begin
    sent = read(started.send(frame(DISPOSITION, True, 0, 4, True)))
    assert [fields[:4] for _, fields, _ in sent] == [
        [True, number, None, True] for number in (0, 2, 1, 1, 4)
    ]
    again = frame(DISPOSITION, True, 1, None, True)
    assert started.send(again) == again  # settled, and forgotten


def test_other_dispositions_pass(started: DeliveryNumbers) -> None:
    """What concerns deliveries from the broker, or regular ones, passes as it is."""
    started.receive(transfer(0) + transfer(2))
    for untouched in (
        frame(DISPOSITION, False, 1, None, True),
        frame(DISPOSITION, True, 0, None, True),
        frame(DISPOSITION, True, 1, None, True, channel=3),
    ):
        assert started.send(untouched) == untouched


def test_a_new_session_starts_anew(started: DeliveryNumbers) -> None:
    """After another begin on the channel the client's first number counts."""
    started.receive(transfer(5) + transfer(5))
    assert started.receive(frame(BEGIN, None, 0)) == frame(BEGIN, None, 0)
    assert numbers(started.receive(transfer(1) + transfer(2))) == [1, 2]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x00\x00\x01",
        b"\xff\xff\xff\xff and so on",
        frame(TRANSFER),
        frame(TRANSFER, "handle", 1),
        frame(TRANSFER, 0, None),
        b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x14\xff",
    ],
)
def test_what_cannot_be_read_is_left_to_proton(started: DeliveryNumbers, sent: bytes) -> None:
    """Bytes that are no valid frames pass as they are."""
    sent += b"\x00" * 8
    assert started.receive(sent).startswith(sent[:12])
