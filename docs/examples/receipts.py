import json
from collections.abc import Callable
from typing import Any

from azure.servicebus import ServiceBusClient

# The role Azure Service Bus Data Receiver on this queue is enough.


def read_receipts(
    client: ServiceBusClient, report: Callable[[str | None, bool, dict[str, Any]], None]
) -> None:
    """Report each outcome: the correlation id, whether it was deleted or not found, and the data."""
    with client.get_queue_receiver("session-outcomes", max_wait_time=5) as receiver:
        for message in receiver:
            event = json.loads(b"".join(message.body))
            gone = event["type"].endswith(".completed")
            # A receipt may come twice: make this harmless to repeat, or remember event["id"].
            report(message.correlation_id, gone, event["data"])
            receiver.complete_message(message)
