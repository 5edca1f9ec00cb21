"""AMQP 1.0 values as bytes: reading, writing and skipping them.

The broker must pass a message on exactly as its publisher encoded it, so it works on the encoded
bytes and changes only the sections that it owns. Proton's message codec would decode and encode
them again, which loses types. Source: AMQP 1.0, part 1 (types) and part 3 (message format).
"""

import struct
import uuid
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class EncodingError(ValueError):
    """The bytes are not a valid AMQP 1.0 encoding."""


class Symbol(str):
    """An AMQP symbol: text from a restricted set, a separate type on the wire."""

    __slots__ = ()


class Timestamp(int):
    """An AMQP timestamp: milliseconds since 1970 in UTC."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means."""

    descriptor: Any
    value: Any


_FIXED_WIDTH = {0x40: 0, 0x50: 1, 0x60: 2, 0x70: 4, 0x80: 8, 0x90: 16}
_SIZE_WIDTH = {0xA0: 1, 0xB0: 4, 0xC0: 1, 0xD0: 4, 0xE0: 1, 0xF0: 4}

_UNPACKERS = {
    0x50: struct.Struct(">B"),
    0x51: struct.Struct(">b"),
    0x52: struct.Struct(">B"),
    0x53: struct.Struct(">B"),
    0x54: struct.Struct(">b"),
    0x55: struct.Struct(">b"),
    0x56: struct.Struct(">?"),
    0x60: struct.Struct(">H"),
    0x61: struct.Struct(">h"),
    0x70: struct.Struct(">I"),
    0x71: struct.Struct(">i"),
    0x72: struct.Struct(">f"),
    0x80: struct.Struct(">Q"),
    0x81: struct.Struct(">q"),
    0x82: struct.Struct(">d"),
}
_CONSTANTS = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_LISTS, _MAPS = (0xC0, 0xD0), (0xC1, 0xD1)


def skip(encoded: bytes, at: int) -> int:
    """Return the offset behind the value at `at`; raise EncodingError if it is cut off."""
    try:
        code = encoded[at]
        at += 1
        if code == 0x00:
            return skip(encoded, skip(encoded, at))
        kind = code & 0xF0
        width = _FIXED_WIDTH.get(kind)
        if width is None:
            size_width = _SIZE_WIDTH[kind]
            size = int.from_bytes(encoded[at : at + size_width])
            at += size_width
            width = size
    except (IndexError, KeyError, RecursionError) as error:
        raise EncodingError("the encoding is cut off or unknown") from error
    if at + width > len(encoded):
        raise EncodingError("the encoding is cut off")
    return at + width


def decode(encoded: bytes, at: int = 0) -> tuple[Any, int]:
    """Return the value at `at` and the offset behind it; raise EncodingError.

    Lists and arrays become `list`, maps `dict`, binary `bytes`, descriptors `Described`.
    """
    end = skip(encoded, at)
    try:
        return _decode_checked(encoded, at, end), end
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise EncodingError("the encoding is not valid") from error


def _decode_checked(encoded: bytes, at: int, end: int) -> Any:
    code = encoded[at]
    at += 1
    if code == 0x00:
        descriptor, at = decode(encoded, at)
        return Described(descriptor, decode(encoded, at)[0])
    if code in _CONSTANTS:
        return _CONSTANTS[code]
    if code == 0x45:
        return []
    kind = code & 0xF0
    if kind in (0xA0, 0xB0):
        return _decode_primitive(code, encoded[at + _SIZE_WIDTH[kind] : end])
    if kind in (0xC0, 0xD0):
        width = _SIZE_WIDTH[kind]
        count = int.from_bytes(encoded[at + width : at + 2 * width])
        at += 2 * width
        values = []
        for _ in range(count):
            value, at = decode(encoded, at)
            values.append(value)
        if at != end:
            raise EncodingError("a list or map has the wrong size")
        if code in _LISTS:
            return values
        # A list or a map may be a key, too; it is only looked at here.
        keys = [key if isinstance(key, Hashable) else repr(key) for key in values[::2]]
        return dict(zip(keys, values[1::2], strict=True))
    if kind in (0xE0, 0xF0):
        width = _SIZE_WIDTH[kind]
        count = int.from_bytes(encoded[at + width : at + 2 * width])
        return _decode_array(encoded, at + 2 * width, count)
    return _decode_primitive(code, encoded[at:end])


def _decode_primitive(code: int, content: bytes) -> Any:
    match code:
        case 0xA0 | 0xB0:
            return bytes(content)
        case 0xA1 | 0xB1:
            return content.decode("utf-8")
        case 0xA3 | 0xB3:
            return Symbol(content.decode("ascii"))
        case 0x83:
            return Timestamp(int.from_bytes(content, signed=True))
        case 0x98:
            return uuid.UUID(bytes=bytes(content))
        case 0x73:
            return content.decode("utf-32-be")
        case 0x74 | 0x84 | 0x94:
            return bytes(content)  # decimals, with which nothing here computes
        case _:
            return _UNPACKERS[code].unpack(content)[0]


