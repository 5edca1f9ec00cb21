"""What a scenario plays on: a fresh local cloud, and the hands that publish, break and look."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from local.cloud import Cloud, Options, Service
from local.soak.invariants import Evidence, LogLine, Published

FUNCTION = "liveness-session-revoker"
"""How the function calls itself at the Face API."""

_POLL_SECONDS = 0.1
_BATCH = 100
_BATCH_BYTES = 128 * 1024


def batches(messages: Sequence[Published], most: int) -> Iterator[list[Published]]:
    """Split into batches of at most so many messages that the broker takes in one transfer."""
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
class Live:
    """What a live verification client met."""

    calls: int = 0
    throttled: int = 0

    @property
    def share_throttled(self) -> float:
        """429 answers per call."""
        return self.throttled / max(1, self.calls)


@dataclass(slots=True)
class Stage:
    """One scenario's cloud, and what has been published into it.

    Args:
        cloud: broker, Face API, identity endpoint and hosts, running.
        chance: all that is random in the scenario comes from it.
    """

    cloud: Cloud
    chance: random.Random
    published: list[Published] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    """Times and counts that the scenario wants to remember for its bars."""
    most_hosts: int = 1
    starts: int = 0

    # ---- publishing ----

    def id(self) -> str:
        """A new random id."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def plan(self, count: int, **fields: Any) -> list[Published]:
        """So many valid messages, each for a session of its own."""
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
            per_second: how many; None: as fast as it goes.
            again: they were published before: nothing new is expected of them.
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
        """Ask the Face API's control."""
        return await self.cloud.ask(self.cloud.face, method, path, body)

    async def break_face(self, *rules: Mapping[str, Any]) -> None:
        """Add rules of faults, see local/face/faults.py."""
        await self.face("POST", "/_local/faults", [dict(rule) for rule in rules])

    async def mend_face(self) -> None:
        """No more faults."""
        await self.face("DELETE", "/_local/faults")

    async def break_broker(self, **fault: Any) -> None:
        """Add a fault, see local/broker/faults.py."""
        await self.cloud.ask(self.cloud.broker, "POST", "/faults", fault)

    async def mend_broker(self) -> None:
        """No more faults."""
        await self.cloud.ask(self.cloud.broker, "DELETE", "/faults")

    async def set_identity(self, **values: Any) -> None:
        """Change the identity endpoint, see local/identity.py."""
        await self.cloud.ask(self.cloud.identity, "POST", "/_local/config", values)

    async def add_host(self, module: str = "local.host", **environment: str) -> Service:
        """Start one more host, or a wrapper of one."""
        number = len(self.cloud.hosts)
        host = Service(
            module,
            ["--app", str(self.cloud.options.app.resolve())],
            self.cloud.folder / f"host-{number}.log",
            {**self.cloud.environment, **environment},
        )
        self.cloud.hosts.append(host)
        self.starts += 1
        await host.start()
        return host

    async def restart(self, service: Service, *, kill: bool) -> None:
        """Stop it, with SIGKILL or SIGTERM, and start it again."""
        await (service.kill() if kill else service.stop())
        if service in self.cloud.hosts:
            self.starts += 1
        await service.start()

    @contextlib.asynccontextmanager
    async def live_client(self, per_second: float, *, poisson: bool) -> AsyncIterator[Live]:
        """Live verification traffic meanwhile: GET and POST with a valid token.

        Args:
            per_second: calls on average, whatever becomes of them.
            poisson: at random times instead of evenly spaced ones.
        """
        met = Live()
        running = asyncio.create_task(self._live(met, per_second, poisson))
        try:
            yield met
        finally:
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()

    async def _live(self, met: Live, per_second: float, poisson: bool) -> None:
        identity = self.cloud.identity.facts
        base = f"{self.cloud.face.facts['endpoint']}/face/{self.cloud.options.api_version}"
        sessions = f"{base}/detectLivenessWithVerify/singleModal/sessions"
        [session_id] = await self.face("POST", "/_local/sessions", {"ids": [self.id()]})
        async with httpx.AsyncClient(timeout=10) as http, asyncio.TaskGroup() as calls:
            answer = await http.get(
                identity["endpoint"],
                params={
                    "api-version": "2019-08-01",
                    "resource": "https://cognitiveservices.azure.com",
                },
                headers={"X-IDENTITY-HEADER": identity["header"]},
            )
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

            async def call(number: int) -> None:
                if number % 2:
                    body = {"livenessOperationMode": "Passive"}
                    response = await http.post(sessions, headers=headers, json=body)
                else:
                    response = await http.get(f"{sessions}/{session_id}", headers=headers)
                met.calls += 1
                met.throttled += response.status_code == 429
                if response.status_code not in (200, 429):
                    raise AssertionError(f"the live client got {response.status_code}")

            due = time.monotonic()
            while True:
                due += self.chance.expovariate(per_second) if poisson else 1 / per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                calls.create_task(call(met.calls))

    # ---- looking ----

    async def queue(self) -> dict[str, int]:
        """How many messages are active, locked, scheduled, deferred and dead-lettered."""
        queues = await self.cloud.ask(self.cloud.broker, "GET", "/queues")
        return dict(queues[self.cloud.options.queue])

    async def left(self) -> int:
        """Messages that have not ended."""
        queue = await self.queue()
        return queue["active"] + queue["scheduled"] + queue["deferred"]

    async def calls(self) -> list[dict[str, Any]]:
        """What the function has called at the Face API, in order."""
        calls = await self.face("GET", "/_local/calls")
        return [call for call in calls if (call["user_agent"] or "").startswith(FUNCTION)]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition; the scenario's limit bounds it."""
        while not await condition():  # noqa: ASYNC110 (it is other processes that are waited for)
            await asyncio.sleep(_POLL_SECONDS)

    async def drained(self) -> None:
        """Wait until the queue holds nothing but dead letters."""

        async def empty() -> bool:
            return await self.left() == 0

        await self.until(empty)

    async def ended(self, count: int) -> None:
        """Wait until at most the others of what was published are left in the queue."""

        async def enough() -> bool:
            return await self.left() <= len(self.published) - count

        await self.until(enough)

    def lines(self) -> list[LogLine]:
        """The function's log over all hosts, by time."""
        found = []
        for number, host in enumerate(self.cloud.hosts):
            for line in host.log.read_text(errors="replace").splitlines():
                if " delete_session {" in line and line.endswith("}"):
                    # 2026-01-02 03:04:05,678 LEVEL delete_session {…}
                    written = datetime.fromisoformat(line[:23].replace(",", "."))
                    record = json.loads(line[line.index("{") :])
                    found.append(LogLine(number, written.timestamp(), record))
        return sorted(found, key=lambda line: line.time)

    async def evidence(self) -> Evidence:
        """Everything that is known at the end."""
        cloud, queue = self.cloud, self.cloud.options.queue
        listing = f"/messages?queue={queue}&dead_letter=1&limit=1000000"
        sessions = await self.face("GET", "/_local/sessions")
        return Evidence(
            published=self.published,
            ledger=await cloud.ask(cloud.broker, "GET", "/ledger"),
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
    """A stage on a fresh cloud, which is stopped in the end."""
    async with Cloud(options) as cloud:
        yield Stage(cloud, chance, most_hosts=max(1, options.hosts), starts=options.hosts)
