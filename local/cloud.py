"""Starts the local services as processes, wires them together and stops them."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from local import ending

READY_SECONDS = 30
STOP_SECONDS = 40


class ServiceFailed(Exception):
    """A service ended or did not get ready; the text holds the end of its log."""


@dataclass(slots=True)
class Service:
    """One process: `python -m MODULE ARGUMENTS`, and what it announced when it was ready."""

    module: str
    arguments: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServiceFailed: it ended, or did not get ready in time.
        """
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "local.child", self.module, *self.arguments),
                stdin=ending.starter_pipe(),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C goes to the starter alone, which ends them all
            )
        ending.processes.append(self.process)
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await self.process.stdout.readline()
            self.facts = json.loads(line)
        except (TimeoutError, ValueError):
            await self.kill()
            raise ServiceFailed(f"{self.module} did not start:{self._end_of_log()}") from None

    @property
    def address(self) -> str:
        """Where it listens; only its name, if it does not."""
        port = self.facts.get("port")
        return f"{self.module} on 127.0.0.1:{port}" if port else self.module

    async def failure(self) -> ServiceFailed:
        """Wait until it has ended; return how."""
        assert self.process is not None
        code = await self.process.wait()
        return ServiceFailed(f"{self.address} ended with code {code}:{self._end_of_log()}")

    def _end_of_log(self) -> str:
        end = self.log.read_text(errors="replace").strip().splitlines()[-15:]
        return "".join(f"\n{line}" for line in end) or f" nothing in its log, {self.log}"

    async def drain(self) -> int | None:
        """End a host as the platform's host drains an instance; return its exit code."""
        return await self.stop(signal.SIGUSR1)

    async def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Ask it to stop and wait until it has; return its exit code, None if it had to be killed."""
        if self.process is None:
            return None
        if self.process.returncode is not None:
            return self.process.returncode
        self.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            await self.kill()
            return None

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the local cloud is set up."""

    queue: str = "session-revoked"
    queue_properties: Mapping[str, object] = field(default_factory=dict)
    outcome_queue: str | None = None
    """A second queue, to which the function sends receipts; None: it sends none."""
    durable_broker: bool = False
    broker_latency_ms: float = 0
    """Simulated round-trip time of the broker, in milliseconds; see `python -m local.broker --help`."""
    face_limit: str = "none"
    """Limit of the Face API: COUNT/SECONDS, or "none"."""
    face_limit_shape: str = "fixed"
    seed: int = 0
    api_version: str = "v1.2-preview.1"
    hosts: int = 1
    app: Path = Path()
    settings: Mapping[str, str] = field(default_factory=dict)
    odd_metadata: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


# As infra/ deploys the queue.
QUEUE_PROPERTIES: Mapping[str, object] = {
    "lockDuration": "PT1M",
    "maxDeliveryCount": 20,
    "defaultMessageTimeToLive": "P2DT1H",
    "deadLetteringOnMessageExpiration": True,
    "requiresDuplicateDetection": True,
    "duplicateDetectionHistoryTimeWindow": "PT2H",
}


class Cloud:
    """Broker, Face API, identity endpoint and Functions hosts, each a process on 127.0.0.1.

    It is an async context manager: inside, all are ready; outside, all are stopped.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = ending.make_folder()
        key = secrets.token_hex(16)
        self.face = self._service(
            "local.face",
            *("--signing-key", key, "--seed", str(options.seed)),
            *("--limit", options.face_limit, "--limit-shape", options.face_limit_shape),
        )
        self.identity = self._service("local.identity", "--signing-key", key)
        config = self.folder / "broker.json"
        properties = {**QUEUE_PROPERTIES, **options.queue_properties}
        queues = [{"name": options.queue, "properties": properties}]
        if options.outcome_queue is not None:
            queues.append({"name": options.outcome_queue, "properties": QUEUE_PROPERTIES})
        config.write_text(json.dumps({"queues": queues}))
        self.broker = self._service("local.broker", "--config", str(config))
        if options.durable_broker:
            self.broker.arguments += ["--state", str(self.folder / "broker.sqlite")]
        if options.broker_latency_ms:
            self.broker.arguments += ["--latency-ms", str(options.broker_latency_ms)]
        self.hosts: list[Service] = []
        self.http = httpx.AsyncClient(timeout=30)

    def _service(self, module: str, *arguments: str) -> Service:
        return Service(module, list(arguments), self.folder / f"{module.rpartition('.')[2]}.log")

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(
                *(each.start() for each in (self.face, self.identity, self.broker))
            )
            # A restarted broker listens where it did before.
            self.broker.arguments += ["--port", str(self.broker.facts["port"])]
            self.broker.arguments += ["--control-port", str(self.broker.facts["control_port"])]
            for _ in range(self.options.hosts):
                await self.add_host()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def add_host(self) -> Service:
        """Start one more Functions host."""
        host = Service(
            "local.host",
            [
                *("--app", str(self.options.app.resolve())),
                *("--odd-metadata", json.dumps(self.options.odd_metadata)),
            ],
            self.folder / f"host-{len(self.hosts)}.log",
            self.environment,
        )
        self.hosts.append(host)
        await host.start()
        return host

    async def stop(self) -> None:
        """Stop all, hosts first, and remove their folder."""
        await asyncio.gather(*(host.stop() for host in self.hosts))
        await asyncio.gather(*(each.stop() for each in (self.broker, self.face, self.identity)))
        await self.http.aclose()
        ending.remove_folder(self.folder)

    async def failures(self, *others: Service) -> AsyncIterator[ServiceFailed]:
        """Yield how each part, or one of the others, ended, when it does."""
        services = (self.face, self.identity, self.broker, *self.hosts, *others)
        waiting = {asyncio.create_task(each.failure()) for each in services}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()

    @property
    def connection_string(self) -> str:
        """Connection string of the broker."""
        return str(self.broker.facts["connection_string"])

    @property
    def environment(self) -> dict[str, str]:
        """App settings, and what the platform adds, for a process that uses this cloud."""
        return {
            "FACE_ENDPOINT": self.face.facts["endpoint"],
            "FACE_API_VERSION": self.options.api_version,
            "SESSION_REVOKED_QUEUE": self.options.queue,
            "OUTCOME_QUEUE": self.options.outcome_queue or "",
            "ServiceBusConnection": self.connection_string,
            "IDENTITY_ENDPOINT": self.identity.facts["endpoint"],
            "IDENTITY_HEADER": self.identity.facts["header"],
            **self.options.settings,
        }

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines that the function has logged so far, over all hosts."""
        return [
            json.loads(line[line.index("{") :])
            for host in self.hosts
            for line in host.log.read_text(errors="replace").splitlines()
            if " delete_session {" in line and line.endswith("}")
        ]

    async def ask(self, service: Service, method: str, path: str, body: Any = None) -> Any:
        """Call a service's control API and return the JSON of its answer.

        Raises:
            httpx.HTTPStatusError: the service refused.
            ServiceFailed: it does not answer.
        """
        port = service.facts.get("control_port", service.facts["port"])
        url = f"http://127.0.0.1:{port}{path}"
        try:
            response = await self.http.request(method, url, json=body)
        except httpx.TransportError as error:
            raise ServiceFailed(f"{service.module} does not answer at {url}: {error!r}") from error
        response.raise_for_status()
        return response.json() if response.content else None
