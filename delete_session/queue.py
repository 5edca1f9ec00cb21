"""What the host cannot do for a Python function: dead-letter, schedule a copy, send a receipt.

It uses a separate connection: a message that one receiver locked can be settled by another with its
lock token alone (com.microsoft:update-disposition on the management link).
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from azure.core.credentials_async import AsyncTokenCredential
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, TransportType
from azure.servicebus._pyamqp.message import Message
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageLockLostError, MessageSizeExceededError

from .clock import Clock
from .connection import ServiceBusConnection
from .decision import DeadLetter
from .log import record_event
from .message import Delivery

MAX_TEXT = 4096
"""Maximum characters of a dead-letter reason and of a description (Service Bus)."""
_CLOSE_SECONDS = 2  # nothing depends on a clean close
_MAX_PAUSE = 30.0  # seconds between two tries
_UNSENDABLE = (TypeError, ValueError, OverflowError, MessageSizeExceededError)


class SettlementFailed(Exception):
    """The broker did not confirm the operation."""


class Unsendable(SettlementFailed):
    """The SDK cannot encode the message, or it is too large for the broker: retrying is useless."""


class ServiceBusQueue:
    """Settles and sends on a connection that opens at first use and reopens after a failure.

    `name` is that of a queue, or of a topic to send to; `timeout` is for one try, in seconds.
    """

    def __init__(
        self, connection: ServiceBusConnection, name: str, timeout: float, clock: Clock
    ) -> None:
        self._connection = connection
        self._name = name
        self._timeout = timeout
        self._clock = clock
        self._lock = asyncio.Lock()  # azure.servicebus is not coroutine-safe
        self._credential: AsyncTokenCredential | None = None
        self._client: ServiceBusClient | None = None
        self._receiver: ServiceBusReceiver | None = None
        self._sender: ServiceBusSender | None = None

    async def dead_letter(self, delivery: Delivery, decision: DeadLetter, until: float) -> None:
        """Move the delivered message to the dead-letter queue; `until` is as in `_run`.

        Raises:
            SettlementFailed: the broker refused, or cannot be reached, or the lock is lost.
        """
        try:
            lock_token = UUID(delivery.lock_token)
        except ValueError:
            raise SettlementFailed("the host handed over no lock token") from None

        async def operation() -> None:
            if self._receiver is None:
                # It attaches without link credit, so it takes no message away from the host.
                self._receiver = self._opened().get_queue_receiver(self._name)
                await self._receiver.__aenter__()
            # Private use of azure.servicebus (docs/decisions): "deferred" makes the SDK settle over the
            # management link.
            locked = ServiceBusReceivedMessage(
                Message(),
                lock_token=lock_token,
                is_deferred_message=True,
                receiver=self._receiver,
            )
            await self._receiver.dead_letter_message(
                locked,
                reason=decision.reason[:MAX_TEXT],
                error_description=decision.description[:MAX_TEXT],
            )

        await self._run(operation, until)

    async def schedule(self, copy: Delivery, until: float) -> None:
        """Put a copy into the queue for a later time; `until` and errors are as in `send`."""
        await self.send(_as_message(copy), until, at=copy.enqueued_at)

    async def send(
        self, message: ServiceBusMessage, until: float, at: datetime | None = None
    ) -> None:
        """Send a message, to be enqueued now or `at` a time; `until` is as in `_run`.

        Repeating it is harmless: the broker drops a message id that it has seen.

        Raises:
            SettlementFailed: the broker refused, or cannot be reached.
            Unsendable: the message cannot be sent as it is.
        """

        async def operation() -> None:
            if self._sender is None:
                self._sender = self._opened().get_queue_sender(self._name)
                await self._sender.__aenter__()
            if at is None:
                await self._sender.send_messages(message)
            else:
                await self._sender.schedule_messages(message, at)

        await self._run(operation, until)

    async def _run(self, operation: Callable[[], Awaitable[None]], until: float) -> None:
        """Try an operation twice, then again with pauses until the monotonic time `until`.

        The broker closes connections that were idle for some minutes, and the first failure often only
        shows this. The message is held meanwhile: if the function raised instead, the broker would
        redeliver it at once, and after twenty deliveries dead-letter it.
        """
        pause = 0.0
        while True:
            try:
                # The outer time includes the wait for other operations.
                async with asyncio.timeout(max(self._timeout, until - self._clock.monotonic())):
                    async with self._lock, asyncio.timeout(self._timeout):
                        return await self._try(operation)
            except MessageLockLostError as error:
                # The message was settled, or will be delivered again.
                raise SettlementFailed("MessageLockLost") from error
            except Exception as error:
                text = f"{type(error).__name__}: {error or 'no answer from the broker in time'}"
                if pause:  # not the first try: the connection is new
                    if isinstance(error, _UNSENDABLE):
                        raise Unsendable(text) from error
                    if self._clock.monotonic() + pause > until:
                        raise SettlementFailed(text) from error
                    if pause == 1.0:  # once: it may go on for minutes without another line
                        record_event("broker_refuses", queue=self._name, reason=text)
            await self._clock.sleep(pause)
            pause = min(max(1.0, 2 * pause), _MAX_PAUSE)

    async def _try(self, operation: Callable[[], Awaitable[None]]) -> None:
        try:
            await operation()
        except (MessageLockLostError, MessageSizeExceededError):
            raise  # the connection works, and opening another one takes a second
        except BaseException:
            # Also if cancelled: an interrupted request leaves its link unusable.
            await self._close()
            raise

    def _opened(self) -> ServiceBusClient:
        if self._client is None:
            self._client, self._credential = open_client(self._connection)
        return self._client

    async def close(self) -> None:
        """Close the connection; the next operation opens a new one."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        resources = (self._receiver, self._sender, self._client, self._credential)
        self._receiver = self._sender = self._client = self._credential = None
        for resource in resources:
            if resource is not None:
                # Ignore errors: the broker cleans up abandoned connections.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await resource.close()


