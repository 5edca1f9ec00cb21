"""The preparers that create a namespace and a queue: here a new broker for each test.

The SDK's clients are pointed at it where they are constructed: without TLS, or to the broker's
certificate for WebSockets.
"""

import contextlib
import functools
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import azure.servicebus
import azure.servicebus.aio
from azure.servicebus import TransportType

from tests.local.broker_process import BrokerProcess

SERVICEBUS_ENDPOINT_SUFFIX = ""
QUEUE = "queue"
# The service's limits, and an answer never sooner than over a network: when threads share a client,
# the SDK loses an answer that comes before it has noted the request.
_LIKE_THE_SERVICE = (
    *("--idle-connection-seconds", "300", "--idle-link-seconds", "600"),
    *("--latency-ms", "10"),
)

type Test = Callable[..., Any]


class ServiceBusQueuePreparer:
    """Gives a test a broker with one fresh queue, as its arguments describe it."""

    def __init__(
        self,
        *,
        lock_duration: str = "PT30S",
        dead_lettering_on_message_expiration: bool = False,
        requires_duplicate_detection: bool = False,
        requires_session: bool = False,
        **_: Any,
    ) -> None:
        self._properties = {
            "lockDuration": lock_duration,
            "deadLetteringOnMessageExpiration": dead_lettering_on_message_expiration,
            "requiresDuplicateDetection": requires_duplicate_detection,
            "requiresSession": requires_session,
        }

    def __call__(self, test: Test) -> Test:
        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def prepared(*arguments: Any, **named: Any) -> None:
                with self._resources() as resources:
                    await test(*arguments, **resources, **named)

        else:

            @functools.wraps(test)
            def prepared(*arguments: Any, **named: Any) -> None:
                with self._resources() as resources:
                    test(*arguments, **resources, **named)

        return prepared

    @contextlib.contextmanager
    def _resources(self) -> Iterator[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config.json"
            config.write_text(
                json.dumps({"queues": [{"name": QUEUE, "properties": self._properties}]})
            )
            arguments = ["--config", str(config), "--websocket-port", "0", *_LIKE_THE_SERVICE]
            with BrokerProcess.running(arguments) as broker, _clients_use(broker):
                yield {
                    "servicebus_namespace": SimpleNamespace(
                        name=f"127.0.0.1:{broker.facts['port']}"
                    ),
                    "servicebus_namespace_connection_string": broker.connection_string,
                    "servicebus_namespace_key_name": "k",
                    "servicebus_namespace_primary_key": "c2Vj",
                    "servicebus_queue": SimpleNamespace(name=QUEUE),
                }


class _Nothing:
    """A preparer of what the broker does not need."""

    def __init__(self, **_: Any) -> None:
        pass

    def __call__(self, test: Test) -> Test:
        return test


CachedServiceBusQueuePreparer = ServiceBusQueuePreparer
CachedServiceBusNamespacePreparer = _Nothing
CachedServiceBusResourceGroupPreparer = _Nothing


@contextlib.contextmanager
def _clients_use(broker: BrokerProcess) -> Iterator[None]:
    """Make every client of the SDK reach the broker as a developer's would."""
    with contextlib.ExitStack() as stack:
        for each in (azure.servicebus.ServiceBusClient, azure.servicebus.aio.ServiceBusClient):
            construct = _constructor(each.__init__, broker)
            stack.enter_context(mock.patch.object(each, "__init__", construct))
        yield


def _constructor(original: Callable[..., None], broker: BrokerProcess) -> Callable[..., None]:
    @functools.wraps(original)
    def construct(client: Any, *arguments: Any, **named: Any) -> None:
        if named.get("transport_type") == TransportType.AmqpOverWebsocket:
            endpoint = f"sb://127.0.0.1:{broker.facts['websocket_port']}"
            named.setdefault("custom_endpoint_address", endpoint)
            named.setdefault("connection_verify", broker.facts["certificate"])
        else:
            named.setdefault("use_tls", False)
        original(client, *arguments, **named)

    return construct
