"""The four steps of one message: read it, make the call, decide, settle.

A message ends in exactly one place. Returning completes it. Raising makes the host abandon it: it is
delivered again at once, and one of its twenty deliveries is used up.
"""

from dataclasses import dataclass

import azure.functions as func

from .clock import BrokerTime, Clock
from .contract import Malformed, SessionType, parse
from .decision import Attempt, DeadLetter, Decision, Done, RetryLater, RetryPolicy, decide
from .face import FaceClient
from .gate import Gate
from .log import FaultLog, record, record_event
from .message import Delivery, Revocation
from .queue import ServiceBusQueue, SettlementFailed, Unsendable
from .receipt import NoReceipts
from .telemetry import Telemetry

HOLD_SECONDS = 240
"""Maximum time that one invocation holds a message, waiting in place or for the broker: well within
maxAutoLockRenewalDuration and functionTimeout of host.json."""


@dataclass(slots=True, kw_only=True)
class Handler:
    """Everything that one process holds, and what it does with a message."""

    face: FaceClient
    gate: Gate
    queue: ServiceBusQueue
    receipts: NoReceipts
    telemetry: Telemetry
    policy: RetryPolicy
    retry_deadline_hours: float
    in_place_max: float
    """Seconds: a longer delay becomes a scheduled copy."""
    clock: Clock
    time: BrokerTime
    faults: FaultLog

    async def handle(self, message: func.ServiceBusMessage) -> None:
        """Bring one message to its end, or schedule a copy of it for later.

        Raises:
            SettlementFailed: the broker did not settle the message; the host abandons it.
        """
        delivery = Delivery.from_trigger(message, self.time.now())
        self.time.advance_to(delivery.enqueued_at)
        revocation = Revocation(delivery, self.retry_deadline_hours, self.clock.monotonic)
        until = revocation.held_since + HOLD_SECONDS
        try:
            match await self._decide(revocation, until):
                case Done(outcome) as decision:
                    await self._send_receipt(revocation, decision, until)
                    self._record(outcome, revocation)
                case DeadLetter(reason) as decision:
                    await self._send_receipt(revocation, decision, until)
                    await self.queue.dead_letter(delivery, decision, until)
                    self._record("dead_lettered", revocation, reason=reason)
                case RetryLater(delay):
                    await self._schedule(revocation, delay, until)
                    self._record("retry_scheduled", revocation, delay_seconds=round(delay, 3))
        except Exception as error:
            reason = str(error) if isinstance(error, SettlementFailed) else repr(error)
            self._record("settlement_failed", revocation, reason=reason)
            raise

    async def _decide(self, revocation: Revocation, until: float) -> Decision:
        """Read the message, and ask for its session under each type that it may have."""
        delivery = revocation.delivery
        revoked = parse(delivery.body, delivery.content_type)
        revocation.session_id = revoked.session_id
        if isinstance(revoked, Malformed):
            return DeadLetter("MalformedMessage", revoked.description)
        revocation.session_type = revoked.session_type
        decision: Decision | None = None
        for session_type in revoked.types:  # both, if the message states none
            found = await self._ask(revocation, revoked.session_id, session_type, until)
            if found == Done("deleted") or isinstance(found, RetryLater):
                return found
            # What the first type's answer says about the request outweighs "not found" in the other.
            decision = found if decision in (None, Done("already_gone")) else decision
        assert decision is not None
        return decision

    async def _ask(
        self, revocation: Revocation, session_id: str, session_type: SessionType, until: float
    ) -> Decision:
        """Make calls under one type, with short delays in place, until a decision stands."""
        while True:
            decision = await self._attempt(revocation, session_id, session_type, until)
            if not isinstance(decision, RetryLater):
                return decision
            delay = decision.delay_seconds
            if delay > self.in_place_max or self.clock.monotonic() + delay > until:
                return decision
            await self.clock.sleep(delay)

    async def _attempt(
        self, revocation: Revocation, session_id: str, session_type: SessionType, until: float
    ) -> Decision:
        """Make one call if the gate permits it, and decide."""
        permit = await self.gate.acquire(within=until - self.clock.monotonic())
        verdict = None
        if permit is not None:
            verdict = await self.face.delete(session_id, session_type)
            revocation.called(verdict, session_type, permit.acquired_at)
            self.gate.report(permit, verdict)
            self.faults.report(verdict)
        else:
            revocation.obstacle = self.gate.obstacle()
        attempt = Attempt(
            verdict=verdict,
            attempts=revocation.attempts,
            seconds_left=revocation.seconds_left,
            blocked_for=self.gate.blocked_for(),
            last_error=revocation.last_error,
            jitter=self.clock.random(),
        )
        return decide(attempt, self.policy)

    async def _send_receipt(
        self, revocation: Revocation, decision: Done | DeadLetter, until: float
    ) -> None:
        """Send the receipt before the message ends: a crash in between repeats it.

        In the other order, the crash would leave a publisher without a receipt.
        """
        try:
            await self.receipts.send(revocation, decision, until)
        except Unsendable as error:  # it would hold up every delivery, and never be sent
            record_event("receipt_not_sent", session_id=revocation.session_id, reason=str(error))
        except SettlementFailed as error:
            raise SettlementFailed(f"receipt not sent: {error}") from error

    async def _schedule(self, revocation: Revocation, delay: float, until: float) -> None:
        try:
            await self.queue.schedule(revocation.copy(delay), until)
        except Unsendable:
            # The publisher's properties and ours together are too large, or cannot be encoded.
            await self.queue.schedule(revocation.copy(delay, bare=True), until)

    def _record(self, outcome: str, revocation: Revocation, **facts: object) -> None:
        record(outcome, revocation, **facts)
        self.telemetry.ended(outcome, revocation)
