"""Delivery numbers made regular before Proton sees them.

AMQP numbers the deliveries of a session one by one (part 2, section 2.6.12), and Proton closes the
connection of a client that does not keep to that. azure-servicebus does not when several threads use
one client, for instance to renew locks: numbers come twice, or in the wrong order. Service Bus
tolerates that. So deliveries are numbered here as they arrive, and the broker's dispositions go out
under the client's own numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import encoding
from .encoding import EncodingError

_HEADER_BYTES = 8  # of the protocol and of each frame
# Descriptors as every client encodes them.
_BEGIN, _TRANSFER, _DISPOSITION = b"\x00\x53\x11", b"\x00\x53\x14", b"\x00\x53\x15"
_DESCRIPTOR_BYTES = 3


class Frames:
    """A stream of bytes, cut into AMQP frames.

    Args:
        max_frame_bytes: from the first larger frame on, the stream is passed on as it is.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._input = b""
        self._started = False
        self._opaque = False

    def replace(self, data: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """Take in bytes; return the frames that are complete, each changed."""
        if self._opaque:
            return data
        self._input += data
        return b"".join(
            change(part) if is_frame else part for is_frame, part in self._complete_parts()
        )

    def _complete_parts(self) -> Iterator[tuple[bool, bytes]]:
        data, at = self._input, 0
        if not self._started and len(data) >= _HEADER_BYTES:
            self._started = True
            at = _HEADER_BYTES
            yield False, data[:at]
        while self._started and len(data) - at >= _HEADER_BYTES:
            size = int.from_bytes(data[at : at + 4])
            if not _HEADER_BYTES <= size <= self._max_frame_bytes:
                self._opaque = True
                yield False, data[at:]
                at = len(data)
            elif len(data) - at < size:
                break
            else:
                yield True, data[at : at + size]
                at += size
        self._input = data[at:]


@dataclass(slots=True)
class _Session:
    """The deliveries from the client on one channel."""

    next_number: int
    unfinished: dict[int, int] = field(default_factory=dict)
    """The delivery of which more frames will come, by link handle."""
    clients: dict[int, int] = field(default_factory=dict)
    """The client's number of a delivery, where it differs."""


class DeliveryNumbers:
    """The deliveries of one connection, by the client's numbers and by regular ones."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._received, self._sent = Frames(max_frame_bytes), Frames(max_frame_bytes)
        self._sessions: dict[bytes, _Session] = {}
        self._channels: dict[bytes, bytes] = {}
        """The client's channel of a session, by the broker's."""

    def receive(self, data: bytes) -> bytes:
        """Return what Proton is to read in place of the client's bytes."""
        return self._received.replace(data, self._renumber_transfer)

    def send(self, data: bytes) -> bytes:
        """Return what the client is to read in place of Proton's bytes."""
        return self._sent.replace(data, self._restore_disposition)

    def _renumber_transfer(self, frame: bytes) -> bytes:
        start = 4 * frame[4]
        descriptor, channel = frame[start : start + _DESCRIPTOR_BYTES], frame[6:8]
        if descriptor == _BEGIN:
            self._sessions.pop(channel, None)
        if descriptor != _TRANSFER:
            return frame
        start += _DESCRIPTOR_BYTES
        try:
            end = encoding.skip(frame, start)
            fields = encoding.list_items(frame[start:end])
            handle, clients, more = (_value(fields, index) for index in (0, 1, 5))
        except EncodingError:
            return frame  # Proton refuses it
        if not isinstance(handle, int):
            return frame
        session = self._sessions.get(channel)
        number = session.unfinished.pop(handle, None) if session is not None else None
        if number is None:
            if not isinstance(clients, int):
                return frame
            if session is None:
                session = self._sessions[channel] = _Session(clients)
            number = session.next_number
            session.next_number += 1
            if clients != number:
                session.clients[number] = clients
        assert session is not None
        if more:
            session.unfinished[handle] = number
        if clients in (None, number):
            return frame
        fields[1] = encoding.uint(number)
        return _frame(frame[:start], fields, frame[end:])

    def _restore_disposition(self, frame: bytes) -> bytes:
        start = 4 * frame[4]
        descriptor, channel = frame[start : start + _DESCRIPTOR_BYTES], frame[6:8]
        start += _DESCRIPTOR_BYTES
        if descriptor == _BEGIN:
            clients_channel = _value(encoding.list_items(frame[start:]), 0)
            if isinstance(clients_channel, int):
                self._channels[channel] = clients_channel.to_bytes(2)
        session = self._sessions.get(self._channels.get(channel, channel))
        if session is None or not session.clients or descriptor != _DISPOSITION:
            return frame
        fields = encoding.list_items(frame[start:])
        is_receiver, first, last, settled = (_value(fields, index) for index in range(4))
        assert isinstance(first, int)
        numbers = range(first, (last if isinstance(last, int) else first) + 1)
        if not is_receiver or session.clients.keys().isdisjoint(numbers):
            return frame
        frames = []
        for number in numbers:
            clients = session.clients.get(number, number)
            fields[1:3] = [encoding.uint(clients), encoding.NULL]
            frames.append(_frame(frame[:start], fields, b""))
            if settled:
                session.clients.pop(number, None)
        return b"".join(frames)


def _value(fields: list[bytes], index: int) -> object:
    """Return a field's value; fields that are left out at the end are null."""
    return encoding.decode(fields[index])[0] if index < len(fields) else None


def _frame(head: bytes, fields: list[bytes], payload: bytes) -> bytes:
    """Return a frame with another size and other fields."""
    rest = head[4:] + encoding.sequence(fields) + payload
    return (4 + len(rest)).to_bytes(4) + rest
