"""The AMQP types of application properties, which azure.servicebus forgets.

It reads a long, a ulong and a timestamp as the same `int`, a string and a binary as the same `bytes`,
and sends every `int` as an int32: a copy would have other types than its original, or could not be
sent. Some types it cannot read at all, and one message that has one hides all the others. So
`remember_types` has its decoder return values that know their AMQP type, and `typed` turns them into
the form that its encoder keeps. https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html
"""

from collections.abc import Callable
from typing import Any

from azure.servicebus._pyamqp import _decode, _encode
from azure.servicebus._pyamqp.types import TYPE, VALUE, AMQPTypes


class _Int(int):
    amqp_type = ""


class _Float(float):
    amqp_type = ""


class _Bytes(bytes):
    amqp_type = ""


class Raw:
    """A value as it is on the wire, of a type that the SDK cannot read or cannot send."""

    def __init__(self, wire: bytes, text: str) -> None:
        self.wire = wire
        self._text = text

    def __repr__(self) -> str:
        return self._text


_REMEMBERED: tuple[tuple[str, type, tuple[int, ...]], ...] = (
    (AMQPTypes.ubyte, _Int, (0x50,)),
    (AMQPTypes.byte, _Int, (0x51,)),
    (AMQPTypes.ushort, _Int, (0x60,)),
    (AMQPTypes.short, _Int, (0x61,)),
    (AMQPTypes.uint, _Int, (0x43, 0x52, 0x70)),
    (AMQPTypes.ulong, _Int, (0x44, 0x53, 0x80)),
    (AMQPTypes.long, _Int, (0x55, 0x81)),
    (AMQPTypes.float, _Float, (0x72,)),
    (AMQPTypes.timestamp, _Int, (0x83,)),
    (AMQPTypes.binary, _Bytes, (0xA0, 0xB0)),
    (AMQPTypes.symbol, _Bytes, (0xA3, 0xB3)),
)
"""Each type, what stands for its values, and the bytes that mark it on the wire."""

_NOT_READ = {
    0x73: ("char", 4),
    0x74: ("decimal32", 4),
    0x84: ("decimal64", 8),
    0x94: ("decimal", 16),
}
"""Types that the SDK cannot read, or not all values of, by the byte that marks them: name, length."""

_MAPS = (0xC1, 0xD1)
_ARRAYS = (0xE0, 0xF0)
_COMPOUND = (0xC0, 0xD0, *_MAPS, *_ARRAYS)  # lists, maps and arrays
_DESCRIBED = 0x00  # such as the URI, the time span and the time with an offset of .NET
_RAW = "RAW"

type _Decoder = Callable[..., tuple[memoryview, Any]]


def remember_types() -> None:
    """Have the SDK remember the types, in this process. Doing it again changes nothing."""
    table: list[_Decoder] = _decode._DECODE_BY_CONSTRUCTOR  # noqa: SLF001  # there is no public way
    encoders: dict[str | None, Any] = _encode._ENCODE_MAP  # noqa: SLF001
    if _RAW in encoders:
        return
    encoders[_RAW] = lambda output, value, **_: output.extend(value)
    for name, base, constructors in _REMEMBERED:
        kind = type(name, (base,), {"amqp_type": name})
        for constructor in constructors:
            table[constructor] = _remembering(table[constructor], kind)
    for constructor, (name, length) in _NOT_READ.items():
        table[constructor] = _not_read(constructor, name, length)
    table[_DESCRIBED] = _described(table[_DESCRIBED])
    for constructor in (*_COMPOUND, _DESCRIBED):
        table[constructor] = _or_raw(table[constructor], constructor)


def typed(value: Any) -> Any:
    """Return a value of an application property that was received, in the form to send it in."""
    match value:
        case Raw():
            return {TYPE: _RAW, VALUE: value.wire}
        case _Int() | _Float() | _Bytes():
            return {TYPE: value.amqp_type, VALUE: value}
        case bytes():
            return {TYPE: AMQPTypes.string, VALUE: value}
        case list():
            return [typed(each) for each in value]
        case dict():
            return {key: typed(each) for key, each in value.items()}
        case _:
            return value


def readable(value: Any) -> Any:
    """Return a value that was received as text, number or truth value."""
    match value:
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case bool() | str() | None:
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return str(value)


def _remembering(decoder: _Decoder, kind: type) -> _Decoder:
    def decode(buffer: memoryview, depth: int = 0) -> tuple[memoryview, Any]:
        rest, value = decoder(buffer, depth)
        return rest, kind(value)

    return decode


def _not_read(constructor: int, name: str, length: int) -> _Decoder:
    def decode(buffer: memoryview, _depth: int = 0) -> tuple[memoryview, Any]:
        wire = buffer[:length].tobytes()
        text = wire.decode("utf-32-be", "replace") if name == "char" else f"{name} 0x{wire.hex()}"
        return buffer[length:], Raw(bytes((constructor,)) + wire, text)

    return decode


def _described(decoder: _Decoder) -> _Decoder:
    def decode(buffer: memoryview, depth: int = 0) -> tuple[memoryview, Any]:
        rest, value = decoder(buffer, depth)
        if isinstance(
            getattr(value, "descriptor", None), bytes
        ):  # not what the protocol itself has
            wire = bytes((_DESCRIBED,)) + buffer[: len(buffer) - len(rest)].tobytes()
            return rest, Raw(
                wire, str(readable(bytes(value) if isinstance(value, bytes) else value))
            )
        return rest, value

    return decode


def _or_raw(decoder: _Decoder, constructor: int) -> _Decoder:
    """Keep a value that the SDK fails to read, e.g. one that is nested too deeply, as it is."""

    def decode(buffer: memoryview, depth: int = 0) -> tuple[memoryview, Any]:
        try:
            if constructor == _DESCRIBED:
                return decoder(buffer, depth)
            length = _length(constructor, buffer)
            if constructor in _ARRAYS and _count(constructor, buffer) > length:
                raise ValueError("more items than bytes")  # items without bytes cost memory
            unread, value = decoder(buffer[:length], depth)
            if not unread:  # it leaves a part of an empty array
                return buffer[length:], value
        except Exception:  # the SDK raises whatever its code meets
            if constructor == _DESCRIBED and depth > 1:
                raise  # to find the end of each nested one would take long
        length = _length(constructor, buffer)
        wire = bytes((constructor,)) + buffer[:length].tobytes()
        raw = Raw(wire, f"a value of {length} bytes that cannot be read")
        section = depth == 0 and constructor in _MAPS  # properties or annotations
        return buffer[length:], {b"unreadable": raw} if section else raw

    return decode


def _count(constructor: int, buffer: memoryview) -> int:
    size = 1 if constructor >> 4 == 0xE else 4
    return int.from_bytes(buffer[size : 2 * size])


def _length(constructor: int, buffer: memoryview) -> int:
    """Return how many bytes a value has after the byte that marks its type."""
    at, left = 0, 1
    while left:  # a described value consists of two values
        left -= 1
        if constructor == _DESCRIBED:
            left += 2
        elif constructor < 0xA0:  # of a fixed length
            at += (0, 1, 2, 4, 8, 16)[(constructor >> 4) - 4]
        else:
            size = 1 if constructor >> 4 in (0xA, 0xC, 0xE) else 4
            at += size + int.from_bytes(buffer[at : at + size])
        if left:
            constructor, at = buffer[at], at + 1
    return at
