"""The sessions that exist, independent of HTTP. The caller passes in the time."""

import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

KINDS = ("livenessWithVerify", "liveness")
DATA_SECONDS = 48 * 3600
"""A session and its data expire this long after its creation."""
DEFAULT_TOKEN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Session:
    """A liveness session. Times are Unix seconds."""

    id: str
    kind: str
    created: float
    token_seconds: int
    token: str = ""
    device: str | None = None
    """`deviceCorrelationId`, as it was given."""
    nested: bool | None = None
    """Whether it was created under the older path shape; None if the control created it."""

    def token_has_expired(self, now: float) -> bool:
        """Whether the session's own token can no longer be used."""
        return now > self.created + self.token_seconds


class Sessions:
    """All sessions by id; an expired one counts as deleted."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def create(
        self,
        kind: str,
        now: float,
        *,
        token_seconds: int,
        device: str | None = None,
        nested: bool | None = None,
    ) -> Session:
        """Create one under a new random id, with a new random token."""
        token = secrets.token_urlsafe(24)
        session = Session(str(uuid.uuid4()), kind, now, token_seconds, token, device, nested)
        self._by_id[session.id] = session
        return session

    def add(self, ids: Iterable[str], kind: str, now: float) -> None:
        """Create sessions under the given ids."""
        self._by_id |= {each: Session(each, kind, now, DEFAULT_TOKEN_SECONDS) for each in ids}

    def find(self, session_id: str, kind: str, now: float) -> Session | None:
        """Return the session, or None if there is none of that kind."""
        session = self._by_id.get(session_id)
        if session is None or session.kind != kind:
            return None
        if now > session.created + DATA_SECONDS:
            del self._by_id[session_id]
            return None
        return session

    def after(self, start: str, kind: str, now: float) -> list[Session]:
        """Return the sessions of a kind whose ids are greater than `start`, in their order."""
        ids = sorted(each for each in self._by_id if each > start)
        found = [self.find(each, kind, now) for each in ids]
        return [each for each in found if each is not None]

    def delete(self, session: Session) -> None:
        """Delete a session that `find` returned."""
        del self._by_id[session.id]

    def clear(self) -> None:
        """Forget all of them."""
        self._by_id.clear()
