"""The broker's management interface over HTTP, as azure-servicebus's client reads it."""

import datetime
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.management import ServiceBusAdministrationClient

from tests.local.broker_process import BrokerProcess

QUEUES = [
    {
        "name": "Queue-A",
        "properties": {
            "lockDuration": "PT45S",
            "maxDeliveryCount": 7,
            "defaultMessageTimeToLive": "P2D",
            "deadLetteringOnMessageExpiration": True,
            "requiresDuplicateDetection": True,
            "duplicateDetectionHistoryTimeWindow": "PT2H",
        },
    },
    {"name": "queue-b"},
]
RULES = [
    {"keyName": "root", "key": "cm9vdA==", "rights": ["Manage"]},
    {"keyName": "worker", "key": "d29yaw==", "rights": ["Send", "Listen"]},
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    config: Path = tmp_path_factory.mktemp("broker") / "config.json"
    config.write_text(json.dumps({"queues": QUEUES, "authorizationRules": RULES}))
    with BrokerProcess.running(["--config", str(config), "--websocket-port", "0"]) as running:
        yield running


def administration(broker: BrokerProcess, name: str, key: str) -> ServiceBusAdministrationClient:
    return ServiceBusAdministrationClient.from_connection_string(
        f"Endpoint=sb://127.0.0.1:{broker.facts['websocket_port']};SharedAccessKeyName={name};"
        f"SharedAccessKey={key};UseDevelopmentEmulator=true;",
        connection_verify=broker.facts["certificate"],
        retry_total=0,
    )


@pytest.fixture
def client(broker: BrokerProcess) -> ServiceBusAdministrationClient:
    return administration(broker, "root", "cm9vdA==")


def test_tells_how_a_queue_is_set_up(client: ServiceBusAdministrationClient) -> None:
    """Every property that the configuration may set is read back, under the queue's name."""
    queue = client.get_queue("Queue-A")
    assert queue.lock_duration == datetime.timedelta(seconds=45)
    assert queue.max_delivery_count == 7
    assert queue.default_message_time_to_live == datetime.timedelta(days=2)
    assert queue.dead_lettering_on_message_expiration is True
    assert queue.requires_duplicate_detection is True
    assert queue.duplicate_detection_history_time_window == datetime.timedelta(hours=2)
    assert queue.status == "Active"
    forever = client.get_queue("queue-b").default_message_time_to_live
    assert isinstance(forever, datetime.timedelta)
    assert forever > datetime.timedelta(days=10_000_000)
    assert [each.name for each in client.list_queues()] == ["Queue-A", "queue-b"]


def test_counts_messages_by_where_they_are(
    broker: BrokerProcess, client: ServiceBusAdministrationClient
) -> None:
    """Active, scheduled and dead-lettered messages are counted, and their bytes."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    with (
        ServiceBusClient.from_connection_string(broker.with_key("worker", "d29yaw==")) as bus,
        bus.get_queue_sender("queue-b") as sender,
        bus.get_queue_receiver("queue-b") as receiver,
    ):
        sender.send_messages([ServiceBusMessage("x" * 1000) for _ in range(3)])
        sender.schedule_messages(ServiceBusMessage("later"), later)
        (message,) = receiver.receive_messages(1)
        receiver.dead_letter_message(message)
    counts = client.get_queue_runtime_properties("queue-b")
    assert counts.active_message_count == 2
    assert counts.scheduled_message_count == 1
    assert counts.dead_letter_message_count == 1
    assert counts.total_message_count == 4
    assert 3000 < (counts.size_in_bytes or math.inf) < 4000


def test_an_unknown_queue_does_not_exist(client: ServiceBusAdministrationClient) -> None:
    """The client gets the service's error."""
    with pytest.raises(ResourceNotFoundError):
        client.get_queue("nowhere")


def test_changes_nothing(client: ServiceBusAdministrationClient) -> None:
    """Queues are neither made nor deleted here."""
    for change in (client.create_queue, client.delete_queue):
        with pytest.raises(HttpResponseError, match="read only"):
            change("queue-b")


@pytest.mark.parametrize(("name", "key"), [("worker", "d29yaw=="), ("root", "d3Jvbmc=")])
def test_needs_the_right_to_manage(broker: BrokerProcess, name: str, key: str) -> None:
    """A key without Manage, or a wrong one, reads nothing."""
    with pytest.raises(ClientAuthenticationError):
        administration(broker, name, key).get_queue("queue-b")
