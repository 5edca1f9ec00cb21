"""Text from elsewhere: publishers, brokers and files decide what it contains."""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

LINE = 2000
"""Characters of one line for people; `--json` has everything."""

_HIDDEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
"""Categories of what a terminal obeys, reorders or does not show."""


def visible(text: str, limit: int = LINE) -> str:
    """Return text as one line that a terminal only shows: escapes stand for what it would obey.

    Args:
        text: from anywhere.
        limit: the maximum number of its characters; a note tells how many are left out.
    """
    cut = len(text) - limit
    shown = "".join(map(_shown, text[:limit]))
    return f"{shown} … ({cut} more characters)" if cut > 0 else shown


def _shown(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape").decode()
    return character


def as_json(value: object) -> str:
    """Return valid JSON in ASCII, on one line, whatever the value contains."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: object) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Sequence():
            return [_plain(each) for each in value]
        case _:
            return str(value)
