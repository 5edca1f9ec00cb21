"""The four steps of one message: read it, make the call, decide, settle.

A message ends in exactly one place. Returning completes it; raising makes the host abandon it, and
nothing is lost but the time until its redelivery.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import azure.functions as func

from .clock import BrokerTime, Clock
from .contract import Malformed, parse
from .decision import Attempt, DeadLetter, Decision, Done, RetryLater, RetryPolicy, decide
from .face import FaceClient
from .gate import Gate
from .log import FaultLog, record
from .message import Delivery, Revocation
from .queue import ServiceBusQueue, SettlementFailed, Unsendable, hold_until_settled
from .telemetry import Telemetry

if TYPE_CHECKING:
    from .receipt import Receipts

HOLD_SECONDS = 240
"""One invocation may hold a message for this long while it waits in place or the broker does not
settle it: well within maxAutoLockRenewalDuration and functionTimeout of host.json."""


@dataclass(slots=True, kw_only=True)
class Handler:
    """What one process holds, and what it does with a message."""

    face: FaceClient
    gate: Gate
    settlement: ServiceBusQueue
    receipts: "Receipts | None"
    """None where no publisher wants to be told."""
    telemetry: Telemetry
    policy: RetryPolicy
    horizon_hours: float
    in_place_max: float
    """Seconds: a longer wait becomes a scheduled copy."""
    clock: Clock
    time: BrokerTime
    faults: FaultLog

    async def handle(self, message: func.ServiceBusMessage) -> None:
        """Bring one message to its end, or schedule a copy of it for later.

        Raises:
            LockLost: the message is no longer ours; it has been or will be delivered anew.
            SettlementFailed: the broker did not settle the message; the host abandons it.
        """
        if self.receipts is not None:
            self.receipts.open_soon()
        delivery = Delivery.from_trigger(message, self.time.now())
        self.time.is_at_least(delivery.received_at)
        revocation = Revocation(delivery, self.horizon_hours, self.clock.monotonic)
        with self.telemetry.message(revocation):
            revoked = parse(delivery.body, delivery.content_type)
            revocation.session_id = revoked.session_id
            if isinstance(revoked, Malformed):
                malformed = DeadLetter("MalformedMessage", revoked.description)
                return await self._dead_letter(revocation, malformed)
            revocation.revoked = revoked
            while True:
                match await self._attempt(revocation):
                    case Done(outcome) as decision:
                        if self.receipts is not None:
                            await self._send_receipt(self.receipts, revocation, decision)
                        return self._record(outcome, revocation)
                    case DeadLetter() as decision:
                        return await self._dead_letter(revocation, decision)
                    case RetryLater(delay) if self._may_wait_in_place(revocation, delay):
                        await self.clock.sleep(delay)
                    case RetryLater(delay):
                        return await self._schedule_copy(revocation, delay)

    async def _attempt(self, revocation: Revocation) -> Decision:
        """Make one call when the gate permits it, and decide."""
        permit = await self.gate.acquire(within=HOLD_SECONDS - revocation.seconds_held)
        answer = None
        if permit is not None:
            assert revocation.revoked is not None
            with self.telemetry.call():
                answer = await self.face.delete(
                    revocation.revoked, lambda: self.gate.is_current(permit)
                )
                seconds = self.clock.monotonic() - permit.acquired_at
                revocation.called(answer, permit.acquired_at, seconds)
                self.telemetry.called(answer, seconds)
            self.gate.report(permit, answer)
            self.faults.report(answer)
        attempt = Attempt(
            answer=answer,
            attempts=revocation.attempts,
            seconds_left=revocation.seconds_left,
            blocked_for=self.gate.blocked_for(),
            last_error="" if answer is not None else self._obstacle(revocation),
            chance=self.clock.random(),
        )
        return decide(attempt, self.policy)

    def _obstacle(self, revocation: Revocation) -> str:
        """Return this message's own last error, or why no call was made."""
        return revocation.last_error or self.gate.obstacle()

    def _may_wait_in_place(self, revocation: Revocation, delay: float) -> bool:
        return delay <= self.in_place_max and revocation.seconds_held + delay <= HOLD_SECONDS

    async def _send_receipt(
        self, receipts: "Receipts", revocation: Revocation, decision: Done | DeadLetter
    ) -> None:
        """Tell the publisher, before the message ends: after a crash in between it is told again.

        The other order would leave a publisher without a receipt.
        """
        receipt = receipts.receipt(revocation, decision)

        async def operation() -> None:
            try:
                await receipts.send(receipt)
            except (SettlementFailed, Unsendable) as error:
                raise SettlementFailed(f"receipt not sent: {error}") from error

        await self._settle(revocation, operation)

    async def _dead_letter(self, revocation: Revocation, decision: DeadLetter) -> None:
        if self.receipts is not None:
            await self._send_receipt(self.receipts, revocation, decision)
        await self._settle(
            revocation, lambda: self.settlement.dead_letter(revocation.delivery, decision)
        )
        self._record("dead_lettered", revocation, reason=decision.reason)

    async def _schedule_copy(self, revocation: Revocation, delay: float) -> None:
        error = self._obstacle(revocation)
        try:
            await self._settle(
                revocation,
                lambda: self.settlement.schedule_copy(revocation.copy(delay, error)),
                may_be_unsendable=True,
            )
        except Unsendable:
            # The publisher's properties and ours together are too large, or cannot be encoded.
            bare = revocation.copy(delay, error, bare=True)
            await self._settle(revocation, lambda: self.settlement.schedule_copy(bare))
        self._record("retry_scheduled", revocation, delay_seconds=delay)

    async def _settle(
        self,
        revocation: Revocation,
        operation: Callable[[], Awaitable[None]],
        *,
        may_be_unsendable: bool = False,
    ) -> None:
        def seconds_left() -> float:
            return HOLD_SECONDS - revocation.seconds_held

        try:
            await hold_until_settled(operation, seconds_left, self.clock.sleep)
        except Exception as error:
            if not (may_be_unsendable and isinstance(error, Unsendable)):
                self._record("settlement_failed", revocation, reason=str(error))
            raise

    def _record(
        self,
        outcome: str,
        revocation: Revocation,
        *,
        reason: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        record(outcome, revocation, reason=reason, delay_seconds=delay_seconds)
        self.telemetry.ended(outcome, revocation)
