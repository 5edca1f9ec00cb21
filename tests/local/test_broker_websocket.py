"""AMQP over WebSockets, as the unmodified azure-servicebus library uses it."""

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

from tests.local.broker_process import BrokerProcess, until

QUEUE = "session-revoked"


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess.running(["--websocket-port", "0"]) as running:
        yield running


def connect(broker: BrokerProcess, **options: Any) -> ServiceBusClient:
    return ServiceBusClient(
        "127.0.0.1",
        AzureNamedKeyCredential("k", "c2Vj"),
        transport_type=TransportType.AmqpOverWebsocket,
        custom_endpoint_address=f"sb://127.0.0.1:{broker.facts['websocket_port']}",
        retry_backoff_factor=0.05,
        **options,
    )


async def test_everything_goes_over_websockets(broker: BrokerProcess) -> None:
    """Messages of any size, settlements and requests go through, also after the socket was cut."""
    client = connect(broker, connection_verify=broker.facts["certificate"])
    async with (
        client,
        client.get_queue_sender(QUEUE) as sender,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        await sender.send_messages([ServiceBusMessage(b"x" * 100_000), ServiceBusMessage("small")])
        messages = await receiver.receive_messages(2, max_wait_time=5)
        assert [len(str(message)) for message in messages] == [100_000, 5]
        await receiver.renew_message_lock(messages[0])
        for message in messages:
            await receiver.complete_message(message)
        assert broker.control("POST", "/disconnect", {"abrupt": True})["connections"] == 2
        await sender.send_messages(ServiceBusMessage("again"))
        (message,) = await receiver.receive_messages(1, max_wait_time=5)
        await receiver.complete_message(message)
    until(lambda: not any(broker.counts(QUEUE).values()), "everything completed")


async def test_the_certificate_must_be_trusted(broker: BrokerProcess) -> None:
    """A client that does not trust the broker's certificate does not connect."""
    client = connect(broker, retry_total=0)
    with pytest.raises(ServiceBusError, match="CERTIFICATE_VERIFY_FAILED"):
        async with client, client.get_queue_sender(QUEUE):
            pass


def test_there_are_no_websockets_unless_asked_for() -> None:
    """Without the option the ready line names no such port."""
    with BrokerProcess.running() as broker:
        assert "websocket_port" not in broker.facts
