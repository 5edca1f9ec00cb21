"""What reaches Application Insights, through the worker's real distribution of OpenTelemetry."""

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from local.cloud import Cloud, Options
from tests.ingestion import Ingestion

ROOT = Path(__file__).parents[2]
MESSAGES = 120
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


async def publish(cloud: Cloud, count: int) -> set[str]:
    """Publish sessions; return their ids."""
    ids = [f"s-{number}" for number in range(count)]
    await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": ids})
    async with (
        ServiceBusClient.from_connection_string(cloud.connection_string) as client,
        client.get_queue_sender(cloud.options.queue) as sender,
    ):
        await sender.send_messages([ServiceBusMessage(json.dumps({"sessionId": x})) for x in ids])
    return set(ids)


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
        published = await publish(cloud, MESSAGES)
        await until(lambda: len(ingestion.logged) >= MESSAGES)
        metrics = len(ingestion.kinds("MetricData"))
        await until(lambda: len(ingestion.kinds("MetricData")) >= metrics + 20)
    lines = [json.loads(text) for text in ingestion.logged]
    assert len(lines) == MESSAGES
    assert {line["session_id"] for line in lines} == published


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
        published = await publish(cloud, 20)
        async with asyncio.timeout(30):
            while await completed(cloud) < len(published):
                await asyncio.sleep(0.1)
        assert ingestion.logged == []
        assert await cloud.hosts[0].stop() == -signal.SIGTERM
    assert {json.loads(text)["session_id"] for text in ingestion.logged} == published
