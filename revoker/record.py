"""The record of what people did: one for the command line and the desk.

It is a file of JSON lines. Each says who did it, where and when, and which operation it belongs to. A
line about a dead letter has everything that is known about it but its body, of which it has the
SHA-256. There is one line before anything is done with a message (`resubmitting`), and one after it
(`resubmitted`, or `left` and why). A first line without a second one means that the command was killed
in between.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from azure.servicebus import ServiceBusReceivedMessage

from delete_session import __version__
from revoker.actor import Actor
from revoker.failure import Exit, Failure
from revoker.messages import Seen, body_of
from revoker.text import as_json, open_file, read_line

DEFAULT = Path("revoker-record.jsonl")
"""In the folder in which the command or the desk was started."""

URL = "REVOKER_RECORD_URL"
"""The environment variable that names where lines are uploaded to; without it, they are not."""

type Done = Literal[
    "publishing",
    "published",
    "unconfirmed",
    "resubmitting",
    "resubmitted",
    "discarding",
    "discarded",
    "left",
    "body_viewed",
    "audited",
]
type Through = Literal["command", "desk"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is open for writing."""

    path: Path
    file: int
    """Its file descriptor."""
    through: Through
    who: Actor
    operation: str
    """Joins the lines of one action."""
    start: int
    """The size of the file when it was opened."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, through: Through, who: Actor, operation: str) -> Iterator["Record"]:
        """Open a file to append to, readable by its owner alone because it holds session ids.

        Raises:
            Failure: it cannot be written, or is not a file, such as a pipe.
        """
        try:
            file = open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise _cannot_write(path, error.strerror or str(error)) from None
        try:
            start = os.fstat(file).st_size
            record = cls(path, file, through, who, operation, start)
            if start:
                os.lseek(file, -1, os.SEEK_END)
                if os.read(file, 1) != b"\n":
                    record._append(b"\n")  # after a line that an interruption has cut off
            yield record
        finally:
            os.close(file)

    def write(self, done: Done, message: ServiceBusReceivedMessage, **more: str | None) -> None:
        """Write one line about a dead letter, and return when it is on the disk.

        Raises:
            Failure: it cannot be written.
        """
        self.write_all(done, [facts_of(Seen.read(message), body_of(message))], **more)

    def write_all(
        self, done: Done, some: Sequence[Mapping[str, object]], **more: str | None
    ) -> None:
        """Write one line for each of these facts, and return when all are on the disk.

        Raises:
            Failure: they cannot be written.
        """
        common = {
            "done": done,
            "at": datetime.now(UTC),
            "through": self.through,
            "who": asdict(self.who),
            "version": __version__,
            "operation": self.operation,
        }
        known = {name: value for name, value in more.items() if value is not None}
        lines = [as_json({**common, **facts, **known}) + "\n" for facts in some]
        self._append("".join(lines).encode())

    async def upload(self) -> str | None:
        """Upload the lines of this operation if that is wanted; return why it failed."""
        url = os.environ.get(URL, "").strip()
        if not url:
            return None
        from revoker.upload import upload_new  # loads the libraries for HTTP and login

        return await upload_new(url, self.path, self.start, self.operation)

    def _append(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self.file, line) :]
            os.fsync(self.file)
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or str(error)) from None


def facts_of(seen: Seen, body: bytes | None) -> dict[str, object]:
    """Return what the record says about a dead letter."""
    digest = None if body is None else hashlib.sha256(body).hexdigest()
    return {**asdict(seen), "body_sha256": digest}


def _cannot_write(path: Path, why: str) -> Failure:
    return Failure(
        f"The record {path} cannot be written: {why}.",
        "Name another file with --record. Nothing is done with a message before its line is "
        "written.",
        Exit.USAGE,
    )


def last(path: Path, count: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the last lines of a record, newest first, and which of them cannot be read.

    Where there is no file, there are no lines.

    Raises:
        Failure: it cannot be read.
    """
    try:
        with open(open_file(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
            lines = list(enumerate(file, 1))[-count:]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise Failure(
            f"The record {path} cannot be read: {error.strerror}.",
            "Name another file with --record.",
            Exit.USAGE,
        ) from None
    found, unreadable = [], []
    for number, line in reversed(lines):
        if (facts := read_line(line)) is not None:
            found.append(facts)
        elif line.strip():
            unreadable.append(f"line {number} of the record")
    return found, unreadable


def sessions_of(path: Path) -> tuple[list[str], list[str]]:
    """Return the sessions that a record names, oldest first, and which lines cannot be read."""
    lines, unreadable = last(path, sys.maxsize)
    named = [line.get("session_id") for line in reversed(lines)]
    return [str(each) for each in named if each is not None], unreadable


def check_run(path: Path, run: str) -> None:
    """Check that a record names this run of `publish`.

    Raises:
        Failure: it does not.
    """
    lines, _ = last(path, sys.maxsize)
    some = [str(line.get("operation")) for line in lines if line.get("done") == "publishing"]
    if run not in some:
        latest = ", ".join(list(dict.fromkeys(some))[:20]) or "none"
        raise Failure(
            f"The record {path} has no run {run}. Its latest runs: {latest}.",
            "Use the id of one of its runs, or name another record with --record. Nothing was done.",
            Exit.USAGE,
        )


def who_of(line: Mapping[str, Any]) -> str:
    """Return who did what a line says, in a few words; nothing for a line of an older version."""
    found = line.get("who")
    if not isinstance(found, dict):
        return ""
    known: dict[str, Any] = {each.name: found.get(each.name) for each in fields(Actor)}
    return Actor(**known).what
