"""Read session ids: from the command line, from a file with one on each line, or from a table."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, get_args

import msgspec

from delete_session.contract import SessionRevoked, SessionType
from revoker.failure import Exit, Failure

ID_HEADINGS = frozenset(("id", "session", "sessionid"))
TYPE_HEADING = "sessiontype"
"""What columns may be called, in small letters without spaces and marks."""

_TYPES: Mapping[str, SessionType] = {name.lower(): name for name in get_args(SessionType)}
_SHOWN = 20  # of what is not valid


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a session id, and where it stands."""

    text: str
    line: int | None = None
    """Line of the file, from 1; None for an argument of the command line."""
    session_type: SessionType | None = None
    """What the file says; None if it says nothing."""

    @property
    def what(self) -> str:
        """The text, shortened, and its place, for people."""
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.text[:140]!r}"


@dataclass(frozen=True, slots=True)
class Ids:
    """The session ids that were read, each once and in their order, and what is none."""

    valid: Mapping[str, SessionType | None]
    """Each with the type that its file gives."""
    invalid: Sequence[Candidate]
    column: str
    """The heading of the file's column that has the ids; empty without a heading."""
    first: str
    """The first id of the file; empty without one."""
    ignored: Sequence[str]
    """The headings of columns that have neither ids nor types."""


def read_ids(
    arguments: Iterable[str],
    file: BinaryIO | None = None,
    *,
    skip_invalid: bool = False,
    known: Iterable[str] = (),
) -> Ids:
    """Read the session ids of the command line and of a file.

    Args:
        arguments: ids as they are.
        file: one id on each line, or a table (CSV) whose heading names the column of the ids.
        skip_invalid: whether ids may be invalid.
        known: ids of the record and of receipts, which may be invalid.

    Raises:
        Failure: there is no id, some are invalid, or the file cannot be read without a guess, so that
            nothing may be published.
    """
    found = [Candidate(each.strip()) for each in arguments]
    if any(each.text == "-" for each in found):  # valid as an id, but meant as in other commands
        raise Failure(
            "'-' is not taken as a session id.", "Use --file - for standard input.", Exit.USAGE
        )
    of_file, column, ignored = ([], "", []) if file is None else _of_table(_decoded(file.read()))
    found += of_file
    given = {each.text for each in found}
    found += [Candidate(each) for each in known]
    first_of: dict[str, Candidate] = {}
    for each in found:
        first = first_of.setdefault(each.text, each)
        if each.line is not None and each.session_type != first.session_type:
            raise _unreadable(each.line, f"{each.text[:140]!r} stands there with two types")
    first_of.pop("", None)
    invalid = [first_of.pop(text) for text in list(first_of) if not _is_session_id(text)]
    wrong = [each for each in invalid if each.text in given and not skip_invalid]
    if wrong:
        shown = "; ".join(each.what for each in wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise Failure(
            f"Not valid as session ids: {shown}{more}.",
            "A session id consists of 1 to 128 letters, digits, '-' and '_'. Nothing was done.",
            Exit.USAGE,
        )
    valid = {text: each.session_type for text, each in first_of.items()}
    if not valid:
        raise Failure(
            "No session id was found.", "Give some as arguments, or use --file.", Exit.USAGE
        )
    first_of_file = next((each.text for each in of_file if each.text in valid), "")
    return Ids(valid, invalid, column, first_of_file, ignored)


def read_id(text: str) -> str:
    """Read one session id.

    Raises:
        Failure: it is not valid.
    """
    return next(iter(read_ids([text]).valid))


def _decoded(content: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or what Windows calls ANSI.

    Ids are ASCII, so whatever else an unknown encoding changes is in columns that do not matter.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _of_table(text: str) -> tuple[list[Candidate], str, list[str]]:
    """Return the ids of a table, or of a file with one on each line, their column, and the others."""
    rows = _rows(text)
    number, heading = next(rows, (1, []))
    names = [re.sub(r"[\s_-]", "", cell).lower() for cell in heading]
    columns = [column for column, name in enumerate(names) if name in ID_HEADINGS]
    if "id" in names:  # of what, if another column may be that of the sessions?
        columns += [
            column
            for column, name in enumerate(names)
            if "session" in name and name not in (*ID_HEADINGS, TYPE_HEADING)
        ]
    if len(columns) > 1:
        named = ", ".join(heading[column] for column in columns)
        raise _unreadable(number, f"more than one column may have the ids: {named}")
    if not columns:
        if len(names) == 1 and re.fullmatch(r"[a-z]*ids?", names[0]):
            raise _unreadable(
                number, f"the heading {heading[0]} is unknown: name the column sessionId"
            )
        lines = [(number, heading), *rows] if heading else []
        return [_only_cell(*row) for row in lines], "", []
    types = [column for column, name in enumerate(names) if name == TYPE_HEADING]
    found = []
    for number, row in rows:
        if any(row[len(heading) :]):
            raise _unreadable(number, "it has more cells than the heading; look at its quotes")
        if len(row) <= columns[0]:
            raise _unreadable(number, f"it has no cell in the column {heading[columns[0]]}")
        cells = [*row, *[""] * (len(heading) - len(row))]
        # A row without an id is shown as it is: its reader wants to know.
        id_ = _cell(cells[columns[0]]) or ",".join(row)
        found.append(Candidate(id_, number, _type(number, cells[types[0]]) if types else None))
    used = {columns[0], *types[:1]}
    ignored = [name for column, name in enumerate(heading) if name and column not in used]
    return found, heading[columns[0]], ignored


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are neither empty nor comments, with the numbers of their lines."""
    lines = [
        "" if line.lstrip().startswith("#") else line for line in io.StringIO(text, newline=None)
    ]
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    number = 1
    try:
        for row in reader:
            if re.fullmatch(r"sep=.?", "".join(row).strip(), re.IGNORECASE):
                raise _unreadable(
                    number, "it is an instruction for Excel and no heading: remove it"
                )
            if any(map(_is_ruler, row)):
                raise _unreadable(number, "it is a ruler: export the table as CSV")
            if any(cell.strip() for cell in row):
                yield number, [cell.strip() for cell in row]
            number = reader.line_num + 1
    except csv.Error as error:
        raise _unreadable(number, f"{error}; look at its quotes") from None


def _is_ruler(cell: str) -> bool:
    return re.fullmatch(r"[-=+|_─═ ]{3,}", cell.strip()) is not None


def _only_cell(line: int, row: list[str]) -> Candidate:
    if any(row[1:]):
        raise _unreadable(
            line,
            "it has several columns, and no heading says which one has the ids: name it sessionId",
        )
    return Candidate(_cell(row[0]), line)


def _cell(text: str) -> str:
    return text.strip().strip("'")


def _type(line: int, cell: str) -> SessionType | None:
    try:
        return _TYPES[cell.lower()] if cell else None
    except KeyError:
        allowed = ", ".join(_TYPES.values())
        raise _unreadable(line, f"{cell[:40]!r} is no sessionType; there are {allowed}") from None


def _unreadable(line: int, why: str) -> Failure:
    return Failure(
        f"Line {line} of the file cannot be read: {why}.",
        "Correct it there. Nothing was done.",
        Exit.USAGE,
    )


def _is_session_id(text: str) -> bool:
    try:
        msgspec.convert({"sessionId": text}, SessionRevoked)
    except msgspec.ValidationError:
        return False
    return True
