"""Ask the Face API about many sessions, slowly, and keep what it answered as evidence."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from delete_session import __version__
from delete_session.contract import SessionType
from delete_session.identity import TokenSource, TokenUnavailable
from delete_session.verdict import Meaning
from revoker.actor import actor_of
from revoker.evidence import Evidence
from revoker.face import CALL_SECONDS, Face, Reply, unanswered
from revoker.failure import Exit, Failure

_TRIES = 5
_MAX_PAUSE_SECONDS = 60.0

type Add = Callable[[Mapping[str, object]], None]


@dataclass(slots=True)
class Pace:
    """A fixed rate of calls. The first one is made at once, and a pause is not made up for."""

    rate: float
    """Calls per second."""
    next_at: float = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may be made, and count it as made then."""
        at = max(now, self.next_at)
        self.next_at = at + 1 / self.rate
        return at - now


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """Where and how it is asked."""

    endpoint: str
    api_version: str
    tokens: TokenSource
    pace: Pace
    operation: str

    async def ask(
        self, ids: Iterable[str], evidence: Evidence, add: Add, progress: Callable[[int], None]
    ) -> None:
        """Ask about each session that the evidence does not have yet, and add its line.

        Raises:
            Failure: the API's answer leaves it open, or there is no token.
        """
        for line in evidence.sessions.values():
            if (line["endpoint"], line["api_version"]) != (self.endpoint, self.api_version):
                raise Failure(
                    f"The evidence was begun for {line['endpoint']}, {line['api_version']}.",
                    "Go on with the same endpoint and version, or name another file.",
                    Exit.USAGE,
                )
        known = frozenset(evidence.sessions)
        progress(len(known))
        async with Face.open(self.endpoint, None) as face:
            left = (each for each in ids if each not in known)
            for done, session_id in enumerate(left, len(known) + 1):
                add(await self._line(face, session_id))
                progress(done)

    async def token(self) -> str:
        """Return the token of the person who asks.

        Raises:
            Failure: none is available.
        """
        try:
            return await self.tokens.get()
        except TokenUnavailable as error:
            raise Failure(
                f"No Microsoft Entra token: {error}.",
                "Log in with 'az login', and run this again.",
            ) from None

    async def _line(self, face: Face, session_id: str) -> dict[str, object]:
        asked: list[dict[str, object]] = []
        found: SessionType | None = None
        bearer = ""
        for kind in get_args(SessionType):
            bearer, reply = await self._answer(face, session_id, kind)
            verdict = reply.verdict
            asked.append(
                {"type": kind, "status": verdict.status, "code": verdict.code}
                | {"request_id": verdict.request_id}
            )
            if verdict.status == 200:
                found = kind
                break
        return {
            "line": "session",
            "session_id": session_id,
            "at": datetime.now(UTC),
            "answer": "exists" if found else "not_found",
            "session_type": found,
            "endpoint": self.endpoint,
            "api_version": self.api_version,
            "asked": asked,
            "who": asdict(actor_of(bearer)),
            "version": __version__,
            "operation": self.operation,
        }

    async def _answer(self, face: Face, session_id: str, kind: SessionType) -> tuple[str, Reply]:
        """Ask until it is known whether the session exists under this type."""
        for attempt in range(_TRIES):
            await asyncio.sleep(self.pace.wait(time.monotonic()))
            bearer = await self.token()
            last = attempt == _TRIES - 1
            try:
                reply = await face.call("GET", self.api_version, kind, session_id, bearer=bearer)
            except Failure:
                if last:
                    raise
                await asyncio.sleep(2.0**attempt)
                continue
            verdict = reply.verdict
            if verdict.status == 200 or verdict.meaning is Meaning.ALREADY_GONE:
                return bearer, reply
            if verdict.refuses_token:
                self.tokens.drop(bearer)
            elif verdict.meaning not in (Meaning.THROTTLED, Meaning.UNAVAILABLE):
                raise unanswered(verdict)
            if last:
                raise unanswered(verdict)
            pause = 2.0**attempt if verdict.retry_after is None else verdict.retry_after
            await asyncio.sleep(min(pause, _MAX_PAUSE_SECONDS))
        raise AssertionError


def new_auditor(
    endpoint: str, api_version: str, scope: str, client_id: str | None, rate: float, operation: str
) -> Auditor:
    """Return an auditor that logs in as the person who runs the command."""
    return Auditor(
        endpoint=endpoint,
        api_version=api_version,
        tokens=TokenSource(client_id, scope, CALL_SECONDS),
        pace=Pace(rate),
        operation=operation,
    )


def alive(evidence: Evidence) -> dict[str, SessionType]:
    """Return the sessions that exist, with their types."""
    return {
        session_id: line["session_type"]
        for session_id, line in evidence.sessions.items()
        if line["answer"] == "exists"
    }


def summary(evidence: Evidence, operation: str, published: int) -> dict[str, Any]:
    """Return the last line of the evidence."""
    return {
        "line": "summary",
        "at": datetime.now(UTC),
        "asked": len(evidence.sessions),
        "alive": len(alive(evidence)),
        "published": published,
        "operation": operation,
    }
