"""Receipts, sent by the deployed app to the local broker and read by the documented examples."""

import asyncio
import importlib.util
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient as AsyncClient

from delete_session.clock import Clock
from delete_session.decision import Done
from delete_session.message import Delivery, Revocation
from delete_session.queue import ServiceBusQueue, SettlementFailed
from delete_session.receipt import Data, Receipts
from local.cloud import Cloud, Options
from tests.local.broker_process import BrokerProcess
from tests.node import installed, run
from tests.unit.fakes import message, settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
OUTCOMES = "session-outcomes"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def told() -> AsyncIterator[Cloud]:
    """A cloud in which one session was deleted, one was gone already and one message was malformed."""
    async with Cloud(Options(outcome_queue=OUTCOMES)) as cloud:
        await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": ["s-1"]})
        async with (
            AsyncClient.from_connection_string(cloud.connection_string) as client,
            client.get_queue_sender(cloud.options.queue) as sender,
        ):
            await sender.send_messages(
                [
                    ServiceBusMessage(
                        '{"sessionId": "s-1"}',
                        message_id="event-1",
                        correlation_id="case-7",
                        application_properties={"traceparent": TRACE},
                    ),
                    ServiceBusMessage('{"sessionId": "s-2"}', message_id="event-2"),
                    ServiceBusMessage('{"session": "s-3"}', message_id="event-3"),
                ]
            )
        deadline = time.monotonic() + 30
        while (await cloud.ask(cloud.broker, "GET", "/queues"))[OUTCOMES]["active"] < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        yield cloud


async def test_the_python_example_reads_what_the_app_sends(told: Cloud) -> None:
    """Each publication finds its outcome, with nothing but what the schema names, by its own id."""
    example = _module(EXAMPLES / "receipts.py")
    found: dict[str | None, tuple[bool, dict[str, Any]]] = {}

    def read() -> None:
        with ServiceBusClient.from_connection_string(told.connection_string) as client:
            example.read_receipts(client, lambda to, gone, data: found.update({to: (gone, data)}))

    await asyncio.to_thread(read)
    assert {to: (gone, data["outcome"]) for to, (gone, data) in found.items()} == {
        "case-7": (True, "deleted"),
        "event-2": (True, "already_gone"),
        "event-3": (False, "dead_lettered"),
    }
    for _, data in found.values():
        assert msgspec.to_builtins(msgspec.convert(data, Data)).keys() == data.keys()
    _, deleted = found["case-7"]
    times = [deleted[f"{name}At"] for name in ("published", "firstAttempt", "lastAttempt")]
    assert times == sorted(times)
    assert (deleted["sessionId"], deleted["rootMessageId"]) == ("s-1", "event-1")
    assert deleted["faceRequestId"]
    counts = (await told.ask(told.broker, "GET", "/queues"))[OUTCOMES]
    assert counts["active"] == 0


@pytest.mark.timeout(300)
async def test_the_typescript_example_reads_what_the_app_sends(told: Cloud) -> None:
    """With the unmodified SDK for JavaScript it reads what the Python example reads."""
    own = ROOT / "tests" / "revoker" / "typescript"
    options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    folder = await asyncio.to_thread(
        installed,
        "typescript-receipts",
        [
            *(own / each for each in ("package.json", "package-lock.json", "run-receipts.ts")),
            EXAMPLES / "receipts.ts",
        ],
        ["node_modules/typescript/bin/tsc", *options, "receipts.ts", "run-receipts.ts"],
    )
    command = ["node", "run-receipts.js", told.connection_string]
    done = await asyncio.to_thread(run, command, folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {to: (gone, data["outcome"]) for to, gone, data in lines} == {
        "case-7": (True, "deleted"),
        "event-2": (True, "already_gone"),
        "event-3": (False, "dead_lettered"),
    }


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("receipts_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_receipts_survive_what_happens_to_connections(tmp_path: Path) -> None:
    """A lost connection is reopened; a refusal is reported; a duplicate is dropped."""
    config = tmp_path / "broker.json"
    config.write_text(
        json.dumps(
            {"queues": [{"name": OUTCOMES, "properties": {"requiresDuplicateDetection": True}}]}
        )
    )
    with BrokerProcess.running(["--config", str(config)]) as broker:
        values = {"ServiceBusConnection": broker.connection_string, "CALL_TIMEOUT_SECONDS": "6"}
        read = settings(**values, ServiceBusConnection__fullyQualifiedNamespace="")
        outcomes = ServiceBusQueue(read.service_bus, OUTCOMES, read.call_timeout / 2, Clock())
        receipts = Receipts(read.queue, outcomes)

        async def send(message_id: str) -> None:
            delivery = Delivery.from_trigger(message(message_id=message_id), datetime.now(UTC))
            revocation = Revocation(delivery, 48, time.monotonic)
            await receipts.send(revocation, Done("deleted"), until=time.monotonic())

        try:
            await asyncio.gather(*(send(f"m-{n}") for n in range(8)))
            assert broker.control("POST", "/disconnect") == {"connections": 1}
            await send("m-0")
            broker.control("POST", "/faults", {"operation": "send", "count": 2})
            with pytest.raises(SettlementFailed):
                await send("m-8")
            await send("m-8")
            assert broker.counts(OUTCOMES)["active"] == 9
            events = [each["event"] for each in broker.events(OUTCOMES)]
            assert events.count("duplicate_dropped") == 1
        finally:
            await outcomes.close()
