"""A Functions host for one machine: receives from Service Bus, invokes the app, settles.

It does what the platform's host does with a Service Bus queue trigger: peek-lock, up to
`maxConcurrentCalls` invocations at once, locks renewed while the function runs, complete when it
returns, abandon when it raises, one error line and no abandon when the lock is gone.

It does not emulate: gRPC and the worker as a process of its own, scaling out, other triggers and
bindings, batches, sessions, AMQP values bound as text, `functionTimeout`,
`autoCompleteMessages: false`, function-level retries, the HTTP endpoints, extension bundles, Key
Vault references, and connections by identity (the local broker has no TLS; use a connection string).
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from local import worker
from local.service import announce, stopped

_logger = logging.getLogger("host")
_RECONNECT_SECONDS = 0.5
_POLL_SECONDS = 5


class HostError(Exception):
    """The app cannot be run; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A Service Bus queue trigger, its settings resolved. Times are seconds."""

    function: worker.Function
    parameter: str
    binary: bool
    queue: str
    connection_string: str
    max_concurrent_calls: int
    prefetch_count: int
    max_lock_renewal: float
    drain: float
    odd_metadata: Mapping[str, Mapping[str, object]]
    """By message id, what is told of a message and of its retry copies instead of the truth."""


def read_trigger(
    function: worker.Function,
    host_json: Mapping[str, Any],
    settings: Mapping[str, str],
    drain: float,
    odd_metadata: Mapping[str, Mapping[str, object]] | None = None,
) -> Trigger:
    """Resolve a function's trigger the way the platform does.

    Raises:
        HostError: a setting is missing, or the trigger is not one that this host has.
    """
    [binding] = [found for found in function.bindings if found["type"].endswith("Trigger")]
    if binding["type"] != "serviceBusTrigger" or "queueName" not in binding:
        raise HostError(f"{function.name}: only Service Bus queue triggers are emulated")
    connection = settings.get(binding["connection"])
    if not connection:
        raise HostError(f"connection {binding['connection']} is not set to a connection string")
    options = host_json.get("extensions", {}).get("serviceBus", {})
    if options.get("autoCompleteMessages") is False:
        raise HostError("autoCompleteMessages: false is not emulated")
    return Trigger(
        function=function,
        parameter=binding["name"],
        binary=str(binding.get("dataType", "")).upper() == "BINARY",
        queue=resolve(binding["queueName"], settings),
        connection_string=connection,
        max_concurrent_calls=options.get("maxConcurrentCalls", 16),
        prefetch_count=options.get("prefetchCount", 0),
        max_lock_renewal=_seconds(options.get("maxAutoLockRenewalDuration", "00:05:00")),
        drain=drain,
        odd_metadata=odd_metadata or {},
    )


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %NAME% by the app setting of that name."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise HostError(f"'%{match[1]}%' does not resolve to a value: there is no such setting")
        return settings[match[1]]

    return re.sub(r"%([^%]+)%", value, text)


def _seconds(time_span: str) -> float:
    hours, minutes, seconds = time_span.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


class Listener:
    """Receives for one trigger, on as many links as there may be invocations at once.

    One link each, because receivers of azure-servicebus are not coroutine-safe: a receiver is
    either waiting for a message or busy with the one that it has.
    """

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Listen until `drain` is called; then finish what is in flight."""
        async with asyncio.TaskGroup() as links:
            for _ in range(self._trigger.max_concurrent_calls):
                links.create_task(self._listen())

    def drain(self) -> None:
        """Take no more messages."""
        self._draining.set()

    async def _listen(self) -> None:
        """Receive over one link, opened anew after each loss."""
        while not self._draining.is_set():
            try:
                async with (
                    ServiceBusClient.from_connection_string(
                        self._trigger.connection_string, retry_total=0
                    ) as client,
                    client.get_queue_receiver(
                        self._trigger.queue, prefetch_count=self._trigger.prefetch_count
                    ) as receiver,
                ):
                    while not self._draining.is_set():
                        for message in await self._receive(receiver):
                            await self._handle(receiver, message)
            except Exception as error:
                # The platform's host goes on listening whatever happens to a link. The SDK, too,
                # has more than its own errors: settling after its link was shut is a ValueError.
                _logger.warning("Listener for %s: %s", self._trigger.queue, type(error).__name__)
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _receive(self, receiver: ServiceBusReceiver) -> list[ServiceBusReceivedMessage]:
        receiving = asyncio.create_task(
            receiver.receive_messages(max_message_count=1, max_wait_time=_POLL_SECONDS)
        )
        draining = asyncio.create_task(self._draining.wait())
        await asyncio.wait({receiving, draining}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        if not receiving.done():
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving
            return []
        return receiving.result()

    async def _handle(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage
    ) -> None:
        lock = asyncio.Lock()
        renewal = asyncio.create_task(self._renew(receiver, message, lock))
        failure = await self._invoke(message)
        renewal.cancel()
        await asyncio.wait({renewal})
        # The very text of the platform's host, which docs/operations.md tells operators to expect.
        action = "Complete" if failure is None else "Abandon"
        try:
            if failure is None:
                await receiver.complete_message(message)
            else:
                _logger.error("Executed 'Functions.%s' (Failed)", self._trigger.function.name)
                await receiver.abandon_message(message)
        except ServiceBusError as error:
            _logger.error("Message processing error (Action=%s, %s)", action, type(error).__name__)
            if not isinstance(error, MessageLockLostError):
                raise

    async def _invoke(self, message: ServiceBusReceivedMessage) -> str | None:
        if message.body_type is not AmqpMessageBodyType.DATA:
            # The platform's host cannot make bytes of it, and the function is never called.
            _logger.error("Exception binding parameter '%s'", self._trigger.parameter)
            return "the body is no AMQP data section"
        raw = b"".join(message.body)
        # To text, the platform's host converts whatever it is.
        body = raw if self._trigger.binary else raw.decode("utf-8", "replace")
        root_id = (message.message_id or "").partition(":")[0]
        told = {**metadata(message), **self._trigger.odd_metadata.get(root_id, {})}
        failure = await worker.invoke(self._trigger.function, self._trigger.parameter, body, told)
        if failure is not None:
            _logger.error("%s", failure)
        return failure

    async def _renew(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, lock: asyncio.Lock
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._trigger.max_lock_renewal
        while loop.time() < end:
            locked_until = message.locked_until_utc
            assert locked_until is not None
            left = (locked_until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(left / 2, 0.05))
            try:
                async with lock:
                    await receiver.renew_message_lock(message)
            except (ServiceBusError, OSError) as error:
                _logger.warning("Lock renewal failed: %s", type(error).__name__)
                return


def metadata(message: ServiceBusReceivedMessage) -> dict[str, object]:
    """Trigger metadata under the names and in the forms that the platform's host gives them."""
    properties = {
        _text(name): value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in (message.application_properties or {}).items()
    }
    return {
        "MessageId": message.message_id,
        "LockToken": str(message.lock_token),
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "EnqueuedTimeUtc": _naive(message.enqueued_time_utc),
        "ExpiresAtUtc": _naive(message.expires_at_utc) or "9999-12-31T23:59:59.9999999",
        "SequenceNumber": message.sequence_number,
        "CorrelationId": message.correlation_id,
        "ContentType": message.content_type,
        "Subject": message.subject,
        "Label": message.subject,
        "To": message.to,
        "ReplyTo": message.reply_to,
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _naive(time: datetime | None) -> str | None:
    # The host hands over DateTimeOffset.DateTime, which is serialised without an offset.
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() if time else None


async def main(arguments: list[str] | None = None) -> int:
    """Run the host until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="Runs a function app with Service Bus queue triggers on this machine.",
        epilog="App settings are the environment, as on the platform.",
    )
    parser.add_argument("--app", type=Path, default=Path(), help="the app's folder (default: .)")
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=30,
        help="how long invocations in flight may take after SIGTERM (default: 30)",
    )
    parser.add_argument(
        "--odd-metadata",
        type=json.loads,
        default={},
        metavar="JSON",
        help="trigger metadata to hand over instead of the true ones, by message id; null: none",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for chatty in ("azure.servicebus", "azure.functions"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    app = options.app.resolve()
    os.chdir(app)
    sys.path.insert(0, str(app))
    try:
        host_json = json.loads((app / "host.json").read_text())
        functions = await worker.index(app)
        if not functions:
            raise HostError(f"no functions found in {options.app}")
        triggers = [
            read_trigger(
                function, host_json, os.environ, options.drain_seconds, options.odd_metadata
            )
            for function in functions
        ]
    except (HostError, worker.IndexingFailed, OSError, ValueError) as error:
        _logger.error("The app does not start: %s", error)
        return 1

    listeners = [Listener(trigger) for trigger in triggers]
    running = [asyncio.create_task(listener.run()) for listener in listeners]
    announce("host", functions=" ".join(function.name for function in functions), pid=os.getpid())
    stop = asyncio.create_task(stopped())
    await asyncio.wait({*running, stop}, return_when=asyncio.FIRST_COMPLETED)
    for listener in listeners:
        listener.drain()
    _, late = await asyncio.wait(running, timeout=options.drain_seconds)
    for task in late:
        task.cancel()
    results = await asyncio.gather(*running, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    for failure in failures:
        _logger.error("Listener stopped: %r", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    code = asyncio.run(main())
    logging.shutdown()
    os._exit(code)  # the platform, too, ends the worker without asking it to close anything
