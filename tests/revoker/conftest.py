"""Brokers, local clouds and the command itself, for the tests of `revoker/`."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient as SyncClient
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage
from typer.testing import CliRunner

from delete_session.message import History
from local.cloud import Options
from revoker import status
from revoker.cli.app import app
from tests.local.broker_process import BrokerProcess
from tests.revoker.clouds import CloudThread

QUEUES = 30
LONG_LOCKS = "long-locks"
"""A seeded queue, for one test of a file, whose messages stay locked for five minutes, instead of two
seconds. It has two more dead letters, whose bodies are AMQP values: a map and a text."""
KILLED = "killed"
"""An empty queue, which several runs of one test share."""
LETTERS = {"a": "One", "b": "Two", "c": "One", "d": "Two"}
"""The dead letters of each seeded queue: session id (which is the root id too) and reason."""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
"""When they were published, as their retry properties say."""
KEYS = {"listener": ["Listen"], "sender": ["Send"], "both": ["Send", "Listen"]}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def revoker(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> Ran:
    """Run the command in this process; of the settings it sees only those given."""
    cleared: dict[str, str | None] = dict.fromkeys(
        (
            *("ServiceBusConnection", "ServiceBusConnection__fullyQualifiedNamespace"),
            *("SESSION_REVOKED_QUEUE", "OUTCOME_QUEUE", "TRACEPARENT"),
            *("FACE_ENDPOINT", "FACE_API_VERSION", "REVOKER_RECORD_URL"),
            *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_ID"),
        )
    )
    result = CliRunner().invoke(app, list(arguments), input=stdin, env=cleared | environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def retry_copy_of(session_id: str) -> History:
    """Return what a retry copy of LETTERS carries."""
    return History(
        root_id=session_id, first_enqueued_at=FIRST, attempts=7, copies=3, last_error="HTTP 503"
    )


@pytest.fixture(autouse=True)
def _record_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes its record into the checkout."""
    monkeypatch.setenv("REVOKER_RECORD", str(tmp_path / "default-record.jsonl"))


@pytest.fixture(autouse=True)
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits seconds for a message to end."""
    monkeypatch.setattr(status, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(status, "_KNOWN_SECONDS", 0.2)
    monkeypatch.setattr(status, "_EVERY_SECONDS", 0.1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker with several equal queues, and keys with different rights."""
    properties = {
        "lockDuration": "PT2S",
        "defaultMessageTimeToLive": "P2D",
        "requiresDuplicateDetection": True,
    }
    config: Path = tmp_path_factory.mktemp("broker") / "broker.json"
    config.write_text(
        json.dumps(
            {
                "queues": [
                    {"name": name, "properties": properties}
                    for name in [KILLED, *(f"q{n}" for n in range(QUEUES))]
                ]
                + [{"name": LONG_LOCKS, "properties": properties | {"lockDuration": "PT5M"}}],
                "authorizationRules": [
                    {"keyName": name, "key": "c2Vj", "rights": rights}
                    for name, rights in KEYS.items()
                ],
            }
        )
    )
    with BrokerProcess.running(["--config", str(config)]) as running:
        yield running


@pytest.fixture(scope="module")
def _unused_queues() -> Iterator[str]:
    return iter([f"q{n}" for n in range(QUEUES)])


@dataclass(frozen=True, slots=True)
class OneQueue:
    """A fresh queue for one test."""

    broker: BrokerProcess
    name: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ServiceBusConnection": self.broker.with_key("both", "c2Vj"),
            "SESSION_REVOKED_QUEUE": self.name,
        }

    def revoker(self, *arguments: str, stdin: str | None = None) -> Ran:
        return revoker(self.environment, *arguments, stdin=stdin)

    @property
    def counts(self) -> dict[str, int]:
        return self.broker.counts(self.name)

    @property
    def events(self) -> list[dict[str, Any]]:
        own = (self.name, f"{self.name}/$deadletterqueue")
        return [event for event in self.broker.control("GET", "/ledger") if event["queue"] in own]

    def messages(self, *, dead: bool = False) -> list[dict[str, Any]]:
        path = f"/messages?queue={self.name}&dead_letter={int(dead)}"
        found: list[dict[str, Any]] = self.broker.control("GET", path)
        return found


@pytest.fixture
def queue(broker: BrokerProcess, _unused_queues: Iterator[str]) -> OneQueue:
    return OneQueue(broker, next(_unused_queues))


async def _seed(connection_string: str, name: str) -> None:
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(name) as sender,
        client.get_queue_receiver(name) as receiver,
    ):
        for session_id in LETTERS:
            history = retry_copy_of(session_id)
            await sender.send_messages(
                ServiceBusMessage(
                    json.dumps({"sessionId": session_id}),
                    message_id=history.copy_id,
                    content_type="application/json",
                    correlation_id="case-7",
                    application_properties=dict(history.write(), team="fraud"),  # type: ignore[arg-type]
                )
            )
        reasons = list(LETTERS.values())
        if name == LONG_LOCKS:
            for value in ({"a": "map"}, '{"sessionId": "a-text"}'):
                await sender.send_messages(AmqpAnnotatedMessage(value_body=value))
                reasons.append("MaxDeliveryCountExceeded")
        for reason in reasons:
            (message,) = await receiver.receive_messages(1, max_wait_time=10)
            await receiver.dead_letter_message(
                message, reason=reason, error_description=f"why: {reason}"
            )


def _seeded(queue: OneQueue) -> OneQueue:
    asyncio.run(_seed(queue.environment["ServiceBusConnection"], queue.name))
    return queue


@pytest.fixture
def seeded(queue: OneQueue) -> OneQueue:
    """A fresh queue for one test, with the four dead letters of LETTERS."""
    return _seeded(queue)


@pytest.fixture
def seeded_with_a_rest(broker: BrokerProcess) -> OneQueue:
    return _seeded(OneQueue(broker, LONG_LOCKS))


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudThread]:
    """A broker, a Face API and an identity endpoint, without a Functions host."""
    with CloudThread.running(Options(hosts=0)) as running:
        yield running


def dead_letter(
    queue: OneQueue,
    body: str,
    reason: str,
    description: str = "",
    properties: Mapping[str, object] | None = None,
    message_id: str | None = None,
) -> None:
    """Put one message into the dead letters."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        SyncClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        message = ServiceBusMessage(body, message_id=message_id)
        message.application_properties = dict(properties or {})  # type: ignore[assignment]
        sender.send_messages(message)
        (message,) = receiver.receive_messages(1, max_wait_time=10)
        receiver.dead_letter_message(message, reason=reason, error_description=description)
