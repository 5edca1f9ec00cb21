"""The broker's control port, its faults, and its command line."""

import asyncio
import datetime
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from tests.local.broker_process import BrokerProcess, until

LATER = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
QUEUES = [f"queue-{n}" for n in range(40)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    path: Path = tmp_path_factory.mktemp("broker") / "config.json"
    properties = {"requiresDuplicateDetection": True, "deadLetteringOnMessageExpiration": True}
    queues = [{"name": name, "properties": properties} for name in QUEUES]
    path.write_text(json.dumps({"queues": queues}))
    with BrokerProcess.running(["--config", str(path)]) as running:
        yield running


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return iter(QUEUES)


@pytest.fixture
def queue(names: Iterator[str]) -> str:
    return next(names)


one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def closing() -> AsyncIterator[None]:
    """Waits for what is being closed: the library takes a second for each client."""
    yield
    await asyncio.gather(*Client.closing)
    Client.closing.clear()


class Client:
    """A client with a sender and a receiver of one queue, that does not retry."""

    closing: ClassVar[list[asyncio.Task[None]]] = []

    def __init__(
        self, broker: BrokerProcess, queue: str, *, retries: int = 0, open_at_once: bool = True
    ) -> None:
        self._opened_at_once = open_at_once
        self._client = ServiceBusClient.from_connection_string(
            broker.connection_string, retry_total=retries, retry_backoff_factor=0.05
        )
        self.sender: ServiceBusSender = self._client.get_queue_sender(queue)
        self.receiver: ServiceBusReceiver = self._client.get_queue_receiver(queue)

    async def __aenter__(self) -> "Client":
        if self._opened_at_once:
            await asyncio.gather(self.sender.__aenter__(), self.receiver.__aenter__())
        return self

    async def __aexit__(self, *_: object) -> None:
        for handler in (self.sender, self.receiver):
            self.closing.append(asyncio.ensure_future(handler.close()))

    async def send(self, name: str, **properties: Any) -> None:
        await self.sender.send_messages(ServiceBusMessage(name, message_id=name), **properties)

    async def receive(self, wait: float = 5) -> list[str]:
        """Receive one message and complete it."""
        messages = await self.receiver.receive_messages(1, max_wait_time=wait)
        for message in messages:
            await self.receiver.complete_message(message)
        return [str(message) for message in messages]


def fault(broker: BrokerProcess, queue: str, operation: str, **options: Any) -> None:
    broker.control("POST", "/faults", {"operation": operation, "queue": queue, **options})


@one_loop
async def test_shows_counts_ledger_and_messages(broker: BrokerProcess, queue: str) -> None:
    """The control port shows what is where, what has happened, and messages without bodies."""
    identifier = uuid.uuid4()
    async with Client(broker, queue) as client:
        message = ServiceBusMessage(
            "secret body",
            message_id="m",
            subject="s",
            application_properties={"n": 1, "id": identifier},
        )
        await client.sender.send_messages(message)
        (received,) = await client.receiver.receive_messages(1, max_wait_time=5)
        await client.receiver.dead_letter_message(received, reason="R", error_description="D")
        await client.sender.schedule_messages(ServiceBusMessage("x", message_id="x"), LATER)
    assert broker.counts(queue) == {
        "active": 0,
        "locked": 0,
        "scheduled": 1,
        "deferred": 0,
        "dead_lettered": 1,
    }
    (letter,) = broker.control("GET", f"/messages?queue={queue}&dead_letter=1")
    assert letter["reason"] == "R"
    assert letter["description"] == "D"
    assert letter["application_properties"]["id"] == str(identifier)
    assert letter["properties"]["subject"] == "s"
    assert "secret body" not in json.dumps(letter)
    (scheduled,) = broker.control("GET", f"/messages?queue={queue}")
    assert scheduled["state"] == "scheduled"
    assert scheduled["scheduled_for"] == pytest.approx(LATER.timestamp(), abs=0.01)
    events = broker.events(queue)
    assert [e["event"] for e in events] == ["enqueued", "delivered", "dead_lettered", "scheduled"]
    assert events[2].keys() == {
        "seq",
        "time",
        "queue",
        "sequence_number",
        "message_id",
        "event",
        "reason",
        "description",
        "delivery_count",
    }
    after = broker.control("GET", f"/ledger?after={events[1]['seq']}&limit=1")
    assert after == [events[2]]


@one_loop
async def test_refuses_the_next_operations(broker: BrokerProcess, queue: str) -> None:
    """A fault refuses as many operations as asked for, with the condition asked for."""
    async with Client(broker, queue) as client:
        await client.send("first")
        fault(broker, queue, "send", count=2, condition="com.microsoft:server-busy")
        for _ in range(2):
            with pytest.raises(ServiceBusServerBusyError):
                await client.send("a")
        await client.send("a")
        fault(broker, queue, "schedule-message", condition="amqp:internal-error")
        with pytest.raises(ServiceBusError, match="internal-error"):
            await client.sender.schedule_messages(ServiceBusMessage("s"), LATER)
        await client.sender.schedule_messages(ServiceBusMessage("s"), LATER)
    assert [m["message_id"] for m in broker.control("GET", f"/messages?queue={queue}")][:2] == [
        "first",
        "a",
    ]


@one_loop
async def test_a_lost_answer_leads_to_a_duplicate_that_is_dropped(
    broker: BrokerProcess, queue: str
) -> None:
    """A send that is carried out but never answered is retried, and the retry dropped."""
    async with Client(broker, queue) as client:
        await client.send("warm up")
        fault(broker, queue, "send", drop=True, performed=True)
        with pytest.raises(OperationTimeoutError):
            await client.send("a", timeout=0.3)
        await client.send("a")
    names = [e["event"] for e in broker.events(queue) if e["message_id"] == "a"]
    assert names == ["enqueued", "duplicate_dropped"]


@one_loop
async def test_delays_an_operation(broker: BrokerProcess, queue: str) -> None:
    """A delayed operation is carried out, later."""
    async with Client(broker, queue) as client:
        await client.send("warm up")
        fault(broker, queue, "send", delay_seconds=0.3)
        started = time.monotonic()
        await client.send("a")
        assert time.monotonic() - started >= 0.3
        fault(broker, queue, "receive", delay_seconds=0.3)
        started = time.monotonic()
        assert await client.receive() == ["warm up"]
        assert time.monotonic() - started >= 0.3


@one_loop
async def test_faults_on_receiving(broker: BrokerProcess, queue: str) -> None:
    """A receiver is detached with the condition, or gets nothing for its credit."""
    async with Client(broker, queue) as client:
        await client.send("a")
        fault(broker, queue, "receive", condition="amqp:internal-error")
        with pytest.raises(ServiceBusError):
            await client.receive()
    async with Client(broker, queue) as client:
        fault(broker, queue, "receive", drop=True)
        assert await client.receive(0.3) == []
        assert await client.receive() == ["a"]


@one_loop
async def test_faults_on_settling(broker: BrokerProcess, queue: str) -> None:
    """Settling on the link and by lock token can be refused; the message stays locked."""
    async with Client(broker, queue) as client:
        await client.send("a")
        (message,) = await client.receiver.receive_messages(1, max_wait_time=5)
        fault(broker, queue, "renew-lock", condition="com.microsoft:timeout")
        with pytest.raises(OperationTimeoutError):
            await client.receiver.renew_message_lock(message)
        fault(broker, queue, "complete", condition="com.microsoft:server-busy")
        with pytest.raises(ServiceBusServerBusyError):
            await client.receiver.complete_message(message)
        message._is_deferred_message = True  # so that the library settles by lock token
        fault(broker, queue, "update-disposition", condition="com.microsoft:server-busy")
        with pytest.raises(ServiceBusServerBusyError):
            await client.receiver.complete_message(message)
        await client.receiver.complete_message(message)


@one_loop
async def test_faults_on_attaching_and_tokens(broker: BrokerProcess, queue: str) -> None:
    """A link or a token can be refused."""
    fault(broker, queue, "attach", condition="amqp:internal-error")
    async with Client(broker, queue, open_at_once=False) as client:
        with pytest.raises(ServiceBusError):
            await client.send("a")
    broker.control("POST", "/faults", {"operation": "$cbs", "condition": "amqp:not-found"})
    async with Client(broker, queue, open_at_once=False) as client:
        with pytest.raises(ServiceBusAuthenticationError):
            await client.send("a")
        await client.send("a")


def test_faults_are_listed_and_cleared(broker: BrokerProcess, queue: str) -> None:
    """Faults stay until they are used up or cleared."""
    fault(broker, queue, "send", count=None, probability=0.5)
    assert {
        "operation": "send",
        "count": None,
        "condition": "amqp:internal-error",
        "delay_seconds": 0.0,
        "drop": False,
        "probability": 0.5,
        "performed": False,
        "queue": queue,
    } in broker.control("GET", "/faults")
    assert broker.control("DELETE", "/faults") == []


@one_loop
async def test_clients_come_back_after_a_forced_end() -> None:
    """A client that retries goes on after its connection or links are closed."""

    async def come_back(broker: BrokerProcess, path: str, body: Any, answer: Any) -> None:
        async with Client(broker, "session-revoked", retries=3) as client:
            await client.send("a")
            assert await client.receive() == ["a"]
            assert broker.control("POST", path, body) == answer
            await client.send("b")
            assert await client.receive() == ["b"]

    with ExitStack() as stack:
        brokers = [stack.enter_context(BrokerProcess.running()) for _ in range(3)]
        await asyncio.gather(
            come_back(brokers[0], "/disconnect", None, {"connections": 2}),
            come_back(brokers[1], "/disconnect", {"abrupt": True}, {"connections": 2}),
            come_back(brokers[2], "/detach", None, {"links": 2}),
        )


@one_loop
async def test_ends_idle_links_and_connections() -> None:
    """With the options for it, idle links and connections are ended."""
    with BrokerProcess.running(
        ["--idle-link-seconds", "0.2", "--idle-connection-seconds", "0.5"]
    ) as broker:
        async with Client(broker, "session-revoked", retries=3) as client:
            await client.send("a")
            await asyncio.sleep(0.8)  # the point is that nothing happens
            assert broker.control("POST", "/disconnect") == {"connections": 0}
            await client.send("b")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("POST", "/queues", None, 405, "Method Not Allowed"),
        ("GET", "/messages?queue=nowhere", None, 404, "no queue 'nowhere'"),
        ("GET", "/ledger?after=x", None, 400, "after"),
        ("POST", "/faults", b"{", 400, "not JSON"),
        ("POST", "/faults", [], 400, "object"),
        ("POST", "/faults", {"operation": "fly"}, 400, "operation: must be one of"),
        ("POST", "/faults", {"operation": "send", "count": -1}, 400, "count"),
        ("POST", "/faults", {"operation": "send", "probability": 2}, 400, "probability"),
        ("POST", "/faults", {"operation": "send", "drop": 1}, 400, "drop"),
        ("POST", "/faults", {"operation": "send", "wings": 1}, 400, "wings"),
        ("POST", "/disconnect", {"x": 1}, 400, "abrupt"),
    ],
)
def test_bad_requests_are_refused(
    broker: BrokerProcess, method: str, path: str, body: Any, status: int, text: str
) -> None:
    """A request that makes no sense is refused with JSON that says why."""
    code, error = broker.refusal(method, path, body)
    assert code == status
    assert text in error


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("{", "not JSON"),
        ({"queue": []}, "the document.queue: unknown"),
        ({"queues": []}, "queues: must be a list"),
        ({"queues": [{"name": ""}]}, "queues[0].name"),
        ({"queues": [{"name": "a"}, {"name": "A"}]}, "queues[1].name: 'A' appears twice"),
        (
            {"queues": [{"name": "a", "properties": {"lockDuration": "1m"}}]},
            "queues[0].properties.lockDuration: must be an ISO 8601 duration",
        ),
        (
            {"queues": [{"name": "a", "properties": {"lockDuration": "PT6M"}}]},
            "queues[0].properties.lockDuration: must be more than 0 and at most 300 seconds",
        ),
        (
            {"queues": [{"name": "a", "properties": {"maxDeliveryCount": 0}}]},
            "queues[0].properties.maxDeliveryCount",
        ),
        (
            {"queues": [{"name": "a", "properties": {"requiresSession": True}}]},
            "queues[0].properties.requiresSession: not emulated",
        ),
        (
            {"authorizationRules": [{"keyName": "k", "key": "x", "rights": ["Fly"]}]},
            "authorizationRules[0].rights[0]",
        ),
    ],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, config: Any, text: str) -> None:
    """What cannot be used is refused with the field's name."""
    from local.broker.configuration import ConfigurationError, load

    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    assert text in str(refused.value)


def test_the_process_says_so_and_exits_with_2(tmp_path: Path) -> None:
    """With a bad configuration the process ends with code 2 and one line that names the field."""
    path = tmp_path / "config.json"
    path.write_text('{"queues": [{"name": "a", "properties": {"maxDeliveryCount": "10"}}]}')
    ended = subprocess.run(
        [sys.executable, "-m", "local.broker", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "queues[0].properties.maxDeliveryCount: must be a whole number" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_stops_cleanly() -> None:
    """SIGTERM ends the process with code 0."""
    with BrokerProcess.running() as broker:
        assert broker.facts.keys() == {"service", "port", "control_port", "connection_string"}
        assert broker.stop() == 0
        until(lambda: broker.process.poll() is not None, "ended")
