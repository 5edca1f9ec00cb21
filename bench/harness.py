"""Starts the loopback server and the measured processes, and records the origin of figures."""

import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from local import ending

ROOT = Path(__file__).parent.parent
OURS = "this function"
TELEMETRY_OFF = "this function, telemetry off"
UNPATCHED = "this function, times not patched"
"""Without the time patch: docs/decisions/library-patches.md."""
PEERS = {
    "azure-ai-vision-face (aio)": "bench/peers/azure_sdk",
    "httpx, its own transport": "bench/peers/httpx_default",
    "requests, synchronous": "bench/peers/requests_sync",
}
FLOORS = {"bare aiohttp, no runtime": "aiohttp", "raw asyncio streams": "streams"}
ARGUMENTS = {
    OURS: ["--app", "."],
    TELEMETRY_OFF: ["--app", "."],
    UNPATCHED: ["--app", "bench/peers/without_patch"],
    **{name: ["--app", folder] for name, folder in PEERS.items()},
    **{name: ["--floor", kind] for name, kind in FLOORS.items()},
}
_LINE = 1 << 24


@dataclass(slots=True)
class Subject:
    """A process that runs batches of one variant."""

    process: asyncio.subprocess.Process
    rss_at_start: int

    async def run(
        self, messages: int, concurrency: int, burn_microseconds: float = 0.0
    ) -> dict[str, Any]:
        """Run a batch; return its cost, as `bench.subject` reports it.

        Args:
            messages: number of messages.
            concurrency: number of messages in flight.
            burn_microseconds: extra CPU time for each message; for floors only.

        Raises:
            RuntimeError: an invocation failed, so that the figures mean nothing.
        """
        order = {
            "messages": messages,
            "concurrency": concurrency,
            "burn_microseconds": burn_microseconds,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        answer: dict[str, Any] = await _line(self.process)
        if answer["failures"]:
            raise RuntimeError(f"{answer['failures']} invocations failed")
        return answer


@dataclass(slots=True)
class Server:
    """The loopback Face API and identity endpoint."""

    endpoint: str
    process: asyncio.subprocess.Process
    folder: str
    """Where exporters keep what they could not send; an earlier run's would be sent in this one."""

    async def latency(self, milliseconds: float) -> None:
        """Answer after this latency."""
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /latency/{milliseconds} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def log_lines(self) -> int:
        """Return the number of log lines that have arrived."""
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /lines HTTP/1.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        lines = int(await reader.readexactly(length))
        writer.close()
        return lines

    @property
    def environment(self) -> dict[str, str]:
        """App settings for a variant: as deployed, telemetry included, but without a rate limit."""
        return {
            **os.environ,
            "FACE_ENDPOINT": self.endpoint,
            "FACE_API_VERSION": "v1.2-preview.1",
            "FACE_MAX_CALLS_PER_SECOND": "10000",
            "SESSION_REVOKED_QUEUE": "session-revoked",
            "ServiceBusConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=k;"
            "SharedAccessKey=c2Vj;UseDevelopmentEmulator=true;",
            "IDENTITY_ENDPOINT": f"{self.endpoint}/msi/token",
            "IDENTITY_HEADER": "bench",
            "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey="
            f"00000000-0000-0000-0000-000000000001;IngestionEndpoint={self.endpoint}/;"
            f"LiveEndpoint={self.endpoint}/",
            # The exporter takes the app's name from them; without, it searches for one, line by line.
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "WEBSITE_SITE_NAME": "func-session-revoker",
            # What the exporter tells Microsoft about itself, four times an hour.
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
            "TMPDIR": self.folder,
        }

    @contextlib.asynccontextmanager
    async def subject(
        self, variant: str, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Subject]:
        """Start a variant's process, with more app settings if any are given; end it afterwards."""
        environment = {**self.environment, **(settings or {})}
        if variant == TELEMETRY_OFF:
            environment["PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"] = "false"
        process = await _start(["bench.subject", *ARGUMENTS[variant]], environment)
        try:
            yield Subject(process, (await _line(process))["rss_bytes"])
        finally:
            assert process.stdin is not None
            process.stdin.close()
            if process.returncode is None:
                process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[Server]:
    """Start the loopback server; end it afterwards."""
    process = await _start(["local.child", "bench.server"], dict(os.environ))
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Server((await _line(process))["endpoint"], process, folder)
    finally:
        process.terminate()
        await process.wait()


async def _start(module: list[str], environment: dict[str, str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        limit=_LINE,
        start_new_session=True,
    )
    ending.processes.append(process)
    return process


async def _line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a measured process ended; what it said is above")
    return json.loads(line)


@contextlib.contextmanager
def one_core(*subjects: Subject) -> Iterator[None]:
    """Keep these processes on the same core, where each gets the same part of its time.

    On a busy machine, two cores can give processes very different shares. Systems without this call
    leave the processes where they are.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    free = os.sched_getaffinity(0)
    _set_cores(subjects, {min(free)})
    try:
        yield
    finally:
        _set_cores(subjects, free)


def _set_cores(subjects: Sequence[Subject], cores: Set[int]) -> None:
    for subject in subjects:
        for thread in Path(f"/proc/{subject.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # the thread has just ended
                os.sched_setaffinity(int(thread.name), cores)


def median(samples: Sequence[float]) -> float:
    """Median of the samples."""
    return statistics.median(samples)


def spread(samples: Sequence[float]) -> float:
    """Interquartile range ÷ median."""
    if len(samples) < 2:
        return 0.0
    quarters = statistics.quantiles(samples, n=4, method="inclusive")
    return (quarters[2] - quarters[0]) / statistics.median(samples)


def cpu_microseconds(batch: Mapping[str, Any]) -> float:
    """CPU time of one message of the batch."""
    return float(batch["cpu_seconds"] / batch["messages"] * 1e6)


def provenance(arguments: Sequence[str]) -> dict[str, Any]:
    """The origin of the figures."""
    packages = ("azure-functions-runtime", "azure-functions", "httpx", "aiohttp", "msgspec")
    peers = ("azure-ai-vision-face", "requests", "azure-identity")
    shown = " ".join(arguments)
    return {
        "command": f'make bench ARGS="{shown}"' if shown else "make bench",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in (*packages, *peers)},
    }
