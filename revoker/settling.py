"""Take dead letters out of their queue: resubmit them, or discard them.

A message must be received to be taken out, and the broker alone decides the order. So the wanted ones
are selected by peeking first, and the others that come along are given back at the end.

Each message is settled separately: one that cannot be settled is left with its reason, and the rest
goes on. What would stop all of them, such as a lost connection, ends the run (`Outcome.failure`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageAlreadySettled,
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)

from revoker.connection import QueueAddress, answered
from revoker.copies import CannotCopy, copy_of
from revoker.failure import Failure, first_line
from revoker.messages import Seen, walk
from revoker.receipts import Tell, telling
from revoker.record import Record

_BATCH = 20  # few enough to be settled well before their locks expire
_LARGE_BATCH = 1000  # of messages that are only passed on the way to a wanted one
_RECEIVE_SECONDS = 2.0
_KEEP_SECONDS = 15.0  # between renewals of the locks of what was passed
_END_SECONDS = 1.0  # for the message in hand, after a Ctrl-C
_RENEW_SECONDS = 15.0  # a lock that expires sooner is renewed before anything is done

_ENDS_THE_RUN = (
    ClientAuthenticationError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    OSError,  # also TimeoutError
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)
"""What the next message would meet as well."""

_LOCK_LOST = (MessageLockLostError, MessageAlreadySettled, MessageNotFoundError)

type Progress = Callable[[int], None]


@dataclass(slots=True)
class Outcome:
    """What was done with the selected dead letters, by sequence number."""

    selected: int
    settled: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    """Why each of these was left where it is."""
    copies: dict[int, str] = field(default_factory=dict)
    """Message ids of the copies that the broker has confirmed."""
    failure: Failure | None = None
    """Why the run ended early."""


async def resubmit(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: Record,
    patience: float,
    progress: Progress,
    outcomes: QueueAddress | None = None,
) -> Outcome:
    """Put dead letters back into the queue, each as if it were new.

    The broker confirms the copy before the dead letter is completed. An interruption between the two
    leaves both, which is harmless: the second one finds the session gone.

    Args:
        address: the queue's address.
        wanted: the dead letters that `select` returned.
        record: gets a line before and after each.
        patience: seconds to wait for messages that another receiver has locked.
        progress: called with the number of dead letters done so far.
        outcomes: gets the receipts of those that the broker dead-lettered; None for no receipts.
    """
    return await _settle_all(address, wanted, record, patience, progress, outcomes, copies=True)


async def discard(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: Record,
    patience: float,
    progress: Progress,
    outcomes: QueueAddress | None = None,
) -> Outcome:
    """Complete dead letters without a copy. The arguments are those of `resubmit`."""
    return await _settle_all(address, wanted, record, patience, progress, outcomes, copies=False)


async def _settle_all(
    address: QueueAddress,
    wanted: Sequence[Seen],
    record: Record,
    patience: float,
    progress: Progress,
    outcomes: QueueAddress | None,
    *,
    copies: bool,
) -> Outcome:
    outcome = Outcome(len(wanted))
    deferred = {seen.sequence_number for seen in wanted if seen.state == "deferred"}
    outcome.kept |= dict.fromkeys(
        deferred, "deferred: only the client that deferred it can receive it"
    )
    left = {seen.sequence_number for seen in wanted} - deferred
    try:
        async with AsyncExitStack() as stack:
            tell = await stack.enter_async_context(telling(outcomes, address.queue))
            sender = await stack.enter_async_context(address.sender()) if copies else None
            receiver = await stack.enter_async_context(address.receiver(dead_letters=True))
            settler = _Settler(address, receiver, sender, tell, record, outcome)
            passed: list[ServiceBusReceivedMessage] = []
            kept_at = time.monotonic()
            try:
                async for message in _received(receiver, left, patience):
                    if time.monotonic() - kept_at > _KEEP_SECONDS:
                        await _keep(receiver, passed)
                        kept_at = time.monotonic()
                    number = message.sequence_number or 0
                    if number not in left:
                        passed.append(message)
                        continue
                    try:
                        settled = await _to_its_end(settler.settle(message))
                    finally:  # it may be settled although its second line could not be written
                        progress(len(outcome.settled))
                    if settled:
                        left.discard(number)
                    elif number in outcome.kept:
                        left.discard(number)
                        passed.append(message)
            finally:
                await _give_back(receiver, passed)
        outcome.kept |= await _why_left(address, left, patience, outcome.copies)
    except Failure as failure:
        outcome.failure = failure
    return outcome


@dataclass(frozen=True, slots=True)
class _Settler:
    """Settles one dead letter after another."""

    address: QueueAddress
    receiver: ServiceBusReceiver
    sender: ServiceBusSender | None
    """Sends the copies; None to discard."""
    tell: Tell
    record: Record
    outcome: Outcome

    async def settle(self, message: ServiceBusReceivedMessage) -> bool:
        """Return whether it was settled. If it was not, either `kept` says why, or it comes again."""
        number = message.sequence_number or 0
        try:
            await self._renew(message)
            copy = copy_of(message, datetime.now(UTC)) if self.sender else None
        except _LOCK_LOST:
            return False
        except CannotCopy as why:
            self.outcome.kept[number] = str(why)
            return False
        # A copy that was confirmed before the lock was lost is not sent again.
        new_id = self.outcome.copies.get(number) or (copy.message_id if copy else None)
        doing = "resubmitting" if copy else "discarding"
        self.record.write(doing, message, new_message_id=new_id)  # type: ignore[arg-type]
        try:
            not_told = await self.tell(message)
            if copy is not None and number not in self.outcome.copies:
                await self._send(copy)
                self.outcome.copies[number] = new_id or ""
            await answered(self.receiver.complete_message(message))
        except Exception as error:
            sent = self.outcome.copies.get(number)
            self.record.write("left", message, why=first_line(error), new_message_id=sent)
            if isinstance(error, _LOCK_LOST):
                return False
            self.outcome.kept[number] = first_line(error)
            if isinstance(error, CannotCopy):
                return False
            raise
        self.outcome.settled.append(number)
        done = "resubmitted" if copy else "discarded"
        self.record.write(done, message, new_message_id=new_id, receipt_not_sent=not_told)  # type: ignore[arg-type]
        return True

    async def _renew(self, message: ServiceBusReceivedMessage) -> None:
        until = message.locked_until_utc
        if until and until - datetime.now(UTC) < timedelta(seconds=_RENEW_SECONDS):
            await answered(self.receiver.renew_message_lock(message))

    async def _send(self, copy: ServiceBusMessage) -> None:
        assert self.sender is not None
        try:
            await answered(self.sender.send_messages(copy))
        except _ENDS_THE_RUN as error:
            async with self.address.explained("Send"):
                raise error
        except MessageSizeExceededError:
            raise CannotCopy("its copy is larger than the broker accepts") from None
        except (ServiceBusError, ValueError, TypeError, ArithmeticError, UnicodeError) as error:
            raise CannotCopy(f"its copy cannot be sent: {first_line(error)}") from None


async def _to_its_end(settling: Coroutine[Any, Any, bool]) -> bool:
    """Await the settlement of one message, after a Ctrl-C for a moment, so that its outcome counts."""
    task = asyncio.create_task(settling)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait_for(task, _END_SECONDS)
        raise


async def _received(
    receiver: ServiceBusReceiver, left: set[int], patience: float
) -> AsyncIterator[ServiceBusReceivedMessage]:
    """Yield dead letters as they come, until none of `left` is left or no new one has come for long.

    Args:
        receiver: a receiver of the dead letters.
        left: the sequence numbers still wanted; the caller removes those that are done.
        patience: seconds to wait for a message that has not come before.
    """
    known: set[int] = set()
    batch = _BATCH
    until = time.monotonic() + patience
    while left and (seconds := until - time.monotonic()) > 0:
        seconds = min(seconds, _RECEIVE_SECONDS)
        messages = await answered(receiver.receive_messages(batch, max_wait_time=seconds))
        numbers = {message.sequence_number or 0 for message in messages}
        # Large batches pass many others within their locks' time; wanted ones take longer.
        batch = _BATCH if numbers & left else min(2 * batch, _LARGE_BATCH)
        for message in messages:
            yield message
        if numbers - known:
            until = time.monotonic() + patience
            known |= numbers


async def _keep(receiver: ServiceBusReceiver, passed: Sequence[ServiceBusReceivedMessage]) -> None:
    """Renew the locks of what is given back at the end, so that it does not come again before.

    The SDK's public method renews one lock with each request, which is too slow for thousands.
    """
    for some in batched(passed, _LARGE_BATCH, strict=False):
        tokens = [str(message.lock_token) for message in some]
        with suppress(ServiceBusError, TimeoutError):
            answer = await answered(receiver._renew_locks(*tokens))  # noqa: SLF001
            for message, until in zip(some, answer[b"expirations"], strict=True):
                message._expiry = datetime.fromtimestamp(until / 1000, UTC)  # noqa: SLF001


async def _give_back(
    receiver: ServiceBusReceiver, passed: Sequence[ServiceBusReceivedMessage]
) -> None:
    # A message that cannot be given back is free again when its lock expires.
    with suppress(TimeoutError):
        await answered(
            asyncio.gather(*map(receiver.abandon_message, passed), return_exceptions=True)
        )


async def _why_left(
    address: QueueAddress, left: set[int], patience: float, copies: Mapping[int, str]
) -> dict[int, str]:
    """Return why these were not settled: each is gone, or was not received in time."""
    if not left:
        return {}
    there: set[int] = set()
    async with aclosing(walk(address, start=min(left))) as messages:
        async for message in messages:
            there.add(message.sequence_number or 0)
            if (message.sequence_number or 0) >= max(left):
                break
    reasons = {}
    for number in sorted(left):
        if number not in there:
            reasons[number] = "gone: something else has taken it out of the dead letters"
        elif number in copies:
            reasons[number] = f"its copy {copies[number]} is in the queue, but its lock was lost"
        else:
            reasons[number] = (
                f"not received within {patience:g} s: most likely, another receiver has locked it"
            )
    return reasons
