"""Publish session-revoked messages for session ids, as docs/contract.md asks of every publisher."""

import asyncio
import codecs
import csv
import io
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID, uuid4, uuid5

import msgspec
from azure.servicebus import ServiceBusMessage

from delete_session.contract import SessionRevoked, SessionType
from revoker.carriers import Carrier, carriers
from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure

BATCH = 100  # messages per request: few enough that the progress bar moves
_LOOK_SECONDS = 5.0
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


HEADINGS = frozenset(("id", "session", "sessionid"))
"""What a table's first column may be called, in small letters without spaces and marks."""

_SHOWN = 20  # of what is not valid


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a session id, and where it stands."""

    text: str
    line: int | None
    """Of the file, from 1; None for an argument of the command line."""

    @property
    def what(self) -> str:
        """The text, shortened, and its place, for people."""
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.text[:140]!r}"


@dataclass(frozen=True, slots=True)
class Ids:
    """The session ids that were read, each once and in their order, and what is none."""

    valid: list[str]
    invalid: list[Candidate]


def read_ids(
    arguments: Iterable[str], file: BinaryIO | None = None, *, skip_invalid: bool = False
) -> Ids:
    """Read the session ids of the command line and of a file.

    Args:
        arguments: ids as they are.
        file: lines of text, or a table whose first column has the ids.
        skip_invalid: whether ids may be invalid.

    Raises:
        Failure: there is no id, or some are invalid, so that nothing may be published.
    """
    found = [Candidate(each.strip(), None) for each in arguments]
    found += [] if file is None else _first_column(_decoded(file.read()))
    first_of: dict[str, Candidate] = {}
    for each in found:
        first_of.setdefault(each.text, each)
    first_of.pop("", None)
    valid = [text for text in first_of if _is_session_id(text)]
    invalid = [each for text, each in first_of.items() if not _is_session_id(text)]
    if invalid and not skip_invalid:
        shown = "; ".join(each.what for each in invalid[:_SHOWN])
        more = f"; and {len(invalid) - _SHOWN} more" if len(invalid) > _SHOWN else ""
        raise Failure(
            f"Not valid as session ids: {shown}{more}.",
            "A session id consists of 1 to 128 letters, digits, '-' and '_'. Nothing was done.",
            Exit.USAGE,
        )
    if not valid:
        raise Failure(
            "No session id was given.", "Give some as arguments, or use --file.", Exit.USAGE
        )
    return Ids(valid, invalid)


def read_id(text: str) -> str:
    """Read one session id.

    Raises:
        Failure: it is not valid.
    """
    return read_ids([text]).valid[0]


def _decoded(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 as Windows writes it, with a byte order mark or without."""
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Failure(
            f"Line {line} of the file is not text in UTF-8.",
            "Save the file as UTF-8. Nothing was done.",
            Exit.USAGE,
        ) from None


def _first_column(text: str) -> list[Candidate]:
    """Return the first cell of each line with its number, without comments and a heading."""
    lines = [
        "" if line.lstrip().startswith("#") else line for line in io.StringIO(text, newline=None)
    ]
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    cells, line = [], 1
    try:
        for row in rows:
            # A row without its first cell has no id, which its reader wants to know.
            text = (row[0].strip().strip("'") if row else "") or delimiter.join(row)
            if text.strip(delimiter).strip():
                cells.append(Candidate(text.strip(), line))
            line = rows.line_num + 1
    except csv.Error as error:
        raise Failure(
            f"Line {line} of the file cannot be read: {error}.",
            "Correct the quotes there. Nothing was done.",
            Exit.USAGE,
        ) from None
    is_heading = cells and re.sub(r"[\s_-]", "", cells[0].text).lower() in HEADINGS
    return cells[1:] if is_heading else cells


def _is_session_id(text: str) -> bool:
    try:
        msgspec.convert({"sessionId": text}, SessionRevoked)
    except msgspec.ValidationError:
        return False
    return True


def new_run() -> UUID:
    """Return the id of a run: each decision to publish is a publication of its own."""
    return uuid4()


def read_run(text: str) -> UUID:
    """Read the id of the run that is to be resumed.

    Raises:
        Failure: it is not one.
    """
    try:
        return UUID(text)
    except ValueError:
        raise Failure(
            f"{text!r} is not the id of a run.",
            "Use the id that the interrupted run printed. Nothing was done.",
            Exit.USAGE,
        ) from None


def message_id(run: UUID, session_id: str, session_type: SessionType) -> str:
    """Return the message id: another one in each run, and the same when a run is resumed.

    It names the publication and not the session. Duplicate detection remembers it for its whole
    window, and drops whatever comes under the same id, be it corrected or wanted again.
    """
    return str(uuid5(run, f"{session_type}/{session_id}"))


def message(
    session_id: str, session_type: SessionType, reason: str | None, run: UUID, traceparent: str
) -> ServiceBusMessage:
    """Make the message that revokes a session."""
    body = {"sessionId": session_id, "sessionType": session_type}
    if reason:
        body["reason"] = reason
    return ServiceBusMessage(
        msgspec.json.encode(body),
        message_id=message_id(run, session_id, session_type),
        content_type="application/json",
        subject="session-revoked",
        # Azure Monitor reads both names; the first is the older one.
        application_properties={"Diagnostic-Id": traceparent, "traceparent": traceparent},
    )


def new_traceparent(environment: Mapping[str, str] = os.environ) -> str:
    """Make a W3C trace context, within the caller's trace if TRACEPARENT names one."""
    caller = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
    trace = caller[1] if caller else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


class Interrupted(Exception):
    """Publishing ended early, after the broker had confirmed the first `confirmed` messages."""

    def __init__(self, confirmed: int, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.confirmed = confirmed
        self.failure = failure


async def publish(
    address: QueueAddress,
    ids: Sequence[str],
    session_type: SessionType,
    reason: str | None,
    run: UUID,
    progress: Callable[[int], None],
) -> None:
    """Publish in batches; the broker confirms each batch before the next is sent.

    Args:
        address: the queue's address.
        ids: valid session ids.
        session_type: the type of all these sessions.
        reason: the reason, for people; None for no reason.
        run: the id of this run, or of the one that it resumes.
        progress: called with the number of messages confirmed so far.

    Raises:
        Interrupted: the broker did not accept a batch.
    """
    confirmed = 0
    try:
        async with address.sender() as sender:
            for start in range(0, len(ids), BATCH):
                some = ids[start : start + BATCH]
                await sender.send_messages(
                    [message(each, session_type, reason, run, new_traceparent()) for each in some]
                )
                confirmed += len(some)
                progress(confirmed)
    except Failure as failed:
        raise Interrupted(confirmed, failed) from failed


async def look_for_others(
    address: QueueAddress, ids: Sequence[str], session_type: SessionType, run: UUID
) -> Mapping[str, Sequence[Carrier]] | None:
    """Return what else carries these sessions; None where this login may not look."""
    own = [message_id(run, each, session_type) for each in ids]
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            return await carriers(address, ids, except_ids=own)
    return None
