"""Dead-lettering by lock token and scheduling copies, against the real broker process."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from delete_session.clock import Clock
from delete_session.decision import DeadLetter
from delete_session.message import Delivery, Revocation
from delete_session.queue import ServiceBusQueue, SettlementFailed
from tests.local.broker_process import OwnQueue
from tests.unit.fakes import UNAVAILABLE, message, settings

REASON = DeadLetter("BadArgument", "HTTP 400 BadArgument: no")


class Desk:
    """A publisher, a receiver that plays the host, and the settlement under test."""

    def __init__(
        self, queue: OwnQueue, client: ServiceBusClient, receiver: ServiceBusReceiver
    ) -> None:
        self.queue, self.broker = queue.name, queue.broker
        self._client = client
        self.receiver = receiver
        values = {
            "ServiceBusConnection": queue.broker.connection_string,
            "SESSION_REVOKED_QUEUE": queue.name,
            "CALL_TIMEOUT_SECONDS": "6",
        }
        read = settings(**values, ServiceBusConnection__fullyQualifiedNamespace="")
        self.connection = ServiceBusQueue(
            read.service_bus, read.queue, read.call_timeout / 2, Clock()
        )

    async def dead_letter(self, delivery: Delivery, decision: DeadLetter = REASON) -> None:
        await self.connection.dead_letter(delivery, decision, until=time.monotonic())

    async def schedule(self, copy: Delivery) -> None:
        await self.connection.schedule(copy, until=time.monotonic())

    def letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.broker.control(
            "GET", f"/messages?queue={self.queue}&dead_letter=1"
        )
        return found

    async def deliver(self, **fields: Any) -> tuple[ServiceBusReceivedMessage, Delivery]:
        async with self._client.get_queue_sender(self.queue) as sender:
            await sender.send_messages(ServiceBusMessage(b'{"sessionId":"s-1"}', **fields))
        [received] = await self.receiver.receive_messages(max_message_count=1, max_wait_time=5)
        given = message(
            lock_token=str(received.lock_token),
            message_id=received.message_id,
            enqueued_time_utc=received.enqueued_time_utc,
            expires_at_utc=received.expires_at_utc,
            properties={"tenant": "blue", "count": 3, "at": 2**63, "tags": ["a"], "none": None},
        )
        return received, Delivery.from_trigger(given, datetime.now(UTC))


@pytest.fixture
async def desk(own_queue: OwnQueue) -> AsyncIterator[Desk]:
    async with (
        ServiceBusClient.from_connection_string(own_queue.broker.connection_string) as client,
        client.get_queue_receiver(own_queue.name) as receiver,
    ):
        made = Desk(own_queue, client, receiver)
        yield made
        await made.connection.close()


async def test_dead_letter_arrives_with_reason_and_description(desk: Desk) -> None:
    """A message that another receiver locked is dead-lettered with nothing but its lock token."""
    _, delivery = await desk.deliver(message_id="m-1")
    await desk.dead_letter(delivery)
    [letter] = desk.letters()
    assert (letter["message_id"], letter["reason"]) == ("m-1", "BadArgument")
    assert letter["description"] == "HTTP 400 BadArgument: no"


async def test_long_reason_is_cut_to_what_the_broker_takes(desk: Desk) -> None:
    """However long the text, the message is dead-lettered."""
    _, delivery = await desk.deliver()
    await desk.dead_letter(delivery, DeadLetter("r" * 9000, "d" * 9000))
    [letter] = desk.letters()
    assert len(letter["reason"]) == len(letter["description"]) == 4096


async def test_many_at_once_are_all_settled(desk: Desk) -> None:
    """Concurrent invocations share the one connection without stepping on each other."""
    deliveries = [(await desk.deliver())[1] for _ in range(8)]
    await asyncio.gather(*(desk.dead_letter(each) for each in deliveries))
    assert len(desk.letters()) == 8


async def test_lost_lock_is_told(desk: Desk) -> None:
    """A message that was settled elsewhere is not ours any more."""
    received, delivery = await desk.deliver()
    await desk.receiver.complete_message(received)
    with pytest.raises(SettlementFailed, match="MessageLockLost"):
        await desk.dead_letter(delivery)
    _, another = await desk.deliver()
    await desk.dead_letter(another)  # the connection still works


@pytest.mark.parametrize("how", ["/disconnect", "/detach"])
async def test_lost_connection_is_opened_anew(desk: Desk, how: str) -> None:
    """After the broker has closed what was idle, the next operation simply works."""
    _, first = await desk.deliver()
    await desk.dead_letter(first)
    _, second = await desk.deliver()
    await desk.schedule(Revocation(second, 48, lambda: 0.0).copy(60))
    desk.broker.control("POST", how)
    await desk.dead_letter(second)
    await desk.schedule(Revocation(second, 48, lambda: 0.0).copy(60))
    assert len(desk.letters()) == 2


@pytest.mark.parametrize("operation", ["update-disposition", "schedule-message"])
async def test_refusal_is_told_and_loses_nothing(desk: Desk, operation: str) -> None:
    """When the broker refuses, the caller gets an error; afterwards, the operation works."""
    _, delivery = await desk.deliver()
    revocation = Revocation(delivery, 48, lambda: 0.0)

    async def operate() -> None:
        if operation == "schedule-message":
            await desk.schedule(revocation.copy(60))
        else:
            await desk.dead_letter(delivery)

    desk.broker.control("POST", "/faults", {"operation": operation, "count": 2})
    with pytest.raises(SettlementFailed):
        await operate()
    await operate()


async def test_silent_broker_ends_in_time(desk: Desk) -> None:
    """A broker that never answers does not hold the message for ever."""
    _, delivery = await desk.deliver()
    desk.broker.control(
        "POST", "/faults", {"operation": "update-disposition", "drop": True, "count": None}
    )
    with pytest.raises(SettlementFailed):
        await desk.dead_letter(delivery)


async def test_copy_is_as_the_original_and_comes_once(desk: Desk) -> None:
    """Scheduling twice makes one copy, with the body, the properties and the rest of the life."""
    received, delivery = await desk.deliver(
        message_id="m-1", content_type="application/json", time_to_live=timedelta(hours=1)
    )
    revocation = Revocation(delivery, 48, lambda: 0.0)
    revocation.record_call(UNAVAILABLE, "liveness", 0.0)
    for _ in range(2):
        await desk.schedule(revocation.copy(0.3))
    await desk.receiver.complete_message(received)
    [copy] = await desk.receiver.receive_messages(max_message_count=2, max_wait_time=3)
    assert b"".join(copy.body) == delivery.body
    assert copy.message_id == revocation.copy(0).message_id
    assert (copy.content_type, copy.correlation_id) == ("application/json", "c-1")
    properties = copy.application_properties or {}
    assert properties[b"tenant"] == b"blue"
    assert properties[b"count"] == 3
    assert properties[b"at"] == str(2**63).encode()  # the SDK sends no int beyond 32 bits
    assert properties[b"tags"] == b'["a"]'
    assert properties[b"revoker-root-id"] == b"m-1"
    assert properties[b"revoker-last-error"] == UNAVAILABLE.describe().encode()
    assert copy.expires_at_utc is not None
    assert received.expires_at_utc is not None
    assert abs((copy.expires_at_utc - received.expires_at_utc).total_seconds()) < 2
    assert [each["event"] for each in desk.broker.events(desk.queue)].count(
        "duplicate_dropped"
    ) == 1
