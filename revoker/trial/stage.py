"""A trial's sessions and messages: it creates them, watches them, and removes them at the end."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender

from delete_session.contract import SessionType
from delete_session.endpoint import proxy_for
from delete_session.face import collection_url, read_response
from delete_session.verdict import Meaning, Verdict
from revoker import settling
from revoker.actor import service_bus_actor
from revoker.connection import QueueAddress, answered, face_scope, setting
from revoker.doctor.runner import Skipped
from revoker.face import CALL_SECONDS, NOT_RETRYABLE, is_nested, token
from revoker.failure import Exit, Failure, first_line
from revoker.messages import Seen, body_of, peek, walk
from revoker.record import Record
from revoker.remedies import for_error

PREFIX = "revoker-trial-"
"""The message ids of all trials begin with it."""
LIMIT = timedelta(minutes=20)
"""A trial takes no longer; what an older one has left is removed."""
CLEAN_SECONDS = 120.0
"""How much of that is for cleaning up."""
PATIENCE = 120.0
"""Seconds that a message may take."""
_NESTED, _FLAT = "v1.2-preview.1", "v1.2"  # a version of each path family
_LOOK, _BATCH = 10_000, 100  # messages at once


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run of the trial."""

    environment: Mapping[str, str]
    address: QueueAddress
    endpoint: str
    version: str
    """FACE_API_VERSION."""
    face: httpx.AsyncClient
    queue: ServiceBusReceiver
    dead_letters: ServiceBusReceiver
    sender: ServiceBusSender
    patience: float = PATIENCE
    verify_image: Path | None = None
    run: str = field(default_factory=lambda: f"{PREFIX}{uuid.uuid4().hex[:8]}-")
    """The message ids of this trial begin with it."""
    evidence: list[str] = field(default_factory=list)
    """Request and message ids of the question that is being asked."""
    known: list[str] = field(default_factory=list)
    """Those of `families` that the resource knows."""
    alive: dict[str, tuple[SessionType, str]] = field(default_factory=dict)
    """Sessions that were created and are not known to be gone: type and version."""
    ended: dict[str, bool] = field(default_factory=dict)
    """Message ids of revocations that have ended: whether they were dead-lettered."""
    throttled: int = 0
    """Number of this trial's own calls that were answered with 429."""
    _sent: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Mapping[str, str], **fields: Any) -> AsyncIterator[Self]:
        """Log in to what the environment names.

        Raises:
            Failure: a setting is wrong, there is no token, or the login may not use the queue.
        """
        address = QueueAddress.read(environment)
        endpoint = setting("face_endpoint", environment)
        try:
            proxy = proxy_for(urlsplit(endpoint).hostname or "", environment)
        except ValueError as error:
            raise Failure(f"{error}.", "Correct HTTPS_PROXY, or unset it.", Exit.USAGE) from None
        bearer = await token(
            face_scope(environment), environment.get("AZURE_CLIENT_ID", "").strip() or None
        )
        async with (
            httpx.AsyncClient(  # the function's transport sends no body
                timeout=CALL_SECONDS,
                headers={"authorization": f"Bearer {bearer}"},
                proxy=proxy,
                trust_env=False,
                verify=httpx.create_ssl_context(),
            ) as face,
            address.receiver() as queue,
            address.receiver(dead_letters=True) as dead_letters,
            address.sender() as sender,
        ):
            yield cls(
                environment=environment,
                address=address,
                endpoint=endpoint,
                version=setting("face_api_version", environment),
                face=face,
                queue=queue,
                dead_letters=dead_letters,
                sender=sender,
                **fields,
            )

    @property
    def families(self) -> list[str]:
        """FACE_API_VERSION, and a version with the paths of the other family."""
        return [self.version, _FLAT if is_nested(self.version) else _NESTED]

    # ---- the Face API ----

    async def call(
        self, method: str, version: str, kind: SessionType, session_id: str = "", **body: Any
    ) -> tuple[Verdict, httpx.Response]:
        """Make a call; wait and make it again after a 429.

        Raises:
            Failure: there was no answer.
        """
        url = (collection_url(self.endpoint, version, kind) + session_id).removesuffix("/")
        while True:
            try:
                response = await self.face.request(method, url, **body)
            except httpx.HTTPError as error:
                cause = f"{self.endpoint} does not answer: {first_line(error)}"
                raise Failure(cause, "Run 'revoker doctor'.") from error
            verdict = read_response(response, response.content, NOT_RETRYABLE)
            if verdict.meaning is not Meaning.THROTTLED:
                break
            self.throttled += 1
            await asyncio.sleep(min(verdict.retry_after or 1.0, self.patience))
        what = f"{method} {kind} {session_id} under {version}"
        self.evidence.append(f"{what}: {verdict.status}, request id {verdict.request_id}")
        return verdict, response

    async def create(self, kind: SessionType, version: str) -> str:
        """Create a session and return its id.

        Raises:
            Skipped: it was refused.
        """
        values = {"livenessOperationMode": "Passive", "deviceCorrelationId": str(uuid.uuid4())}
        body: dict[str, Any] = {"json": values}
        if kind == "livenessWithVerify" and self.verify_image and not is_nested(version):
            image = (self.verify_image.name, self.verify_image.read_bytes())
            body = {"data": values, "files": {"verifyImage": image}}
        verdict, response = await self.call("POST", version, kind, **body)
        if not response.is_success:
            hint = "" if self.verify_image or kind == "liveness" else " (without --verify-image)"
            said = verdict.describe()
            raise Skipped(f"you cannot create a {kind} session under {version}{hint}: {said}")
        session_id = str(response.json()["sessionId"])
        self.alive[session_id] = (kind, version)
        self.evidence.append(f"created session {session_id}")
        return session_id

    async def exists(self, session_id: str, version: str) -> bool:
        """Return whether a session that was created is known under a version.

        Raises:
            Skipped: the answer leaves it open.
        """
        verdict, _ = await self.call("GET", version, self.alive[session_id][0], session_id)
        if verdict.status == 200 or verdict.meaning is Meaning.ALREADY_GONE:
            return verdict.status == 200
        raise Skipped(f"you cannot read a session: {verdict.describe()}")

    async def expect_gone(self, session_id: str) -> None:
        """Check that a session is gone under every version that the resource knows.

        Raises:
            Failure: it is not.
        """
        for version in self.known:
            await asyncio.sleep(0.1)  # within the quota
            if await self.exists(session_id, version):
                raise Failure(
                    f"The message has ended, and session {session_id} exists under {version}",
                    "Compare FACE_API_VERSION here with the function's, and see its audit line.",
                )
        del self.alive[session_id]

    # ---- the queue ----

    def message(self, body: Mapping[str, object], **fields: Any) -> ServiceBusMessage:
        """Make a message under an id of this trial."""
        self._sent += 1
        fields = {"message_id": f"{self.run}{self._sent}", **fields}
        return ServiceBusMessage(json.dumps(body), content_type="application/json", **fields)

    def revocation(self, session_id: str, **fields: Any) -> ServiceBusMessage:
        """Make the message that revokes a session that was created."""
        kind = self.alive[session_id][0]
        return self.message({"sessionId": session_id, "sessionType": kind}, **fields)

    async def send(self, *messages: ServiceBusMessage) -> list[str]:
        """Send messages and return their ids."""
        async with self.address.explained("Send"):
            for start in range(0, len(messages), _BATCH):
                await answered(self.sender.send_messages(list(messages[start : start + _BATCH])))
        ids = [str(each.message_id) for each in messages]
        self.evidence += [f"sent message {each}" for each in ids]
        return ids

    async def look(self, *, dead: bool = False) -> list[Seen]:
        """Return the messages of this trial, and of those that must have ended."""
        old = datetime.now(UTC) - LIMIT
        async with self.address.explained("Listen"):
            receiver = self.dead_letters if dead else self.queue
            found = [Seen.read(each) async for each in peek(receiver, limit=_LOOK)]
        return [
            seen
            for seen in found
            if seen.root_id.startswith(self.run)
            or (seen.root_id.startswith(PREFIX) and seen.first_enqueued_at < old)
        ]

    async def finish(
        self, ids: Sequence[str], seconds: float = 0, *, is_misconfigured: bool = False
    ) -> list[Seen]:
        """Wait until messages have left the queue; return those that were dead-lettered.

        Args:
            ids: the ids under which they were published.
            seconds: how long they may take besides `patience`.
            is_misconfigured: whether errors of a wrong deployment are expected.

        Raises:
            Failure: they still wait, or the deployment is wrong.
        """
        until = time.monotonic() + self.patience + seconds
        error = ""
        while left := [seen for seen in await self.look() if seen.root_id in ids]:
            error = next((seen.last_error for seen in left if seen.last_error), error)
            if not is_misconfigured and (remedy := for_error(error)):
                raise Failure(f"The deployment is wrong: {error}", remedy)
            if time.monotonic() > until:
                raise Failure(
                    f"{len(left)} of {len(ids)} messages have not ended in time. {error}".strip(),
                    "Look at the function's log, and check with 'revoker doctor'.",
                )
            await asyncio.sleep(0.5)
        dead = [seen for seen in await self.look(dead=True) if seen.root_id in ids]
        self.ended |= dict.fromkeys(ids, False)
        self.ended |= dict.fromkeys((seen.root_id for seen in dead), True)
        return dead

    async def revoke(self, *messages: ServiceBusMessage, seconds: float = 0) -> float:
        """Send messages, wait until they have ended, and return the seconds that it took.

        Raises:
            Failure: they still wait, or were dead-lettered.
        """
        began = time.monotonic()
        await self.ended_well(await self.send(*messages), seconds)
        return time.monotonic() - began

    async def ended_well(
        self, ids: Sequence[str], seconds: float = 0, *, is_misconfigured: bool = False
    ) -> None:
        """Wait as `finish` does.

        Raises:
            Failure: they still wait, or were dead-lettered.
        """
        for seen in await self.finish(ids, seconds, is_misconfigured=is_misconfigured):
            raise Failure(
                f"{seen.message_id} was dead-lettered as {seen.reason}: {seen.description}",
                for_error(seen.description) or "Look the reason up in docs/operations.md.",
            )

    async def receipts(self, outcomes: QueueAddress) -> list[dict[str, Any]]:
        """Return the data of the receipts of this trial."""
        found = []
        async with aclosing(walk(outcomes, dead_letters=False, limit=_LOOK)) as messages:
            async for message in messages:
                body = body_of(message) or b""
                if f'"rootMessageId":"{self.run}'.encode() in body:
                    found.append(json.loads(body)["data"])
        return found

    # ---- the end ----

    async def clean(self, record: Path) -> list[str]:
        """Remove what this trial and interrupted ones have left; return what is still there.

        Args:
            record: gets a line for each dead letter that is discarded.
        """
        left = []
        for part in (self._clean_queue(record), self._delete_sessions()):
            try:
                async with asyncio.timeout(CLEAN_SECONDS / 2):
                    left += await part
            except (Failure, TimeoutError) as error:
                left.append(first_line(error))
        return left

    async def _clean_queue(self, record: Path) -> list[str]:
        await self.cancel()
        dead = await self.look(dead=True)
        who = await service_bus_actor(self.address.connection)
        with Record.open(record, "command", who, str(uuid.uuid4())) as file:
            await settling.discard(self.address, dead, file, self.patience, lambda _: None)
        left = [f"message {each.message_id}" for each in await self.look()]
        return left + [f"dead letter {each.message_id}" for each in await self.look(dead=True)]

    async def _delete_sessions(self) -> list[str]:
        left = []
        for session_id, (kind, version) in self.alive.items():
            verdict, _ = await self.call("DELETE", version, kind, session_id)
            if verdict.meaning not in (Meaning.DELETED, Meaning.ALREADY_GONE):
                left.append(f"session {session_id}, until it expires: {verdict.describe()}")
        return left

    async def cancel(self) -> None:
        """Cancel scheduled messages."""
        scheduled = [
            seen.sequence_number for seen in await self.look() if seen.state == "scheduled"
        ]
        if scheduled:
            async with self.address.explained("Send"):
                await answered(self.sender.cancel_scheduled_messages(scheduled))
