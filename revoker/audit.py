"""Ask the Face API about many sessions, slowly, and keep what it answered as evidence."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import get_args

from delete_session import __version__
from delete_session.contract import SessionType
from delete_session.identity import TokenSource, TokenUnavailable
from delete_session.verdict import Meaning
from revoker.actor import actor_of
from revoker.evidence import Evidence
from revoker.face import CALL_SECONDS, MAX_LIST_BYTES, Face, Reply, is_nested, unanswered
from revoker.failure import Exit, Failure

_TRIES = 5
_MAX_PAUSE_SECONDS = 60.0
_MIN_LIST_CALLS = 4  # for each type a page, and an empty one

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


@dataclass(slots=True)
class Listing:
    """All sessions of a type, as the API listed them."""

    kind: SessionType
    found: dict[str, dict[str, object]] = field(default_factory=dict)
    """The page that has a session, by its id."""
    end: dict[str, object] = field(default_factory=dict)
    """The empty page after the last one, which is what speaks for a session that is not listed."""
    who: dict[str, object] = field(default_factory=dict)


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
        for line in evidence.lines:
            if (line["endpoint"], line["api_version"]) != (self.endpoint, self.api_version):
                raise Failure(
                    f"The evidence was begun for {line['endpoint']}, {line['api_version']}.",
                    "Go on with the same endpoint and version, or name another file.",
                    Exit.USAGE,
                )
        known = evidence.sessions
        progress(len(known))
        async with Face.open(self.endpoint, None, MAX_LIST_BYTES) as face:
            left = [each for each in ids if each not in known]
            lists = await self._lists(face, len(left), add)
            for done, session_id in enumerate(left, len(known) + 1):
                by_list = self._listed(lists, session_id) if lists else None
                add(by_list or await self._asked(face, session_id))
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

    async def _lists(self, face: Face, calls: int, add: Add) -> Sequence[Listing]:
        """List the sessions of each type to the end, and add a line for each page.

        Args:
            face: where they are listed.
            calls: how many calls that may take.
            add: adds a line to the evidence.

        Returns:
            Nothing if the API cannot list them, or there are more than these calls show.
        """
        lists = [Listing(kind) for kind in get_args(SessionType)]
        if not is_nested(self.api_version) or calls < _MIN_LIST_CALLS:
            return ()
        for each in lists:
            after = ""
            while not each.end:
                if not calls:
                    return ()
                calls -= 1
                call = partial(face.list, self.api_version, each.kind, after)
                try:
                    bearer, reply = await self._answer(call)
                except Failure:
                    return ()
                ids = reply.ids
                if ids is None or not each.found.keys().isdisjoint(ids):
                    return ()
                each.who = asdict(actor_of(bearer))
                page: dict[str, object] = {"at": datetime.now(UTC), "after": after}
                page |= {"request_id": reply.verdict.request_id, "sessions": len(ids)}
                add(self._line("list", session_type=each.kind, **page, who=each.who))
                each.found |= dict.fromkeys(ids, page)
                each.end = {} if ids else page
                after = ids[-1] if ids else after
        return lists

    def _listed(self, lists: Sequence[Listing], session_id: str) -> dict[str, object]:
        asked = []
        found = next((each for each in lists if session_id in each.found), None)
        for each in lists:
            page = each.found.get(session_id, each.end)
            asked.append(
                {"type": each.kind, "by": "list", "status": 200, "code": None}
                | {"request_id": page["request_id"]}
            )
            if each is found:
                break
        return self._session(
            session_id, found.kind if found else None, asked, at=page["at"], who=each.who
        )

    async def _asked(self, face: Face, session_id: str) -> dict[str, object]:
        asked: list[dict[str, object]] = []
        found: SessionType | None = None
        bearer = ""
        for kind in get_args(SessionType):
            call = partial(face.call, "GET", self.api_version, kind, session_id)
            bearer, reply = await self._answer(call)
            verdict = reply.verdict
            asked.append(
                {"type": kind, "by": "id", "status": verdict.status, "code": verdict.code}
                | {"request_id": verdict.request_id}
            )
            if verdict.status == 200:
                found = kind
                break
        who = asdict(actor_of(bearer))
        return self._session(session_id, found, asked, at=datetime.now(UTC), who=who)

    def _session(
        self,
        session_id: str,
        found: SessionType | None,
        asked: Sequence[Mapping[str, object]],
        **more: object,
    ) -> dict[str, object]:
        answer = "exists" if found else "not_found"
        facts = {"answer": answer, "session_type": found, "asked": asked}
        return self._line("session", session_id=session_id, **facts, **more)

    def _line(self, kind: str, **facts: object) -> dict[str, object]:
        where = {"endpoint": self.endpoint, "api_version": self.api_version}
        return {"line": kind, **facts, **where, "version": __version__, "operation": self.operation}

    async def _answer(self, call: Callable[..., Awaitable[Reply]]) -> tuple[str, Reply]:
        """Make a call until the Face API itself says that something exists, or that it does not."""
        for attempt in range(_TRIES):
            await asyncio.sleep(self.pace.wait(time.monotonic()))
            bearer = await self.token()
            last = attempt == _TRIES - 1
            try:
                reply = await call(bearer=bearer)
            except Failure:
                if last:
                    raise
                await asyncio.sleep(2.0**attempt)
                continue
            verdict = reply.verdict
            # A proxy that answers everything with 200 gives no request id.
            if verdict.meaning is Meaning.ALREADY_GONE or (
                verdict.status == 200 and verdict.request_id
            ):
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
