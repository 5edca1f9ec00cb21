"""A scenario's stage: a fresh local cloud, and the means to publish, break and observe."""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from local import ending
from local.cloud import Cloud, Options, Service
from local.receipts import peeked
from local.soak.invariants import Evidence, LogLine, Published
from local.soak.live import Live, LiveClient

FUNCTION = "liveness-session-revoker"
"""The function's user agent at the Face API."""

_POLL_SECONDS = 0.1
_BATCH = 100
_BATCH_BYTES = 128 * 1024


def batches(messages: Sequence[Published], most: int) -> Iterator[list[Published]]:
    """Split into batches of at most `most` messages that the broker accepts in one transfer."""
    batch, size = list[Published](), 0
    for each in messages:
        if batch and (len(batch) == most or size + len(each.body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.body)
    if batch:
        yield batch


@dataclass(slots=True)
class Stage:
    """One scenario's cloud, and what has been published into it.

    Args:
        cloud: broker, Face API, identity endpoint and hosts, running.
        chance: source of all randomness in the scenario.
    """

    cloud: Cloud
    chance: random.Random
    published: list[Published] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    """Times and counts that the scenario records for its thresholds."""
    most_hosts: int = 1
    starts: int = 0
    broker_starts: int = 1

    # ---- publishing ----

    def id(self) -> str:
        """Return a new random id."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def plan(self, count: int, **fields: Any) -> list[Published]:
        """Return `count` valid messages, each for a different session."""
        planned = []
        for _ in range(count):
            session_id = self.id()
            body = json.dumps({"sessionId": session_id}).encode()
            planned.append(
                Published(message_id=self.id(), body=body, session_id=session_id, **fields)
            )
        return planned

    async def publish(
        self, messages: Sequence[Published], *, per_second: float | None = None, again: bool = False
    ) -> None:
        """Create the sessions, then publish; all at once, or evenly over time.

        Args:
            messages: what to publish.
            per_second: rate; None: as fast as possible.
            again: whether they were published before, so that they add no expectations.
        """
        if not again:
            ids = [each.session_id for each in messages if each.session_id]
            await self.face("POST", "/_local/sessions", {"ids": ids})
            self.published += messages
        started = time.monotonic()
        async with (
            ServiceBusClient.from_connection_string(self.cloud.connection_string) as client,
            client.get_queue_sender(self.cloud.options.queue) as sender,
        ):
            sent = 0
            for batch in batches(messages, 1 if per_second else _BATCH):
                if per_second:
                    await asyncio.sleep(max(0.0, started + sent / per_second - time.monotonic()))
                await sender.send_messages(
                    [
                        ServiceBusMessage(
                            each.body, message_id=each.message_id, content_type=each.content_type
                        )
                        for each in batch
                    ]
                )
                sent += len(batch)

    # ---- breaking ----

    async def face(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control of the Face API."""
        return await self.cloud.ask(self.cloud.face, method, path, body)

    async def break_face(self, *rules: Mapping[str, Any]) -> None:
        """Add rules of faults, see local/face/faults.py."""
        await self.face("POST", "/_local/faults", [dict(rule) for rule in rules])

    async def restore_face(self) -> None:
        """Remove all faults."""
        await self.face("DELETE", "/_local/faults")

    async def break_broker(self, **fault: Any) -> None:
        """Add a fault, see local/broker/faults.py."""
        await self.cloud.ask(self.cloud.broker, "POST", "/faults", fault)

    async def restore_broker(self) -> None:
        """Remove all faults."""
        await self.cloud.ask(self.cloud.broker, "DELETE", "/faults")

    async def set_identity(self, **values: Any) -> None:
        """Change the identity endpoint, see local/identity.py."""
        await self.cloud.ask(self.cloud.identity, "POST", "/_local/config", values)

    async def add_host(
        self, module: str = "local.host", app: Path | None = None, **environment: str
    ) -> Service:
        """Start one more host, or a wrapper of one, or one of another version of the app."""
        number = len(self.cloud.hosts)
        host = Service(
            module,
            ["--app", str((app or self.cloud.options.app).resolve())],
            self.cloud.folder / f"host-{number}.log",
            {**self.cloud.environment, **environment},
        )
        self.cloud.hosts.append(host)
        self.starts += 1
        await host.start()
        return host

    async def drain(self, host: Service) -> None:
        """Drain a host as the platform's host drains an instance, and start another in its place."""
        await host.drain()
        self.starts += 1
        await host.start()

    async def restart(self, service: Service, *, kill: bool) -> None:
        """Stop it, with SIGKILL or SIGTERM, and start it again."""
        await (service.kill() if kill else service.stop())
        if service in self.cloud.hosts:
            self.starts += 1
        elif service is self.cloud.broker:
            self.broker_starts += 1
        await service.start()

    @contextlib.asynccontextmanager
    async def live_client(self, gaps: Iterator[float]) -> AsyncIterator[Live]:
        """Run live verification traffic meanwhile; `gaps`: see live.py."""
        [session_id] = await self.face("POST", "/_local/sessions", {"ids": [self.id()]})
        version = f"{self.cloud.face.facts['endpoint']}/face/{self.cloud.options.api_version}"
        client = LiveClient(
            sessions=f"{version}/detectLivenessWithVerify/singleModal/sessions",
            session_id=session_id,
            token=await self._token(),
        )
        met = Live()
        running = asyncio.create_task(client.run(met, gaps))
        try:
            yield met
        finally:
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()

    async def _token(self) -> str:
        identity = self.cloud.identity.facts
        answer = await self.cloud.http.get(
            identity["endpoint"],
            params={
                "api-version": "2019-08-01",
                "resource": "https://cognitiveservices.azure.com",
            },
            headers={"X-IDENTITY-HEADER": identity["header"]},
        )
        return str(answer.json()["access_token"])

    # ---- looking ----

    async def queue(self) -> dict[str, int]:
        """Return how many messages are active, locked, scheduled, deferred and dead-lettered."""
        queues = await self.cloud.ask(self.cloud.broker, "GET", "/queues")
        return dict(queues[self.cloud.options.queue])

    async def left(self) -> int:
        """Return the number of messages that have not ended."""
        queue = await self.queue()
        return queue["active"] + queue["scheduled"] + queue["deferred"]

    async def calls(self) -> list[dict[str, Any]]:
        """Return the function's calls at the Face API, in order."""
        calls = await self.face("GET", "/_local/calls")
        return [call for call in calls if (call["user_agent"] or "").startswith(FUNCTION)]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition; the scenario's limit bounds it."""
        while not await condition():  # noqa: ASYNC110 (other processes are waited for)
            await asyncio.sleep(_POLL_SECONDS)

    async def drained(self) -> None:
        """Wait until the queue holds only dead letters."""

        async def empty() -> bool:
            return await self.left() == 0

        await self.until(empty)

    async def ended(self, count: int) -> None:
        """Wait until `count` of the published messages have ended."""

        async def enough() -> bool:
            return await self.left() <= len(self.published) - count

        await self.until(enough)

    def lines(self) -> list[LogLine]:
        """Return the function's log over all hosts, by time."""
        found = []
        for number, host in enumerate(self.cloud.hosts):
            for line in host.log.read_text(errors="replace").splitlines():
                if " delete_session {" in line and line.endswith("}"):
                    # 2026-01-02 03:04:05,678 LEVEL delete_session {…}
                    written = datetime.fromisoformat(line[:23].replace(",", "."))
                    record = json.loads(line[line.index("{") :])
                    found.append(LogLine(number, written.timestamp(), record))
        return sorted(found, key=lambda line: line.time)

    async def send_missing_receipts(self) -> None:
        """Have the operator's command send the receipts of what the broker dead-lettered.

        Raises:
            RuntimeError: the command failed.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local.child", "revoker", "dead-letters", "receipts"),
            stdin=ending.starter_pipe(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.cloud.environment},
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"revoker dead-letters receipts: {output.decode()}")

    async def evidence(self) -> Evidence:
        """Return everything that is known at the end."""
        cloud, queue = self.cloud, self.cloud.options.queue
        outcomes = cloud.options.outcome_queue
        # First, because in an unfinished scenario messages may end while the rest is read.
        receipts = None if outcomes is None else await peeked(cloud.connection_string, outcomes)
        ledger = await cloud.ask(cloud.broker, "GET", "/ledger")
        listing = f"/messages?queue={queue}&dead_letter=1&limit=1000000"
        sessions = await self.face("GET", "/_local/sessions")
        return Evidence(
            published=self.published,
            ledger=[each for each in ledger if each["queue"] != outcomes],
            receipts=receipts,
            receipts_ledger=[each for each in ledger if each["queue"] == outcomes],
            broker_starts=self.broker_starts,
            dead_letters=await cloud.ask(cloud.broker, "GET", listing),
            in_queue=await self.left(),
            sessions=frozenset(each["id"] for each in sessions),
            calls=await self.calls(),
            lines=self.lines(),
            calls_per_second=float(cloud.options.settings["FACE_MAX_CALLS_PER_SECOND"]),
            processes=self.most_hosts,
            starts=self.starts,
        )


@contextlib.asynccontextmanager
async def open_stage(options: Options, chance: random.Random) -> AsyncIterator[Stage]:
    """Open a stage on a fresh cloud, which is stopped in the end."""
    async with Cloud(options) as cloud:
        yield Stage(cloud, chance, most_hosts=max(1, options.hosts), starts=options.hosts)
