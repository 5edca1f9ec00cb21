"""What the host cannot do for us: dead-letter a message, and schedule a copy of it for later.

The host completes a message when the function returns and abandons it when the function raises,
nothing else. These operations go to the queue over a connection of the function's own: a
message that one receiver locked can be settled by another one with nothing but its lock token
(com.microsoft:update-disposition on the queue's management link), on queues without sessions.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from .connection import ServiceBusConnection
from .decision import DeadLetter
from .message import Delivery, RetryCopy

# azure.servicebus takes as long to import as all else together and most messages never need it:
# it is imported with the first dead-letter or retry.
if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

MAX_TEXT = 4096
"""Characters that Service Bus allows in a dead-letter reason and in its description."""

_CLOSE_SECONDS = 2
_WAITS = 4  # times the time that one operation may take
_logger = logging.getLogger(__name__)


class LockLost(Exception):
    """The lock token is not valid any more: the message has been or will be delivered anew."""


class SettlementFailed(Exception):
    """The broker did not carry out what it was asked for; the message is where it was."""


class Unsendable(Exception):
    """The SDK cannot encode the copy, or the broker refuses its size: trying again is of no use."""


async def hold_until_settled(
    operation: Callable[[], Awaitable[None]],
    seconds_left: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Carry out a settlement, and hold the message while the broker refuses.

    To raise at once would have the message redelivered at once, time after time, and
    dead-lettered. A lost lock and what cannot be sent are raised at once all the same.

    Args:
        operation: the settlement; it may be repeated.
        seconds_left: for which the message may still be held; the last failure is raised then.
        sleep: waits for that many seconds.
    """
    pause = 1.0
    while True:
        try:
            return await operation()
        except (LockLost, Unsendable):
            raise
        except Exception:
            if pause > seconds_left():
                raise
        await sleep(pause)
        pause = min(2 * pause, 30.0)


class ServiceBusQueue:
    """Settles on a connection of its own, opened at first use and reopened after a loss.

    Args:
        connection: how to reach Service Bus.
        queue: name of the queue.
        timeout: seconds that one operation may take.
    """

    def __init__(self, connection: ServiceBusConnection, queue: str, timeout: float) -> None:
        self._connection = connection
        self._queue = queue
        self._timeout = timeout
        # Clients, senders and receivers of azure-servicebus are not coroutine-safe.
        self._lock = asyncio.Lock()
        self._credential: AsyncTokenCredential | None = None
        self._client: ServiceBusClient | None = None
        self._receiver: ServiceBusReceiver | None = None
        self._sender: ServiceBusSender | None = None

    async def dead_letter(self, delivery: Delivery, decision: DeadLetter) -> None:
        """Move the delivered message to the dead-letter queue.

        Raises:
            LockLost: the message is no longer locked by the host of this function.
            SettlementFailed: the broker refused, or cannot be reached.
        """
        if not delivery.lock_token:
            raise SettlementFailed("the host handed over no lock token")

        async def operation() -> None:
            if self._receiver is None:
                # It attaches without link credit: it takes no message away from the host.
                self._receiver = (await self._open()).get_queue_receiver(self._queue)
                await self._receiver.__aenter__()
            await self._receiver.dead_letter_message(
                _locked_message(delivery.lock_token, self._receiver),
                reason=decision.reason[:MAX_TEXT],
                error_description=decision.description[:MAX_TEXT],
            )

        await self._run(operation)

    async def schedule_copy(self, copy: RetryCopy) -> None:
        """Put a copy of a message into the queue, to be enqueued later.

        Repeating it is harmless: the broker drops what has the message id of an earlier one.

        Raises:
            SettlementFailed: the broker refused, or cannot be reached.
            Unsendable: the copy cannot be sent as it is.
        """
        from .outgoing import as_message

        await self.send(lambda: as_message(copy), copy.enqueue_at)

    async def send(
        self, make: "Callable[[], ServiceBusMessage]", at: datetime | None = None
    ) -> None:
        """Send what `make` returns, or have it enqueued at a later time; raises as above."""

        async def operation() -> None:
            sender = await self._opened_sender()
            if at is None:
                await sender.send_messages(make())
            else:
                await sender.schedule_messages(make(), at)

        await self._run(operation)

    async def open_sender(self) -> None:
        """Open the connection for sending ahead of the first send, if it is not open.

        Raises:
            Exception: it could not be opened; the next send tries again.
        """
        async with self._lock:
            await self._try(self._opened_sender)

    async def _opened_sender(self) -> "ServiceBusSender":
        if self._sender is None:
            self._sender = (await self._open()).get_queue_sender(self._queue)
            await self._sender.__aenter__()
        return self._sender

    async def _run(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Carry out the operation; if that fails, try once more on a new connection.

        The broker closes what was idle for some minutes, so that a failure is often the first sign
        of a connection long gone. Both operations may be repeated: see above.
        """
        from azure.servicebus.exceptions import MessageLockLostError, MessageSizeExceededError

        permanent = (TypeError, ValueError, OverflowError, MessageSizeExceededError)
        try:
            # For the wait, too: a broker that hangs must not hold back one message after another.
            async with asyncio.timeout(_WAITS * self._timeout), self._lock:
                try:
                    await self._try(operation)
                except MessageLockLostError:
                    raise
                except Exception as error:
                    _logger.info("reopening Service Bus after %s", type(error).__name__)
                    await self._try(operation)
        except MessageLockLostError as error:
            raise LockLost("MessageLockLost") from error
        except permanent as error:  # on a new connection, so that it is not the connection's fault
            raise Unsendable(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise SettlementFailed(f"{type(error).__name__}: {error}") from error

    async def _try(self, operation: Callable[[], Awaitable[object]]) -> None:
        from azure.servicebus.exceptions import MessageLockLostError

        try:
            async with asyncio.timeout(self._timeout):
                await operation()
        except MessageLockLostError:
            # An answer like any other. Opening anew takes a second, for which other messages would
            # wait, and lose their locks in turn.
            raise
        except BaseException:
            # Also when cancelled: a request cut short leaves its link in an unknown state.
            await self._close()
            raise

    async def _open(self) -> "ServiceBusClient":
        if self._client is None:
            self._client, self._credential = self._connection.open(retry_total=0)
        return self._client

    async def close(self) -> None:
        """Close the connection; the next operation opens a new one."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        held = (self._receiver, self._sender, self._client, self._credential)
        self._receiver = self._sender = self._client = self._credential = None
        for resource in held:
            if resource is not None:
                # What cannot be closed is as good as closed: the broker forgets it by itself.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await resource.close()


def _locked_message(lock_token: str, receiver: "ServiceBusReceiver") -> "ServiceBusReceivedMessage":
    """Return what the SDK needs in order to settle a message by its lock token alone.

    This is private use of azure-servicebus: a constructor that is not documented, and the message
    class of its AMQP library (docs/decisions/library-patches.md). "Deferred"
    makes the SDK go straight to the management link instead of to a delivery that this receiver
    never had.
    """
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus._pyamqp.message import Message

    return ServiceBusReceivedMessage(
        Message(), lock_token=UUID(lock_token), is_deferred_message=True, receiver=receiver
    )