def _decode_array(encoded: bytes, at: int, count: int) -> list[Any]:
    """Decode an array: one constructor, then bare values."""
    code = encoded[at]
    at += 1
    if code == 0x00:
        at = skip(encoded, at)
        code = encoded[at]
        at += 1
    constructor = bytes((code,))
    values = []
    for _ in range(count):
        kind = code & 0xF0
        width = _FIXED_WIDTH.get(kind)
        if width is None:
            size_width = _SIZE_WIDTH[kind]
            width = size_width + int.from_bytes(encoded[at : at + size_width])
        values.append(decode(constructor + encoded[at : at + width])[0])
        at += width
    return values


def map_items(encoded: bytes) -> list[tuple[Any, bytes]]:
    """Return the pairs of an encoded map, each a decoded key and the bytes of key and value.

    Null counts as an empty map.
    """
    code = encoded[0] if encoded else 0x40
    if code == 0x40:
        return []
    if code not in _MAPS:
        raise EncodingError("a map was expected")
    width = _SIZE_WIDTH[code & 0xF0]
    count = int.from_bytes(encoded[1 + width : 1 + 2 * width])
    at = 1 + 2 * width
    items = []
    for _ in range(count // 2):
        key, behind_key = decode(encoded, at)
        end = skip(encoded, behind_key)
        items.append((key, encoded[at:end]))
        at = end
    return items


def list_items(encoded: bytes) -> list[bytes]:
    """Return the encoded items of an encoded list.

    Null counts as an empty list.
    """
    code = encoded[0] if encoded else 0x40
    if code in (0x40, 0x45):
        return []
    if code not in _LISTS:
        raise EncodingError("a list was expected")
    width = _SIZE_WIDTH[code & 0xF0]
    count = int.from_bytes(encoded[1 + width : 1 + 2 * width])
    at = 1 + 2 * width
    items = []
    for _ in range(count):
        end = skip(encoded, at)
        items.append(encoded[at:end])
        at = end
    return items


NULL = b"\x40"


def boolean(value: bool) -> bytes:
    return b"\x41" if value else b"\x42"


def ubyte(value: int) -> bytes:
    return struct.pack(">BB", 0x50, value)


def uint(value: int) -> bytes:
    return struct.pack(">BI", 0x70, value)


def integer(value: int) -> bytes:
    return struct.pack(">Bi", 0x71, value)


def long(value: int) -> bytes:
    return struct.pack(">Bq", 0x81, value)


def timestamp(milliseconds: int) -> bytes:
    return struct.pack(">Bq", 0x83, milliseconds)


def unique_identifier(value: uuid.UUID) -> bytes:
    return b"\x98" + value.bytes


def _sized(short: int, content: bytes) -> bytes:
    """Use the short form for up to 255 bytes, else the long form, whose code is 16 higher."""
    if len(content) < 256:
        return bytes((short, len(content))) + content
    return struct.pack(">BI", short + 0x10, len(content)) + content


def binary(value: bytes) -> bytes:
    return _sized(0xA0, value)


def string(value: str) -> bytes:
    return _sized(0xA1, value.encode())


def symbol(value: str) -> bytes:
    return _sized(0xA3, value.encode("ascii"))


def _compound(code: int, count: int, content: bytes) -> bytes:
    return struct.pack(">BII", code, len(content) + 4, count) + content


def sequence(values: Sequence[bytes]) -> bytes:
    """Encode a list of encoded values."""
    return _compound(0xD0, len(values), b"".join(values))


def mapping(pairs: Iterable[bytes]) -> bytes:
    """Encode a map of encoded pairs, each the bytes of a key followed by those of its value."""
    items = list(pairs)
    return _compound(0xD1, 2 * len(items), b"".join(items))


def array(values: Sequence[bytes], constructor: int) -> bytes:
    """Encode an array of encoded values, which all have the given fixed-width constructor."""
    return _compound(0xF0, len(values), bytes((constructor,)) + b"".join(v[1:] for v in values))


def symbols(values: Sequence[str]) -> bytes:
    """Encode an array of symbols of up to 255 characters each."""
    content = b"".join(symbol(value)[1:] for value in values)
    return _compound(0xF0, len(values), b"\xa3" + content)


def described(code: int, value: bytes) -> bytes:
    """Encode a value with a numeric descriptor below 256."""
    return bytes((0x00, 0x53, code)) + value


def primitive(value: Any) -> bytes:
    """Encode a Python value in the AMQP type that fits it best, for property changes."""
    match value:
        case None:
            return NULL
        case bool():
            return boolean(value)
        case Timestamp():
            return timestamp(value)
        case int() if -(2**31) <= value < 2**31:
            return integer(value)
        case int():
            return long(value)
        case float():
            return struct.pack(">Bd", 0x82, value)
        case Symbol():
            return symbol(value)
        case str():
            return string(value)
        case uuid.UUID():
            return unique_identifier(value)
        case bytes() | bytearray() | memoryview():
            return binary(bytes(value))
        case _:
            raise EncodingError(f"{type(value).__name__} cannot be a property's value")
