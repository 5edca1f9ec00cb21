"""What reaches Application Insights, through the worker's real distribution of OpenTelemetry."""

import asyncio
import json
import shutil
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from local.cloud import Cloud, Options
from tests.ingestion import Ingestion

ROOT = Path(__file__).parents[2]
MESSAGES = 120
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ANOTHER_LIBRARY = """
import logging
_other = logging.getLogger("another.library")
_other.info("nobody wants to know")
_other.warning("a warning of another library")
try:
    raise KeyError("an exception of another library")
except KeyError:
    _other.exception("caught")
"""


@pytest.fixture
async def ingestion() -> AsyncIterator[Ingestion]:
    async with Ingestion().serving() as serving:
        yield serving


@asynccontextmanager
async def deployed(ingestion: Ingestion, app: Path = ROOT, **settings: str) -> AsyncIterator[Cloud]:
    """The local cloud, whose worker exports."""
    settings = {"FACE_MAX_CALLS_PER_SECOND": "1000", **ingestion.settings, **settings}
    async with Cloud(Options(app=app, settings=settings)) as cloud:
        yield cloud


async def publish(cloud: Cloud, properties: Sequence[dict[str | bytes, Any]]) -> set[str]:
    """Publish a session for each of these application properties; return the ids."""
    sessions = {f"s-{number}": given for number, given in enumerate(properties)}
    await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": [*sessions]})
    messages = [
        ServiceBusMessage(json.dumps({"sessionId": session}), application_properties=given)
        for session, given in sessions.items()
    ]
    async with (
        ServiceBusClient.from_connection_string(cloud.connection_string) as client,
        client.get_queue_sender(cloud.options.queue) as sender,
    ):
        await sender.send_messages(messages)
    return set(sessions)


async def completed(cloud: Cloud) -> int:
    ledger = await cloud.ask(cloud.broker, "GET", "/ledger")
    return sum(event["event"] == "completed" for event in ledger)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.1)


async def test_only_audit_lines_leave_the_process(ingestion: Ingestion) -> None:
    """An idle process exports no log line, and 120 messages make 120."""
    async with deployed(ingestion) as cloud:
        await until(lambda: len(ingestion.kinds("MetricData")) >= 20)  # some exports to talk about
        assert ingestion.logged == []
        published = await publish(cloud, [{}] * MESSAGES)
        await until(lambda: len(ingestion.logged) >= MESSAGES)
        metrics = len(ingestion.kinds("MetricData"))
        await until(lambda: len(ingestion.kinds("MetricData")) >= metrics + 20)
    lines = [json.loads(text) for text in ingestion.logged]
    assert len(lines) == MESSAGES
    assert {line["session_id"] for line in lines} == published


async def test_lines_of_a_message_and_its_copies_are_in_one_trace(ingestion: Ingestion) -> None:
    """It is the publisher's, if the message carries one."""
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    busy = {"fault": "status", "status": 503, "code": "Busy", "retry_after": 1, "count": 3}
    async with deployed(ingestion, RETRY_INITIAL_DELAY_SECONDS="0.2") as cloud:
        await cloud.ask(cloud.face, "POST", "/_local/faults", [busy])
        await publish(cloud, [{}, {"traceparent": parent}, {"Diagnostic-Id": parent}])
        await until(lambda: len(ingestion.logged) >= 6)
    traces = defaultdict[str, list[str]](list)
    for item in ingestion.items:
        if item["data"]["baseType"] == "MessageData":
            line = json.loads(item["data"]["baseData"]["message"])
            traces[line["session_id"]].append(item["tags"]["ai.operation.id"])
    assert traces.pop("s-1") == traces.pop("s-2") == [TRACE, TRACE]
    [(first, second)] = traces.values()
    assert first == second != TRACE


async def test_warnings_and_exceptions_of_others_leave_the_process(
    ingestion: Ingestion, tmp_path: Path
) -> None:
    """Of another library's lines, all but those at INFO arrive, exceptions as exceptions."""
    app = (ROOT / "function_app.py").read_text()
    (tmp_path / "function_app.py").write_text(app + ANOTHER_LIBRARY)
    shutil.copy(ROOT / "host.json", tmp_path)
    async with deployed(ingestion, tmp_path, PYTHONPATH=str(ROOT)):
        await until(lambda: len(ingestion.logged) == 2)
    assert ingestion.logged == ["a warning of another library", "caught"]
    [exception] = ingestion.kinds("ExceptionData")
    assert "an exception of another library" in exception["exceptions"][0]["stack"]


async def test_sigterm_loses_no_audit_line(ingestion: Ingestion) -> None:
    """The lines of the last second arrive, and the process ends at once."""
    async with deployed(ingestion, OTEL_BLRP_SCHEDULE_DELAY="60000") as cloud:
        published = await publish(cloud, [{}] * 20)
        async with asyncio.timeout(30):
            while await completed(cloud) < len(published):
                await asyncio.sleep(0.1)
        assert ingestion.logged == []
        assert await cloud.hosts[0].stop() == -signal.SIGTERM
    assert {json.loads(text)["session_id"] for text in ingestion.logged} == published
