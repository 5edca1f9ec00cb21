"""Evidence: a file of JSON lines in which no line can be changed, removed or moved unseen.

Each line ends with the SHA-256 of all that stands before it in the line, and has the SHA-256 of the
line before it as `previous`. The last line is a summary, which follows from the lines before it:
without it, the file is not complete. A file that was rewritten from some line to its end has another
last SHA-256, the seal, which the record has as well.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from delete_session.contract import SESSION_ID, SessionType
from revoker.failure import Exit, Failure
from revoker.text import as_json, from_json, open_file

_START = "0" * 64
_BEGINNING = b'{"line": "'
_SUFFIX = re.compile(rb', "sha256": "([0-9a-f]{64})"}')
_SUFFIX_LENGTH = len(', "sha256": ""}') + 64


class _OfAll(msgspec.Struct, frozen=True):
    endpoint: str
    api_version: str
    operation: str


class _Session(_OfAll, frozen=True):
    session_id: Annotated[str, msgspec.Meta(pattern=SESSION_ID)]


class _Exists(_Session, frozen=True):
    session_type: SessionType


class _NotFound(_Session, frozen=True):
    session_type: None


_NEEDED: Mapping[tuple[object, object], type[msgspec.Struct]] = {
    ("session", "exists"): _Exists,
    ("session", "not_found"): _NotFound,
    ("list", None): _OfAll,
    ("summary", None): msgspec.Struct,
}
"""What a line must have, by its kind and its answer."""


@dataclass(slots=True)
class Evidence:
    """The lines of a file that is correct so far, as facts."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    sessions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The lines about sessions, by session id."""
    seal: str = _START
    """The SHA-256 of the last line."""

    @property
    def closed(self) -> bool:
        """Whether the last line is a summary."""
        return bool(self.lines) and self.lines[-1].get("line") == "summary"

    @property
    def alive(self) -> dict[str, SessionType]:
        """The sessions that exist, with their types."""
        return {
            session_id: line["session_type"]
            for session_id, line in self.sessions.items()
            if line["answer"] == "exists"
        }

    @property
    def summary(self) -> Mapping[str, object]:
        """The last line, once all sessions have theirs."""
        return {
            "line": "summary",
            "asked": len(self.sessions),
            "alive": len(self.alive),
        }

    def read_line(self, line: bytes) -> None:
        """Add the next line of a file, without its line feed.

        Raises:
            ValueError: it is not what was written; the text says why.
        """
        content, suffix = line[:-_SUFFIX_LENGTH], _SUFFIX.fullmatch(line[-_SUFFIX_LENGTH:])
        if suffix is None or hashlib.sha256(content).hexdigest().encode() != suffix[1]:
            raise ValueError("it was changed")
        facts: dict[str, Any] = from_json(content + b"}")
        kind = facts.get("line")
        try:
            msgspec.convert(facts, _NEEDED[kind, facts.get("answer")])
        except (KeyError, TypeError, msgspec.ValidationError):
            raise ValueError("it does not say what a line of an audit says") from None
        if facts.get("previous") != self.seal:
            raise ValueError("the line before it is not the one that was there")
        if self.closed:
            raise ValueError("it stands behind the summary")
        if kind == "summary" and line + b"\n" != self.make_line(self.summary):
            raise ValueError("it does not sum up the lines before it")
        if kind == "session":
            if facts["session_id"] in self.sessions:
                raise ValueError("its session has a line already, and an audit writes one")
            self.sessions[facts["session_id"]] = facts
        self.lines.append(facts)
        self.seal = suffix[1].decode()

    def make_line(self, facts: Mapping[str, object]) -> bytes:
        """Return the next line of a file, with its line feed."""
        content = as_json({**facts, "previous": self.seal}).removesuffix("}")
        return f'{content}, "sha256": "{hashlib.sha256(content.encode()).hexdigest()}"}}\n'.encode()


def verify(path: Path) -> Evidence:
    """Return the lines of a complete file.

    Raises:
        Failure: the file cannot be read, or is not as it was written.
    """
    try:
        with open(open_file(path, os.O_RDONLY), "rb") as file:
            content = file.read()
    except OSError as error:
        raise _unusable(path, error) from None
    evidence, rest = _read(path, content)
    if rest and evidence.closed:
        raise _broken(path, len(evidence.lines) + 1, "it stands behind the summary")
    if not evidence.closed:
        raise Failure(
            f"{path} is correct as far as it goes ({len(evidence.lines)} lines), but it is not "
            "complete: its end is missing, or the audit was interrupted.",
            "To finish an audit, run it again with the same options.",
            Exit.USAGE,
        )
    return evidence


@contextmanager
def appending(path: Path) -> Iterator[tuple[Evidence, Callable[[Mapping[str, object]], None]]]:
    """Open a file that is new or was interrupted; yield what it has, and what adds a line to it.

    Raises:
        Failure: it cannot be written, is complete, or is not as it was written.
    """
    try:
        file = open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise _unusable(path, error) from None
    with os.fdopen(file, "r+b", buffering=0) as stream:
        content = stream.read()
        evidence, rest = _read(path, content)
        if evidence.closed:
            raise Failure(
                f"{path} has a complete audit.", "Name another file with --evidence.", Exit.USAGE
            )
        size = len(content) - len(rest)
        if rest:
            stream.truncate(size)  # a line that an interruption has cut off

        def add(facts: Mapping[str, object]) -> None:
            nonlocal size
            line = evidence.make_line(facts)
            if os.fstat(stream.fileno()).st_size != size:
                raise Failure(
                    f"Something else writes to {path}.", "Use one file for each audit.", Exit.USAGE
                )
            try:
                stream.write(line)
                os.fsync(stream.fileno())
            except OSError as error:
                raise _unusable(path, error) from None
            size += len(line)
            evidence.read_line(line[:-1])

        yield evidence, add


def _read(path: Path, content: bytes) -> tuple[Evidence, bytes]:
    evidence = Evidence()
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            evidence.read_line(line)
        except ValueError as error:
            raise _broken(path, number, str(error)) from None
    if not _BEGINNING.startswith(rest[: len(_BEGINNING)]):
        raise _broken(path, len(lines) + 1, "it was changed")
    return evidence, rest


def _broken(path: Path, number: int, why: str) -> Failure:
    return Failure(
        f"{path} is not as it was written. Line {number}: {why}.",
        "It proves nothing. Find out who changed it, and audit again.",
        Exit.USAGE,
    )


def _unusable(path: Path, error: OSError) -> Failure:
    why = error.strerror or str(error)
    return Failure(f"{path} cannot be used: {why}.", "Name another file.", Exit.USAGE)
