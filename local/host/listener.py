"""Receives, invokes and settles for one trigger."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from local.host import worker
from local.host.metadata import metadata
from local.host.trigger import Trigger

_logger = logging.getLogger("host")
_RECONNECT_SECONDS = 0.5
_POLL_SECONDS = 5


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
        # The very text of the platform's host, which the README tells operators to expect.
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
        failure = await worker.invoke(
            self._trigger.function, self._trigger.parameter, body, metadata(message)
        )
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
