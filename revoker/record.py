"""The record of what was done with dead letters: one for the command line and the desk.

It is a file of JSON lines, each with everything that is known about one message but its body, of which
it has the SHA-256. There is one line before anything is done with a message (`resubmitting`), and one
after it (`resubmitted`, or `left` and why). A first line without a second one means that the command
was killed in between.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from azure.servicebus import ServiceBusReceivedMessage

from revoker.failure import Exit, Failure
from revoker.messages import Seen, body_of
from revoker.text import as_json

DEFAULT = Path("revoker-record.jsonl")
"""In the folder in which the command or the desk was started."""

type Done = Literal["resubmitting", "resubmitted", "discarding", "discarded", "left"]
type Through = Literal["command", "desk"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is open for writing."""

    path: Path
    file: int
    """Its file descriptor."""
    through: Through

    @classmethod
    @contextmanager
    def open(cls, path: Path, through: Through) -> Iterator["Record"]:
        """Open a file to append to, readable by its owner alone because it holds session ids.

        Raises:
            Failure: it cannot be written, or is not a file, such as a pipe.
        """
        try:
            # Without O_NONBLOCK, opening a named pipe without a reader never returns.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
            file = os.open(path, flags, 0o600)
        except OSError as error:
            raise _cannot_write(path, error.strerror or str(error)) from None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _cannot_write(path, "it is not a file on a disk")
            record = cls(path, file, through)
            if os.fstat(file).st_size:
                os.lseek(file, -1, os.SEEK_END)
                if os.read(file, 1) != b"\n":
                    record._append(b"\n")  # after a line that an interruption has cut off
            yield record
        finally:
            os.close(file)

    def write(self, done: Done, message: ServiceBusReceivedMessage, **more: str | None) -> None:
        """Write one line, and return when it is on the disk.

        Raises:
            Failure: it cannot be written.
        """
        body = body_of(message)
        line = {
            "done": done,
            "at": datetime.now(UTC),
            "through": self.through,
            **asdict(Seen.read(message)),
            "body_sha256": None if body is None else hashlib.sha256(body).hexdigest(),
            **{name: value for name, value in more.items() if value is not None},
        }
        self._append(as_json(line).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self.file, line) :]
            os.fsync(self.file)
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or str(error)) from None


def _cannot_write(path: Path, why: str) -> Failure:
    return Failure(
        f"The record {path} cannot be written: {why}.",
        "Name another file with --record. Nothing is done with a message before its line is "
        "written.",
        Exit.USAGE,
    )


def last(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the last lines of a record, newest first; none if there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
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
