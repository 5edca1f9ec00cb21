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
from .receipt import NoReceipts, Receipts
from .telemetry import Telemetry

HOLD_SECONDS = 240
"""Maximum time that one invocation holds a message, waiting in place or for the broker: well within
maxAutoLockRenewalDuration and functionTimeout of host.json."""
CONCURRENT = 16
"""Messages that one process handles at a time: maxConcurrentCalls of host.json."""


@dataclass(slots=True, kw_only=True)
class Handler:
    """Everything that one process holds, and what it does with a message."""

    face: FaceClient
    gate: Gate
    queue: ServiceBusQueue
    receipts: Receipts | NoReceipts
    telemetry: Telemetry
    policy: RetryPolicy
    retry_deadline_hours: float
    max_wait: float
    """Seconds: a longer delay becomes a scheduled copy."""
    clock: Clock
    broker_time: BrokerTime
    faults: FaultLog

    async def handle(self, message: func.ServiceBusMessage) -> None:
        """Bring one message to its end, or schedule a copy of it for later.

        Raises:
            SettlementFailed: the broker did not settle the message; the host abandons it.
        """
        delivery = Delivery.from_trigger(message, self.broker_time.now())
        self.broker_time.advance_to(delivery.enqueued_at)
        revocation = Revocation(delivery, self.retry_deadline_hours, self.clock.monotonic)
        until = revocation.held_since + HOLD_SECONDS
        # Messages wait for a part of the time that is left, so that those behind them do not expire.
        share = revocation.held_since + revocation.seconds_to_expiry / CONCURRENT
        try:
            match await self._decide(revocation, min(until, share)):
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
        """Read the message, and delete its session, of the stated type or of either."""
        delivery = revocation.delivery
        revoked = parse(delivery.body, delivery.content_type)
        revocation.session_id = revoked.session_id
        if isinstance(revoked, Malformed):
            return DeadLetter("MalformedMessage", revoked.description)
        revocation.session_type = revoked.session_type
        for session_type in revoked.types:
            decision = await self._delete(revocation, revoked.session_id, session_type, until)
            if decision != Done("already_gone"):
                break
        return decision

    async def _delete(
        self, revocation: Revocation, session_id: str, session_type: SessionType, until: float
    ) -> Decision:
        """Delete a session of one type; wait out short delays here."""
        while True:
            decision = await self._attempt(revocation, session_id, session_type, until)
            if not isinstance(decision, RetryLater):
                return decision
            delay = decision.delay_seconds
            if delay > self.max_wait or self.clock.monotonic() + delay > until:
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
            revocation.record_call(verdict, session_type, permit.acquired_at)
            self.gate.report(permit, verdict)
            self.faults.report(verdict)
        else:
            revocation.record_obstacle(self.gate.obstacle())
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
        """Send the receipt, before the message ends: after a crash in between, it is sent again.

        In the other order, it would be lost.
        """
        try:
            await self.receipts.send(revocation, decision, until)
        except Unsendable as error:  # no retry can send it, so the message must not wait for it
            record_event("receipt_not_sent", session_id=revocation.session_id, reason=str(error))
        except SettlementFailed as error:
            raise SettlementFailed(f"receipt not sent: {error}") from error

    async def _schedule(self, revocation: Revocation, delay: float, until: float) -> None:
        try:
            await self.queue.schedule(revocation.copy(delay), until)
        except Unsendable:
            await self.queue.schedule(revocation.copy(delay, bare=True), until)

    def _record(self, outcome: str, revocation: Revocation, **facts: object) -> None:
        record(outcome, revocation, **facts)
        self.telemetry.ended(outcome, revocation)
