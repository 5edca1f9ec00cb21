"""The questions of a trial, in the order in which they are asked."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, get_args

import httpx
from azure.servicebus import ServiceBusMessage

from delete_session.contract import SessionType
from delete_session.face import collection_url
from delete_session.message import History
from delete_session.verdict import Meaning
from revoker.doctor.runner import Check, Skipped
from revoker.face import is_nested
from revoker.failure import Failure
from revoker.trial import disturbances
from revoker.trial.az import log_rows
from revoker.trial.stage import Stage

REFUSED_ID = "not-a-guid"
"""A session id that the contract allows and that the Face API may refuse for good."""

_COPY_SECONDS = 3.0
_MANY_SECONDS = 180.0
_BURST_SECONDS, _BURST_CALLS, _BURST_SESSIONS = 90.0, 40, 4
"""A burst: at most these seconds, this many calls a second, while these sessions are revoked."""


@dataclass(frozen=True, slots=True)
class Question(Check):
    """A check, and the question that it answers. A probe that may not ask is skipped."""

    text: str


def questions(stage: Stage, *, sessions: int, burst: bool, disturb: bool = False) -> list[Question]:
    """Return the questions about the deployment that the stage names.

    Args:
        stage: sessions and messages of this trial.
        sessions: how many are revoked at once.
        burst: whether the operator agrees to a burst of live calls.
        disturb: whether the operator agrees to a restart, and to the removal of the app's role.
    """
    ask = _Questions(stage)
    login, works = ("login",), ("revocation",)
    path = f"the {'nested' if is_nested(stage.version) else 'flat'} path of {stage.version}"
    families: list[tuple[Any, ...]] = [
        (
            f"{kind} by {version}",
            works,
            partial(ask.family, kind, version),
            f"Is a {kind} session of {version} seen by {stage.version}, and then gone everywhere?",
        )
        for version in stage.families
        for kind in get_args(SessionType)
    ]
    restart = partial(ask.disturbed, disturbances.restart, agreed=disturb)
    remove_role = partial(ask.disturbed, disturbances.remove_role, agreed=disturb)
    many, burst_of = partial(ask.many, sessions), partial(ask.throttled, burst=burst)
    rows = [
        ("login", (), ask.login, "May your login create and read sessions?"),
        ("revocation", login, ask.revocation, f"Does the function's role cover {path}?"),
        *families,
        ("malformed", login, ask.malformed, "Is a malformed message dead-lettered?"),
        ("not retryable", ("malformed",), ask.not_retryable, "Is one that can never succeed?"),
        ("duplicate", login, ask.duplicate, "Is a message with the id of a scheduled one dropped?"),
        ("retry copy", works, ask.copy, "Is a scheduled retry copy delivered and finished?"),
        ("many at once", works, many, f"How long do {sessions} revocations at once take?"),
        ("throttled", works, burst_of, "Does the function schedule retries beside live calls?"),
        ("receipts", works, ask.receipts, "Is there one for each revocation that ended?"),
        ("live session", login, ask.live_session, "Does a session that was not revoked exist?"),
        ("audit lines", works, ask.audit_lines, "Does each message have one, and how late?"),
        ("restart", works, restart, "Do revocations end if the app restarts meanwhile?"),
        ("role removed", works, remove_role, "Do they end once a missing role is back?"),
    ]
    return [Question(*row) for row in rows]


class _Questions:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._live = ""  # a session that is not revoked

    async def login(self) -> str:
        stage = self._stage
        for version in stage.families:
            verdict, _ = await stage.call("GET", version, "liveness", str(uuid.uuid4()))
            if verdict.status != 404 or verdict.meaning is Meaning.ALREADY_GONE:
                stage.known.append(version)
        self._live = await stage.create("liveness", stage.version)
        await stage.exists(self._live, stage.version)
        return f"yes; the resource knows {' and '.join(stage.known)}"

    async def revocation(self) -> str:
        stage = self._stage
        session_id = await stage.create("liveness", stage.version)
        seconds = await stage.revoke(stage.revocation(session_id))
        await stage.expect_gone(session_id)
        return f"yes: a session was gone {seconds:.1f} s after its revocation"

    async def family(self, kind: SessionType, version: str) -> str:
        stage = self._stage
        session_id = await stage.create(kind, version)
        if not await stage.exists(session_id, stage.version):
            raise Failure(
                f"{stage.version} does not see a session that {version} created",
                "FACE_API_VERSION must match the service that creates sessions. Set it to "
                f"{version} if the service uses {version}; keep {stage.version} if it uses that.",
            )
        await stage.revoke(stage.revocation(session_id))
        await stage.expect_gone(session_id)
        return f"yes: it is gone under {' and '.join(stage.known)}"

    async def malformed(self) -> str:
        return await self._dead_letter(self._stage.message({"session": ""}), "MalformedMessage")

    async def not_retryable(self) -> str:
        stage = self._stage
        verdict, _ = await stage.call("DELETE", stage.version, "liveness", REFUSED_ID)
        if verdict.meaning is not Meaning.REJECTED:
            raise Skipped(
                "no request is known that this resource refuses for good: to the session id "
                f"{REFUSED_ID} it answers {verdict.describe()}"
            )
        message = stage.message({"sessionId": REFUSED_ID, "sessionType": "liveness"})
        return await self._dead_letter(message, verdict.code)

    async def _dead_letter(self, message: ServiceBusMessage, reason: str) -> str:
        dead = await self._stage.finish(await self._stage.send(message))
        if [(seen.reason, bool(seen.description)) for seen in dead] != [(reason, True)]:
            raise Failure(
                f"Expected a dead letter with the reason {reason} and a description, found "
                f"{', '.join(f'{seen.reason}: {seen.description}' for seen in dead) or 'none'}",
                "Compare FACE_CODES_NOT_RETRYABLE, and look for settlement_failed in the log.",
            )
        return f"yes: {reason}, {dead[0].description}"

    async def duplicate(self) -> str:
        stage = self._stage
        due = datetime.now(UTC) + timedelta(hours=1)  # long after the trial
        for _ in range(2):
            message = stage.message(
                {"sessionId": str(uuid.uuid4())},
                message_id=f"{stage.run}duplicate",
                scheduled_enqueue_time_utc=due,
            )
            await stage.send(message)
        found = [seen for seen in await stage.look() if seen.message_id == message.message_id]
        await stage.cancel()
        if len(found) != 1:
            raise Failure(
                f"Of two scheduled messages with one id, the queue holds {len(found)}",
                "The queue needs duplicate detection, which a queue can only be created with.",
            )
        return "yes"

    async def copy(self) -> str:
        stage = self._stage
        now, root_id = datetime.now(UTC), f"{stage.run}copy"
        history = History(root_id=root_id, first_enqueued_at=now, attempts=1, copies=1)
        session_id = await stage.create("liveness", stage.version)
        copy = stage.revocation(
            session_id,
            message_id=history.copy_id,
            application_properties=history.write(),
            scheduled_enqueue_time_utc=now + timedelta(seconds=_COPY_SECONDS),
        )
        await stage.send(copy)
        states = [seen.state for seen in await stage.look() if seen.root_id == root_id]
        if states != ["scheduled"]:
            raise Failure("The copy is not among the scheduled messages", "Look at the queue.")
        await stage.finish([root_id], _COPY_SECONDS)
        await stage.expect_gone(session_id)
        late = (datetime.now(UTC) - now).total_seconds() - _COPY_SECONDS
        return f"yes, {max(0.0, late):.1f} s after it was due"

    async def many(self, sessions: int) -> str:
        stage = self._stage
        ids = [await stage.create("liveness", stage.version) for _ in range(sessions)]
        seconds = await stage.revoke(*map(stage.revocation, ids), seconds=_MANY_SECONDS)
        for each in ids:
            await stage.expect_gone(each)
        return (
            f"{seconds:.1f} s, {sessions / seconds:.1f} a second; so far {stage.throttled} calls of "
            "this trial were answered with 429"
        )

    async def throttled(self, *, burst: bool) -> str:
        if not burst:
            raise Skipped("it disturbs live traffic: --burst agrees to it")
        stage = self._stage
        ids = [await stage.create("liveness", stage.version) for _ in range(_BURST_SESSIONS)]
        before, until = stage.throttled, time.monotonic() + _BURST_SECONDS
        sent = await stage.send(*map(stage.revocation, ids))
        calls = asyncio.create_task(self._burst())
        try:
            while not (copies := [each for each in await stage.look() if each.attempts]):
                if time.monotonic() > until:
                    break
                await asyncio.sleep(0.2)
        finally:
            calls.cancel()
            await asyncio.wait([calls])
        await stage.finish(sent, _BURST_SECONDS)
        own = f"{stage.throttled - before} live calls were answered with 429"
        if not copies:
            raise Skipped(f"{own}, but no message of the function had to wait")
        for each in ids:
            await stage.expect_gone(each)
        stage.evidence += [f"retry copy {each.message_id}: {each.last_error}" for each in copies]
        return f"yes, and all are gone; {own}"

    async def _burst(self) -> None:
        stage = self._stage
        url = collection_url(stage.endpoint, stage.version, "liveness") + self._live

        async def call() -> None:
            with suppress(httpx.HTTPError):
                stage.throttled += (await stage.face.get(url)).status_code == 429

        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(call())
                await asyncio.sleep(1 / _BURST_CALLS)

    async def receipts(self) -> str:
        stage = self._stage
        outcomes = stage.address.outcomes(stage.environment)
        if outcomes is None:
            raise Skipped("OUTCOME_QUEUE is not set, so that no receipts are sent")
        try:
            found = await stage.receipts(outcomes)
        except Failure as failure:
            raise Skipped(f"your login may not read them: {failure.cause}") from None
        told = Counter(
            (each["rootMessageId"], each["outcome"] == "dead_lettered") for each in found
        )
        wrong = {id_ for id_, _ in told - Counter(stage.ended.items())}
        wrong |= {id_ for id_, _ in Counter(stage.ended.items()) - told}
        if wrong or any(each.get("sessionId") in stage.alive for each in found):
            raise Failure(
                f"{len(wrong)} of {len(stage.ended)} receipts are missing, wrong or too many: "
                f"{', '.join(sorted(wrong)[:3])}",
                "Compare OUTCOME_QUEUE here with the function's. A reader may have been faster.",
            )
        return f"yes: {len(found)}, which stay in the queue for its readers"

    async def live_session(self) -> str:
        if not await self._stage.exists(self._live, self._stage.version):
            raise Failure("It is gone", "Find its deletion in the logs of the Face resource.")
        return "yes"

    async def audit_lines(self) -> str:
        stage = self._stage
        query = (
            "AppTraces | where Message startswith '{' | extend line = parse_json(Message) "
            f"| extend root_id = tostring(line.root_id) | where root_id startswith '{stage.run}' "
            "| summarize seconds = max((ingestion_time() - TimeGenerated) / 1s) by root_id"
        )

        def missing(rows: list[dict[str, Any]]) -> list[str]:
            return sorted(stage.ended.keys() - {row["root_id"] for row in rows})

        rows = await log_rows(stage, query, lambda rows: not missing(rows))
        if left := missing(rows):
            raise Failure(
                f"{len(left)} of {len(stage.ended)} messages have no audit line: "
                f"{', '.join(left[:3])}",
                "See audit-lines-missing in docs/operations.md.",
            )
        late = sorted(float(row["seconds"]) for row in rows)
        return (
            f"yes; ingestion took {late[len(late) // 2]:.0f} s (median), {late[-1]:.0f} s at most"
        )

    async def disturbed(self, disturb: Callable[[Stage], Awaitable[str]], *, agreed: bool) -> str:
        if not agreed:
            raise Skipped("it disturbs the deployment: --disturb agrees to it")
        return await disturb(self._stage)
