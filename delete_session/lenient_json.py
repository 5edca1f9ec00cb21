"""JSON read as leniently as it can be without guessing: for what the strict decoder refuses.

Half of a surrogate pair, NaN, control characters within strings, any depth and any number of digits
are read; members that stand there twice are kept.
"""

import json
import re
from typing import Final

import msgspec

_MAX_DEPTH = 100
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|.', re.DOTALL)
_HALF_OF_A_PAIR = re.compile(
    r"\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]", re.IGNORECASE | re.DOTALL
)

MISSING: Final = msgspec.UNSET


class Object(list[tuple[str, object]]):
    """The members of a JSON object, also those that stand there twice."""

    def member(self, name: str) -> object:
        """Return a member's value, MISSING if there is none.

        Raises:
            ValidationError: it stands there twice with different values: which one is meant?
        """
        values = [value for key, value in self if key == name]
        if any(value != values[0] for value in values):
            raise msgspec.ValidationError(f"{name}: more than once, with different values")
        return values[0] if values else MISSING


_decoder = json.JSONDecoder(
    object_pairs_hook=Object,
    strict=False,
    # Python refuses to make an int of very many digits.
    parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits),
)


def load(text: str) -> object:
    """Return JSON as Python values, objects as `Object`.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return _decoder.decode(text)
    except RecursionError:
        return _decoder.decode(_without_depths(text))


def kind(value: object) -> str:
    """Return the name of a value's type, as msgspec has it."""
    names = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str"}
    return "object" if isinstance(value, Object) else names.get(type(value), "array")


def has_half_of_a_pair(text: str) -> bool:
    """Whether an escape in the text is one half of a surrogate pair without the other."""
    return _HALF_OF_A_PAIR.search(text) is not None


def looks_like(body: bytes) -> str | None:
    """Say what a body is that is no JSON, and how to send it right; None if that does not show."""
    if body.startswith(b"@") and b"http://schemas." in body[:200]:
        return (
            "looks like the binary XML of an old .NET client, which serializes what it is given "
            "(new BrokeredMessage(text)); send the JSON's bytes as they are: new "
            "ServiceBusMessage(BinaryData.FromString(json)), or new BrokeredMessage(stream, true)"
        )
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        return "looks like UTF-16 or UTF-32; encode the JSON as UTF-8 (Encoding.UTF8 in .NET)"
    return None


def _without_depths(text: str) -> str:
    """Empty what is nested so deeply that no decoder follows; the brackets have to match."""
    kept: list[str] = []
    ends: list[str] = []
    for part in _TOKEN.findall(text):
        if part in ("]", "}") and (not ends or ends.pop() != part):
            raise ValueError("JSON is malformed")
        if len(ends) <= _MAX_DEPTH:
            kept.append(part)
        if part in ("[", "{"):
            ends.append("]" if part == "[" else "}")
    return "".join(kept)
