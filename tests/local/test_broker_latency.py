"""The broker as slow as a service that is not on this machine."""

import datetime
import time
from collections.abc import Awaitable, Iterator

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.local.broker_process import BrokerProcess

QUEUE = "session-revoked"
ROUND_TRIP_SECONDS = 0.1
LATER = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess.running(["--latency-ms", str(1000 * ROUND_TRIP_SECONDS)]) as running:
        yield running


async def round_trips(operation: Awaitable[object]) -> float:
    """How many round trips an operation waits for, at least."""
    started = time.monotonic()
    await operation
    return (time.monotonic() - started) / ROUND_TRIP_SECONDS


async def test_every_answer_takes_its_round_trips(broker: BrokerProcess) -> None:
    """Opening, sending, scheduling, renewing and settling wait, each for its own number."""
    client = ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)
    async with client:
        sender, receiver = client.get_queue_sender(QUEUE), client.get_queue_receiver(QUEUE)
        # A connection, the two links to $cbs, the token, the link to the queue.
        assert await round_trips(sender.__aenter__()) >= 4 + 1 + 1 + 1
        await receiver.__aenter__()
        assert await round_trips(sender.send_messages(ServiceBusMessage("a"))) >= 2
        scheduled = sender.schedule_messages(ServiceBusMessage("b"), LATER)
        assert await round_trips(scheduled) >= 1 + 2  # the link to the management node as well
        (message,) = await receiver.receive_messages(1, max_wait_time=5)
        await receiver.renew_message_lock(message)
        assert await round_trips(receiver.renew_message_lock(message)) >= 1
        assert await round_trips(receiver.complete_message(message)) >= 1
        assert broker.counts(QUEUE)["active"] == 0
