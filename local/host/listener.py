"""Receives, invokes and settles for one trigger."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage, TransportType
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from local.host import worker
from local.host.metadata import OddMetadata, metadata
from local.host.trigger import Trigger

_logger = logging.getLogger("host")
_RECONNECT_SECONDS = 0.5
_POLL_SECONDS = 5


class Listener:
    """Receives for one trigger, on as many links as there may be invocations at once.

    One link each, because receivers of azure-servicebus are not coroutine-safe: a receiver is
    either waiting for a message or busy with one.
    """

    def __init__(self, trigger: Trigger, odd_metadata: OddMetadata | None = None) -> None:
        self._trigger = trigger
        self._odd_metadata = odd_metadata or {}
        self._draining = asyncio.Event()
        self._aborted = asyncio.Event()
        self._why_aborted = ""
        self.timed_out = asyncio.Event()
        """Set once an invocation has outlasted functionTimeout."""

    async def run(self) -> None:
        """Listen until `drain` is called; then finish what is in flight."""
        async with asyncio.TaskGroup() as links:
            for _ in range(self._trigger.host_json.max_concurrent_calls):
                links.create_task(self._listen())

    def drain(self) -> None:
        """Take no more messages."""
        self._draining.set()

    def abort(self, why: str) -> None:
        """Take no more messages, and fail every invocation in flight; its message is abandoned.

        The worker is not told: its work goes on until the process ends.
        """
        self._why_aborted = why
        self._draining.set()
        self._aborted.set()

    async def _listen(self) -> None:
        """Receive over one link, reopened after each loss."""
        while not self._draining.is_set():
            try:
                async with (
                    ServiceBusClient.from_connection_string(
                        self._trigger.connection_string, **self._client_options()
                    ) as client,
                    client.get_queue_receiver(
                        self._trigger.queue, prefetch_count=self._trigger.host_json.prefetch_count
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

    def _client_options(self) -> dict[str, Any]:
        host_json = self._trigger.host_json
        web_sockets = TransportType.AmqpOverWebsocket
        return {
            "transport_type": web_sockets if host_json.web_sockets else TransportType.Amqp,
            "retry_mode": host_json.retries.mode,
            "retry_total": host_json.retries.total,
            "retry_backoff_factor": host_json.retries.delay,
            "retry_backoff_max": host_json.retries.max_delay,
        }

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
        renewal = asyncio.create_task(self._renew(receiver, message))
        failure = await self._invoke(message)
        renewal.cancel()
        await asyncio.wait({renewal})
        # The platform's exact text, which the documentation shows to operators.
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
        """Return None if the function returned, else why the invocation failed."""
        if message.body_type is not AmqpMessageBodyType.DATA:
            # The platform's host cannot make bytes of it, and the function is never called.
            _logger.error("Exception binding parameter '%s'", self._trigger.parameter)
            return "the body is no AMQP data section"
        raw = b"".join(message.body)
        # The platform's host converts a text binding from any type.
        body = raw if self._trigger.binary else raw.decode("utf-8", "replace")
        told = metadata(message, self._odd_metadata)
        invocation = asyncio.create_task(
            worker.invoke(self._trigger.function, self._trigger.parameter, body, told)
        )
        failure = await self._outcome(invocation)
        if failure is not None:
            _logger.error("%s", failure)
        return failure

    async def _outcome(self, invocation: asyncio.Task[str | None]) -> str | None:
        timeout = self._trigger.host_json.function_timeout
        aborting = asyncio.create_task(self._aborted.wait())
        await asyncio.wait(
            {invocation, aborting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        aborting.cancel()
        if invocation.done():
            return invocation.result()
        if not self._aborted.is_set():
            name = self._trigger.function.name
            text = f"Timeout value of {timeout:g} s exceeded by function 'Functions.{name}'"
            self.timed_out.set()
            self.abort(f"{text}. Initiating cancellation.")
        return self._why_aborted

    async def _renew(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._trigger.host_json.max_lock_renewal
        while loop.time() < end:
            locked_until = message.locked_until_utc
            assert locked_until is not None
            left = (locked_until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(left / 2, 0.05))
            try:
                await receiver.renew_message_lock(message)
            except (ServiceBusError, OSError) as error:
                _logger.warning("Lock renewal failed: %s", type(error).__name__)
                return
