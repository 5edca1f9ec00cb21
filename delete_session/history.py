"""What a retry copy tells of the attempts before it: the wire format, read and written here only.

A copy carries the publisher's application properties and these besides. docs/upgrading.md says how
the format stays readable from one version to the next.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Self

import msgspec

ROOT_ID = "revoker-root-id"
FIRST_ENQUEUED = "revoker-first-enqueued"
ATTEMPT = "revoker-attempt"
COPY = "revoker-copy"
LAST_ERROR = "revoker-last-error"
FIRST_ATTEMPT = "revoker-first-attempt"
LAST_ATTEMPT = "revoker-last-attempt"

PROPERTIES = (ROOT_ID, FIRST_ENQUEUED, ATTEMPT, COPY, LAST_ERROR, FIRST_ATTEMPT, LAST_ATTEMPT)
"""The application properties that are ours."""

_MAX_MESSAGE_ID = 128  # characters, by Service Bus
_MAX_ERROR = 500  # characters: all properties together may have 64 KiB


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a revocation before this delivery."""

    root_id: str
    """Message id of what the publisher sent, of which this is the message or a retry copy."""
    first_enqueued_at: datetime
    """When the publisher's message was enqueued, in UTC, by the broker's clock."""
    attempts: int = 0
    """Calls made before."""
    copies: int = 0
    """Retry copies made before; 0 for what the publisher sent."""
    last_error: str = ""
    """What stood in the way last; empty if nothing did."""
    first_attempt_at: datetime | None = None
    """When the first call was begun; None if none was, or where an older version made the copy."""
    last_attempt_at: datetime | None = None
    """When the last call ended."""

    @classmethod
    def read(cls, properties: Mapping[str, object], message_id: str) -> Self | None:
        """Read it from a copy; return None where there is none, or where it is not this message's.

        It is the message's own if the message id follows from it. A dead letter that somebody sends
        again with all its properties, under an id of its own, begins anew.
        """
        root_id, first = properties.get(ROOT_ID), _time(properties.get(FIRST_ENQUEUED))
        copies, error = _count(properties.get(COPY)), properties.get(LAST_ERROR)
        if not isinstance(root_id, str) or first is None or not copies:
            return None
        history = cls(
            root_id=root_id,
            first_enqueued_at=first,
            attempts=_count(properties.get(ATTEMPT)),
            copies=copies,
            last_error=error if isinstance(error, str) else "",
            first_attempt_at=_time(properties.get(FIRST_ATTEMPT)),
            last_attempt_at=_time(properties.get(LAST_ATTEMPT)),
        )
        return history if message_id == history.copy_id else None

    def write(self) -> dict[str, str | int]:
        """Return the application properties that `read` understands."""
        times = {FIRST_ATTEMPT: self.first_attempt_at, LAST_ATTEMPT: self.last_attempt_at}
        return {
            ROOT_ID: self.root_id,
            FIRST_ENQUEUED: self.first_enqueued_at.isoformat(),
            ATTEMPT: self.attempts,
            COPY: self.copies,
            LAST_ERROR: self.last_error[:_MAX_ERROR],
            **{name: time.isoformat() for name, time in times.items() if time is not None},
        }

    def next(
        self,
        attempts: int,
        last_error: str,
        first_attempt_at: datetime | None = None,
        last_attempt_at: datetime | None = None,
    ) -> "History":
        """Return the history of the retry copy that follows."""
        return History(
            root_id=self.root_id,
            first_enqueued_at=self.first_enqueued_at,
            attempts=attempts,
            copies=self.copies + 1,
            last_error=last_error,
            first_attempt_at=first_attempt_at,
            last_attempt_at=last_attempt_at,
        )

    @property
    def copy_id(self) -> str:
        """Message id of the retry copy with this history.

        It is the same for every delivery of the message before, so that duplicate detection makes a
        repeated scheduling harmless, and another one for another message that the publisher gave
        the same id.
        """
        return self.derived_id(str(self.copies))

    def derived_id(self, what: str) -> str:
        """Return a message id that follows from the publisher's message and from `what` alone."""
        suffix = f":{int(self.first_enqueued_at.timestamp() * 1000)}:{what}"
        root_id = self.root_id
        if len(root_id) + len(suffix) > _MAX_MESSAGE_ID:
            root_id = hashlib.sha256(root_id.encode("utf-8", "replace")).hexdigest()
        return root_id + suffix


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1_000_000 else 0
