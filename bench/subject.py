"""One variant in a separate process: it runs batches on demand and reports their cost.

    python -m bench.subject (--app DIRECTORY | --floor NAME)

A line of JSON on standard input, `{"messages": 4000, "concurrency": 16, "burn_microseconds": 0}`, runs
a batch; the answer is a line of JSON with `seconds`, `cpu_seconds`, `rss_bytes` and `failures`. A floor
burns so much CPU time for each message besides. A function app is loaded and invoked as the platform's
worker for Python 3.13 does it: the runtime gets protobuf messages, each in a task, on uvloop.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from opentelemetry._logs import get_logger_provider
from opentelemetry.trace import get_tracer_provider

from local.host.messages import Json

if TYPE_CHECKING:
    from bench.floor import Call

type Invoke = Callable[[int], Awaitable[bool]]
"""Processes the message with this number, and returns whether it worked."""

DISTINCT = 256
"""Number of prepared messages, used in turn, so that their construction is not measured."""


def metadata(number: int) -> dict[str, object]:
    """Trigger metadata as the platform's host gives them for a plainly published message."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    trace_id = random.Random(number).randbytes(16).hex()  # the sampler decides by it
    properties = {"tenant": "retail", "traceparent": f"00-{trace_id}-{trace_id[:16]}-01"}
    return {
        "MessageId": str(uuid.UUID(int=number, version=4)),
        "LockToken": str(uuid.UUID(int=number + 1, version=4)),
        "DeliveryCount": 1,
        "EnqueuedTimeUtc": Json(f'"{now}"'),
        "ExpiresAtUtc": Json('"9999-12-31T23:59:59.9999999"'),
        "SequenceNumber": number + 1,
        "CorrelationId": str(uuid.UUID(int=number + 2, version=4)),
        "ContentType": "application/json",
        "Subject": "session-revoked",
        "Label": "session-revoked",
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }


def session_id(number: int) -> str:
    """Session id of the message with this number."""
    return str(uuid.UUID(int=number << 64 | number, version=4))


async def app(directory: Path, distinct: int = DISTINCT) -> Invoke:
    """Index the app; return what invokes its one function with a message and says if it worked."""
    from local.host import worker

    os.chdir(directory)
    sys.path.insert(0, str(directory))
    [function] = await worker.index(directory)
    [binding] = [each for each in function.bindings if each["type"] == "serviceBusTrigger"]
    binary = str(binding.get("dataType", "")).upper() == "BINARY"
    requests = []
    for number in range(distinct):
        text = json.dumps({"sessionId": session_id(number), "reason": "signed out"})
        body = text.encode() if binary else text
        requests.append(
            worker.invocation_request(function, binding["name"], body, metadata(number))
        )

    async def invoke(number: int) -> bool:
        response = await asyncio.create_task(worker.handle(requests[number % distinct]))
        if response.result.exception.message:
            sys.stderr.write(f"{response.result.exception.message}\n")
        return not response.result.exception.message

    return invoke


class Floor:
    """Invokes the bare call, and then burns CPU time if required."""

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._ids = [session_id(number) for number in range(DISTINCT)]
        self.burn_seconds = 0.0

    async def __call__(self, number: int) -> bool:
        """Delete a session."""
        await self._call(self._ids[number % DISTINCT])
        if self.burn_seconds:
            # The thread's own clock stands still while another process has the core.
            until = time.thread_time() + self.burn_seconds
            while time.thread_time() < until:
                pass
        return True


async def batch(invoke: Invoke, messages: int, concurrency: int) -> dict[str, Any]:
    """Run `messages`, with `concurrency` in flight; return the cost."""
    numbers: Iterator[int] = iter(range(messages))
    failures = 0

    async def lane() -> None:
        nonlocal failures
        for number in numbers:
            if not await invoke(number):
                failures += 1

    cpu, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    for provider in (get_logger_provider(), get_tracer_provider()):
        getattr(provider, "force_flush", bool)()  # the export of its last lines belongs to a batch
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "messages": messages,
        "concurrency": concurrency,
        "failures": failures,
    }


def resident_bytes() -> int:
    """Resident memory now, or its maximum so far where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * resource.getpagesize()


def as_deployed() -> None:
    """Hide development packages that would be loaded because they are installed.

    httpx imports the parts of its command line, 8 MiB of them, where `click` is installed.
    """
    sys.modules["click"] = None  # type: ignore[assignment]


def quiet_logging() -> None:
    """Log as on the platform, at INFO, but to nowhere.

    The HTTP clients' own lines for every request are off for all variants alike. This favours the
    peers, because on the platform they are on by default.
    """
    logging.basicConfig(stream=Path(os.devnull).open("w"), level=logging.INFO)  # noqa: SIM115
    for chatty in ("azure", "httpx", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


async def main() -> int:
    """Run batches until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.subject", description=__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", type=Path)
    kind.add_argument("--floor")
    options = parser.parse_args()
    as_deployed()
    quiet_logging()
    if options.app:
        invoke: Invoke = await app(options.app.resolve())
    else:
        from bench.floor import CALLS

        invoke = Floor(await CALLS[options.floor]())
    loop = asyncio.get_running_loop()
    _answer({"ready": True, "rss_bytes": resident_bytes()})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        gc.collect()
        if isinstance(invoke, Floor):
            invoke.burn_seconds = order["burn_microseconds"] / 1e6
        result = await batch(invoke, order["messages"], order["concurrency"])
        _answer({**result, "rss_bytes": resident_bytes()})
    return 0


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Like the platform, which ends the worker without closing anything.
    os._exit(asyncio.run(main(), loop_factory=uvloop.new_event_loop))
