"""Incidents on the local cloud: does `revoker status` alone name the cause within 30 s?

Run by hand, about five minutes: `python -m tests.revoker.incidents [NAME…]`. It ends with 1 if fewer
than nine causes are named.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage

from local.cloud import Cloud, Options

MESSAGES = 40
SECONDS = 30


@dataclass(frozen=True)
class Incident:
    """What goes wrong, and the words that the first piece of advice must have."""

    name: str
    seed: Callable[[Cloud], Awaitable[Any]]
    words: str
    settings: tuple[tuple[str, str], ...] = ()


def fault(**rule: Any) -> Callable[[Cloud], Awaitable[Any]]:
    """Return the step that has the Face API meet each DELETE with a fault."""
    return lambda cloud: cloud.ask(
        cloud.face, "POST", "/_local/faults", {"method": "DELETE", **rule}
    )


async def token_endpoint_down(cloud: Cloud) -> None:
    """End the identity endpoint."""
    await cloud.identity.kill()


async def throttled(cloud: Cloud) -> None:
    """Have live traffic use up the quota."""
    await fault(fault="status", status=429, code="429", retry_after=30)(cloud)


async def stopped(cloud: Cloud) -> None:
    """Stop the function."""
    await cloud.hosts[0].stop()


async def schedule_refused(cloud: Cloud) -> None:
    """Have the broker refuse to schedule, when there is something to schedule."""
    await fault(fault="status", status=503)(cloud)
    refused = {"operation": "schedule-message", "count": None, "condition": "amqp:not-allowed"}
    await cloud.ask(cloud.broker, "POST", "/faults", refused)


async def malformed(cloud: Cloud) -> None:
    """Publish a flood without session ids."""
    await send(cloud, [ServiceBusMessage(b'{"session": "x"}') for _ in range(300)])


async def poison(cloud: Cloud) -> None:
    """Publish a text of JMS, which the Functions host cannot read."""
    await send(cloud, [AmqpAnnotatedMessage(value_body='{"sessionId": "poison"}')])


async def send(cloud: Cloud, messages: list[Any]) -> None:
    """Publish messages."""
    async with (
        ServiceBusClient.from_connection_string(cloud.connection_string) as client,
        client.get_queue_sender(cloud.options.queue) as sender,
    ):
        for message in messages:
            await sender.send_messages(message)


INCIDENTS = (
    Incident("role missing", fault(fault="role_missing"), "may not delete sessions"),
    Incident("token endpoint down", token_endpoint_down, "no token"),
    Incident("firewall", fault(fault="network_rules"), "network rules"),
    Incident(
        "wrong API version",
        lambda _: asyncio.sleep(0),
        "FACE_API_VERSION",
        (("FACE_API_VERSION", "v9.9"),),
    ),
    Incident("Face 503", fault(fault="status", status=503, code="ServiceUnavailable"), "503"),
    Incident("Face throttled", throttled, "429"),
    Incident("function stopped", stopped, "takes no messages"),
    Incident("broker refuses schedule", schedule_refused, "Data Sender"),
    Incident(
        "receipt queue missing",
        lambda _: asyncio.sleep(0),
        "OUTCOME_QUEUE",
        (("OUTCOME_QUEUE", "missing"),),
    ),
    Incident("malformed flood", malformed, "MalformedMessage"),
    Incident("poison message", poison, "MaxDeliveryCountExceeded"),
)


async def advice(cloud: Cloud) -> list[str]:
    """Return what `revoker status` says is wrong."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "revoker", "status", "--json"),
        env={**os.environ, **cloud.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    found: list[str] = json.loads(printed)["advice"]
    return found


async def play(incident: Incident) -> tuple[bool, float, list[str]]:
    """Return whether the cause was named, after how many seconds, and all that was said."""
    options = Options(
        face_limit="10/1", settings={"FACE_MAX_CALLS_PER_SECOND": "8", **dict(incident.settings)}
    )
    async with Cloud(options) as cloud:
        await incident.seed(cloud)
        began = time.monotonic()
        ids = [f"s-{number}" for number in range(MESSAGES)]
        await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": ids})
        await send(cloud, [ServiceBusMessage(json.dumps({"sessionId": each})) for each in ids])
        while True:
            said = await advice(cloud)
            took = time.monotonic() - began
            named = incident.words in "".join(said[:1])
            if named or took > SECONDS:
                return named and took <= SECONDS, took, said


async def main(names: list[str]) -> int:
    """Play all, or those that are named."""
    failed = 0
    for incident in INCIDENTS:
        if names and incident.name not in names:
            continue
        named, took, said = await play(incident)
        failed += not named
        print(f"{'named' if named else 'NOT NAMED'} after {took:.0f} s: {incident.name}")
        print("".join(f"    {each}\n" for each in said))
    return int(failed > 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
