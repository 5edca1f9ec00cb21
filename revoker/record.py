"""The record of what was done with dead letters: one for the command line and the desk.

It is a file of JSON lines. Each line names one message with everything that is known about it but
its body, of which it has the SHA-256.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from azure.servicebus import ServiceBusReceivedMessage

from revoker.failure import Exit, Failure
from revoker.messages import Seen, body_of

DEFAULT = Path("revoker-record.jsonl")
"""In the folder in which the command or the desk was started."""

type Done = Literal["resubmitted", "discarded"]
type Through = Literal["command", "desk"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is open for writing."""

    file: TextIO
    through: Through

    @classmethod
    @contextmanager
    def open(cls, path: Path, through: Through) -> Iterator["Record"]:
        """Open a file to append to, readable by its owner alone because it holds session ids.

        Raises:
            Failure: it cannot be written.
        """
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise Failure(
                f"{path} cannot be written: {error.strerror}.",
                "Name another file with --record. Nothing was done.",
                Exit.USAGE,
            ) from None
        with os.fdopen(number, "a", encoding="utf-8") as file:
            yield cls(file, through)

    def write(self, done: Done, message: ServiceBusReceivedMessage, **more: str | None) -> None:
        """Write one line, and return when it is on the disk."""
        body = body_of(message)
        line = {
            "done": done,
            "at": datetime.now(UTC),
            "through": self.through,
            **asdict(Seen.read(message)),
            "body_sha256": None if body is None else hashlib.sha256(body).hexdigest(),
            **more,
        }
        self.file.write(json.dumps(line, default=str) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def last(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the last lines of a record, newest first; none if there is no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.readlines()[-count:]
    except FileNotFoundError:
        return []
    found = []
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a line that an interruption has cut off
        if isinstance(value, dict):
            found.append(value)
    return found
