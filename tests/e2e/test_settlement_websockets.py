"""Settling over WebSockets, directly and through a proxy, against the real broker process."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from delete_session.clock import Clock
from delete_session.connection import ServiceBusConnection, service_bus_connection
from delete_session.decision import DeadLetter
from delete_session.message import Delivery, Revocation
from delete_session.queue import ServiceBusQueue, SettlementFailed
from tests.local.broker_process import BrokerProcess
from tests.unit.fakes import message
from tests.unit.recording_proxy import RecordingProxy

QUEUE = "session-revoked"
REASON = DeadLetter("BadArgument", "HTTP 400 BadArgument: no")


WHAT_THE_LIBRARY_USES = "ignore:.*(BasicAuth|proxy_auth):DeprecationWarning"


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerProcess]:
    with BrokerProcess.running(["--websocket-port", "0"]) as running:
        monkeypatch.setenv("SSL_CERT_FILE", running.facts["certificate"])
        yield running


@pytest.fixture
def connection() -> ServiceBusConnection:
    """To port 443 of this machine, as the app settings make it, with a key."""
    login = "SharedAccessKeyName=k;SharedAccessKey=c2Vj"
    environment = {
        "ServiceBusConnection": f"Endpoint=sb://127.0.0.1/;{login}",
        "AzureFunctionsJobHost__extensions__serviceBus__transportType": "amqpWebSockets",
    }
    return service_bus_connection(environment)


async def settle(broker: BrokerProcess, connection: ServiceBusConnection) -> None:
    """Dead-letter a message and schedule a copy of it, both over the connection."""
    queue = ServiceBusQueue(connection, QUEUE, 3, Clock())
    async with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender(QUEUE) as sender,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        await sender.send_messages(ServiceBusMessage(b'{"sessionId":"s-1"}', message_id="m-1"))
        [received] = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        given = message(
            lock_token=str(received.lock_token),
            enqueued_time_utc=received.enqueued_time_utc,
            expires_at_utc=received.expires_at_utc,
        )
        delivery = Delivery.from_trigger(given, datetime.now(UTC))
        try:
            now = time.monotonic()
            await queue.schedule(Revocation(delivery, 48, lambda: 0.0).copy(60), now)
            await queue.dead_letter(delivery, REASON, now)
        finally:
            await queue.close()


def assert_settled(broker: BrokerProcess) -> None:
    counts = broker.counts(QUEUE)
    assert (counts["dead_lettered"], counts["scheduled"], counts["locked"]) == (1, 1, 0)


async def test_messages_are_settled_over_websockets(
    broker: BrokerProcess, connection: ServiceBusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead-lettering and scheduling need port 443 only, as host.json has it for the host."""
    port = broker.facts["websocket_port"]
    monkeypatch.setattr("azure.servicebus._pyamqp.aio._connection_async.WEBSOCKET_PORT", port)
    await settle(broker, connection)
    assert_settled(broker)


async def test_untrusted_certificate_settles_nothing(
    broker: BrokerProcess, connection: ServiceBusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SSL_CERT_FILE, an authority that is not public is not trusted."""
    monkeypatch.delenv("SSL_CERT_FILE")
    port = broker.facts["websocket_port"]
    monkeypatch.setattr("azure.servicebus._pyamqp.aio._connection_async.WEBSOCKET_PORT", port)
    with pytest.raises(SettlementFailed, match="CERTIFICATE_VERIFY_FAILED"):
        await settle(broker, connection)


@pytest.mark.filterwarnings(WHAT_THE_LIBRARY_USES)
async def test_websockets_go_through_the_proxy(
    broker: BrokerProcess, connection: ServiceBusConnection
) -> None:
    """The proxy gets the target and the credentials; TLS goes through it to the broker."""
    async with RecordingProxy(broker.facts["websocket_port"]).running() as proxy:
        there = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        await settle(broker, replace(connection, proxy=there))
    assert_settled(broker)
    assert set(proxy.asked_for) == {"127.0.0.1:443"}
    assert all("Proxy-Authorization: Basic bWU6cEBzcw==" in head for head in proxy.requests)


@pytest.mark.filterwarnings(WHAT_THE_LIBRARY_USES)
async def test_refusing_proxy_is_told_without_its_password(
    broker: BrokerProcess, connection: ServiceBusConnection
) -> None:
    """Nothing is settled, the message stays, and the error repeats no password."""
    async with RecordingProxy(leads_to=None).running() as proxy:
        there = f"http://me:hidden@127.0.0.1:{proxy.port}"
        with pytest.raises(SettlementFailed) as raised:
            await settle(broker, replace(connection, proxy=there))
    assert "hidden" not in str(raised.value)
    assert proxy.asked_for
    assert broker.counts(QUEUE)["dead_lettered"] == 0
