"""Which dead letters a page is about: its query or form, read into the command's own Selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import urlencode

from revoker.dead_letters import Selection
from revoker.messages import Seen

PAGE = 50
"""Messages on a page."""

AGES: Mapping[str, tuple[str, timedelta]] = {
    "last-1h": ("in the last hour", timedelta(hours=1)),
    "last-6h": ("in the last 6 hours", timedelta(hours=6)),
    "last-24h": ("in the last 24 hours", timedelta(hours=24)),
    "over-24h": ("more than 24 hours ago", timedelta(hours=24)),
    "over-48h": ("more than 48 hours ago: the sessions have expired", timedelta(hours=48)),
}
"""When a message was published: for each choice its text, and the age that divides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The user's filter; an empty text matches everything."""

    reason: str = ""
    session: str = ""
    age: str = ""
    number: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self:
        """Read it from a query or a form; ignore invalid values."""
        age, number = fields.get("age", ""), fields.get("number", "")
        return cls(
            reason=fields.get("reason", ""),
            session=fields.get("session", "").strip(),
            age=age if age in AGES else "",
            number=number if number.isdecimal() and len(number) < 19 else "",
        )

    def selection(self, now: datetime | None = None) -> Selection:
        """Return the selection that the command's functions take."""
        since = before = None
        if self.age:
            divide = (now or datetime.now(UTC)) - AGES[self.age][1]
            since, before = (divide, None) if self.age.startswith("last-") else (None, divide)
        return Selection(
            reasons=frozenset({self.reason} if self.reason else ()),
            session=self.session or None,
            since=since,
            before=before,
            numbers=frozenset({int(self.number)} if self.number else ()),
        )

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a form for the same filter."""
        all_fields = {
            "reason": self.reason,
            "session": self.session,
            "age": self.age,
            "number": self.number,
        }
        return {name: value for name, value in all_fields.items() if value}

    def query(self, page: int) -> str:
        """Return the query for one page with the same filter."""
        return urlencode({**self.fields, "page": page})


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the messages."""

    shown: Sequence[Seen]
    number: int
    """From 1."""
    of: int
    """How many pages there are."""
    total: int
    """How many messages there are on all pages."""
    first: int
    """The number of the first one shown, from 1; 0 if there is none."""

    @classmethod
    def cut(cls, found: Sequence[Seen], wanted: str) -> Self:
        """Return the requested page, or the nearest one."""
        pages = max(1, -(-len(found) // PAGE))
        number = min(max(1, int(wanted)), pages) if wanted.isdecimal() and len(wanted) < 9 else 1
        start = (number - 1) * PAGE
        first = start + 1 if found else 0
        return cls(found[start : start + PAGE], number, pages, len(found), first)
