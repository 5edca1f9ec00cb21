"""Incidents on the local cloud: does `revoker status` alone name the cause within 30 s?

Run by hand, about six minutes: `python -m tests.revoker.incidents [NAME…]`. It ends with 1 if more than
one cause is not named. `--as-deployed` hides the local cloud's log and counts from `status`.
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
from local.run import serve_environment

MESSAGES = 40
SECONDS = 30
RECEIPTS = "session-outcomes"


@dataclass(frozen=True)
class Incident:
    """What goes wrong, and the words that the first piece of advice must have.

    It must not have those of another incident. Without words, nothing is wrong, and there must be no
    advice for as long as it is looked for.
    """

    name: str
    seed: Callable[[Cloud], Awaitable[Any]]
    words: str
    settings: tuple[tuple[str, str], ...] = ()

    def is_named(self, said: list[str]) -> bool:
        """Return whether the first piece of advice names this incident, and no other."""
        first = "".join(said[:1])
        others = {each.words for each in INCIDENTS} - {self.words, ""}
        return self.words in first and not any(each in first for each in others)


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


async def receipts_refused(cloud: Cloud) -> None:
    """Have the queue of the receipts be full."""
    full = {"operation": "send", "queue": RECEIPTS, "condition": "amqp:resource-limit-exceeded"}
    await cloud.ask(cloud.broker, "POST", "/faults", {**full, "count": None})


async def wrong_audience(cloud: Cloud) -> None:
    """Have the identity endpoint issue tokens for another resource."""
    await cloud.ask(cloud.identity, "POST", "/_local/config", {"issue": "wrong_audience"})


async def long_burst(cloud: Cloud) -> None:
    """Publish more than is deleted while `status` looks; nothing is wrong."""
    await send(cloud, [ServiceBusMessage(f'{{"sessionId": "b-{each}"}}') for each in range(400)])


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
    Incident("broker refuses schedule", schedule_refused, "Data Receiver"),
    Incident(
        "receipt queue missing",
        lambda _: asyncio.sleep(0),
        "OUTCOME_QUEUE",
        (("OUTCOME_QUEUE", "missing"),),
    ),
    Incident("malformed flood", malformed, "MalformedMessage"),
    Incident("poison message", poison, "MaxDeliveryCountExceeded"),
    Incident("slow calls", fault(fault="latency", seconds=8), "are slow"),
    Incident(
        "very slow calls",
        fault(fault="latency", seconds=40),
        "are slow",
        (("CALL_TIMEOUT_SECONDS", "60"),),
    ),
    Incident("receipts refused", receipts_refused, "OUTCOME_QUEUE", (("OUTCOME_QUEUE", RECEIPTS),)),
    Incident("token for another audience", wrong_audience, "does not accept the token"),
    Incident(
        "Face resource's name is gone",
        lambda _: asyncio.sleep(0),
        "does not resolve",
        (("FACE_ENDPOINT", "https://no-such-resource-7f3a.cognitiveservices.azure.com"),),
    ),
    Incident("burst that takes long", long_burst, ""),
)


async def advice(environment: dict[str, str]) -> list[str]:
    """Return what `revoker status` says is wrong."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "revoker", "status", "--json"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    found: list[str] = json.loads(printed)["advice"]
    return found


async def play(incident: Incident, *, as_deployed: bool) -> tuple[bool, float, list[str]]:
    """Return whether the cause was named, after how many seconds, and all that was said."""
    settings = {"FACE_MAX_CALLS_PER_SECOND": "8", **dict(incident.settings)}
    with_receipts = settings.get("OUTCOME_QUEUE") == RECEIPTS
    options = Options(
        face_limit="10/1", settings=settings, outcome_queue=RECEIPTS if with_receipts else None
    )
    async with Cloud(options) as cloud:
        await incident.seed(cloud)
        began = time.monotonic()
        ids = [f"s-{number}" for number in range(MESSAGES)]
        await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": ids})
        await send(cloud, [ServiceBusMessage(json.dumps({"sessionId": each})) for each in ids])
        while True:
            said = await advice(cloud.environment if as_deployed else serve_environment(cloud))
            took = time.monotonic() - began
            if incident.words:
                named = incident.is_named(said)
                if named or took > SECONDS:
                    return named and took <= SECONDS, took, said
            elif said or took > SECONDS:
                return not said, took, said


async def main(arguments: list[str]) -> int:
    """Play all, or those that are named."""
    names = [each for each in arguments if each != "--as-deployed"]
    failed = 0
    for incident in INCIDENTS:
        if names and incident.name not in names:
            continue
        named, took, said = await play(incident, as_deployed=names != arguments)
        failed += not named
        print(f"{'named' if named else 'NOT NAMED'} after {took:.0f} s: {incident.name}")
        print("".join(f"    {each}\n" for each in said), flush=True)
    return int(failed > 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
