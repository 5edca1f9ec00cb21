"""Text from elsewhere: publishers, brokers and files decide what it contains."""

import errno
import json
import math
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
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


def from_json(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_line(line: str | bytes) -> dict[str, Any] | None:
    """Read a line of a record; return None if it cannot be read, such as one that was cut off."""
    try:
        facts = from_json(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def open_file(path: Path, flags: int) -> int:
    """Open a file, and return its file descriptor; a new file is readable by its owner alone.

    Raises:
        OSError: it cannot be opened, or is not a file on a disk, such as a pipe.
    """
    # Without O_NONBLOCK, opening a named pipe may never return.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise OSError(errno.EINVAL, "it is not a file on a disk")


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