def open_client(
    connection: ServiceBusConnection, retry_total: int = 0
) -> tuple[ServiceBusClient, AsyncTokenCredential | None]:
    """Return a client, and the credential to close after it.

    Raises:
        ValueError: the connection string is not usable.
    """
    # The SDK trusts certifi alone; httpx, for the Face API, reads this variable itself.
    trust = os.environ.get("SSL_CERT_FILE")
    options: dict[str, Any] = {"retry_total": retry_total, "connection_verify": trust}
    if connection.websockets:
        options["transport_type"] = TransportType.AmqpOverWebsocket
        options["http_proxy"] = connection.proxy_options
    if connection.connection_string:
        client = ServiceBusClient.from_connection_string(connection.connection_string, **options)
        return client, None
    # Its import takes a quarter of a second, and the command can publish without it.
    from .identity import credential

    assert connection.fully_qualified_namespace is not None
    login = credential(connection.client_id, resource_id=connection.resource_id)
    return ServiceBusClient(connection.fully_qualified_namespace, login, **options), login


def _as_message(copy: Delivery) -> ServiceBusMessage:
    time_to_live = None
    if copy.expires_at is not None:  # it counts from when a scheduled message is enqueued
        time_to_live = max(copy.expires_at - copy.enqueued_at, timedelta(seconds=1))
    return ServiceBusMessage(
        copy.body,
        message_id=copy.message_id,
        content_type=copy.content_type,
        correlation_id=copy.correlation_id,
        subject=copy.subject,
        application_properties={
            name: _as_amqp(value)  # type: ignore[misc]  # null is allowed
            for name, value in copy.properties.items()
        },
        time_to_live=time_to_live,
    )


def _as_amqp(value: object) -> str | int | float | bool | None:
    """Return a property that came through the host's JSON as the SDK can send it.

    The SDK sends every int with 32 bits: a larger one, e.g. Unix milliseconds, is sent as text.
    """
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return str(value)
    return value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)
