"""Consumes session-revoked messages and deletes each session at the Face API.

Parse, delete, decide, carry out: a message ends in exactly one place. Returning completes the
message; raising makes the host abandon it, and nothing is lost but the time until its redelivery.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import azure.functions as func
from msgspec.structs import replace

from .contract import Malformed, parse
from .decision import (
    DeadLetter,
    Decision,
    Done,
    Meaning,
    RetryLater,
    RetryPolicy,
    decide,
    describe,
    exhausted,
    meaning,
    remedy,
)
from .delivery import Delivery, Work
from .face import FaceClient
from .host_times import read_quickly
from .identity import TokenSource
from .instruments import listen
from .pacing import BreakerState, CircuitBreaker, RateLimiter
from .settings import CONNECTION, Settings
from .settlement import LockLost, Settlement, Unsendable
from .telemetry import log_event, log_outcome

HOLD_SECONDS = 240
"""For so long one invocation may hold a message that waits in place or that the broker does not
take: well within maxAutoLockRenewalDuration and functionTimeout of host.json."""


def create_blueprint(settings: Settings) -> func.Blueprint:
    """The trigger, bound to the one Revoker of this process."""
    read_quickly()
    blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
    revoker = Revoker(settings)

    @blueprint.service_bus_queue_trigger(
        arg_name="message",
        queue_name="%SESSION_REVOKED_QUEUE%",
        connection=CONNECTION,
        # As text, the host would put something else in the place of what is not UTF-8.
        data_type=func.DataType.BINARY,
    )
    async def delete_session(message: func.ServiceBusMessage) -> None:
        await revoker.handle(message)

    return blueprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, which tests replace."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class Revoker:
    """What one process holds, and what it does with a message."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.face = FaceClient(settings, TokenSource(settings.client_id, settings.token_timeout))
        self.settlement = Settlement(settings)
        self._settings = settings
        self._clock = clock or Clock()
        self._policy = RetryPolicy(
            backoff_base=settings.backoff_base, backoff_cap=settings.backoff_cap
        )
        self._limiter = RateLimiter(settings.max_calls_per_second, self._clock.random)
        self._turn = asyncio.Lock()  # hands out calls in the order of asking
        self._breaker = CircuitBreaker(
            settings.breaker_failures, settings.breaker_cool_down, self._tell_breaker
        )
        self._wall_offset = float("inf")  # from monotonic to Unix time
        self._waiting = 0
        self._telemetry = listen(
            settings,
            {
                "rate": lambda: self._limiter.rate,
                "waiting": lambda: self._waiting,
                "circuit": lambda: list(BreakerState).index(self._breaker.state),
            },
        )
        self._last_failure = ""
        self._faults_told: set[str] = set()

    async def handle(self, message: func.ServiceBusMessage) -> None:
        """Bring one message to its end, or schedule a copy of it for later.

        Raises:
            LockLost: the message is no longer ours; it has been or will be delivered anew.
            SettlementFailed: the broker did not take the message's end; the host abandons it.
        """
        work = Work(self._delivery(message), self._settings.retry_horizon, self._clock.monotonic)
        with self._telemetry.message(work):
            delivery = work.delivery
            revoked = parse(delivery.body, delivery.content_type, delivery.properties)
            if isinstance(revoked, Malformed):
                malformed = DeadLetter("MalformedMessage", revoked.description)
                return await self._dead_letter(work, malformed)
            work.revoked = revoked
            while True:
                match await self._attempt(work):
                    case Done(outcome):
                        return self._tell(outcome, work)
                    case DeadLetter() as decision:
                        return await self._dead_letter(work, decision)
                    case RetryLater(delay) if self._may_wait_in_place(work, delay):
                        await self._clock.sleep(delay)
                    case RetryLater(delay):
                        return await self._schedule_copy(work, delay)

    def _delivery(self, message: func.ServiceBusMessage) -> Delivery:
        """Read what the host hands over, by the broker's time as far as it can be told.

        A wall clock that steps ahead is not followed: it would have copies enqueued that much too
        late. One that steps back is, but never to before what the broker has stamped.
        """
        monotonic = self._clock.monotonic()
        self._wall_offset = min(self._wall_offset, self._clock.wall() - monotonic)
        now = datetime.fromtimestamp(self._wall_offset + monotonic, UTC)
        delivery = Delivery.from_trigger(message, now)
        self._wall_offset = delivery.received_at.timestamp() - monotonic
        return delivery

    async def _attempt(self, work: Work) -> Decision:
        """Make one call when its turn comes, unless none is to be made now, and decide."""
        assert work.revoked is not None
        ticket = await self._admission(work)
        if ticket is None:
            return self._stay_away(work)
        called_at = self._clock.monotonic()
        with self._telemetry.call():
            answer = await self.face.delete(work.revoked, lambda: self._breaker.holds(ticket))
            now = self._clock.monotonic()
            work.called(answer, seconds=now - called_at)
            self._telemetry.called(answer, now - called_at)
        what = meaning(answer)
        if not what.endpoint_works:
            # Told of other messages, too: without the request id, which is of this one.
            self._last_failure = describe(replace(answer, request_id=None))
            self._tell_fault(answer.code, remedy(answer))
        elif what is Meaning.THROTTLED:
            self._limiter.throttled(now, called_at, self._stand_down(answer.retry_after or 1.0))
        else:
            self._limiter.succeeded(now)
            self._faults_told.clear()
        stand_down = self._stand_down(answer.retry_after or 0.0)
        self._breaker.report(ticket, what.endpoint_works, now, stand_down)
        decision = decide(
            answer,
            attempt=work.attempts,
            seconds_left=work.seconds_left,
            random=self._clock.random(),
            policy=self._policy,
        )
        if isinstance(decision, RetryLater) and self._breaker.closed_for_calls(now) > 0:
            return self._stay_away(work, at_least=answer.retry_after or 0.0)
        return decision

    def _stand_down(self, retry_after: float) -> float:
        """For how long one answer may stop all calls: an absurd one stops its own message only."""
        return min(retry_after, self._settings.backoff_cap)

    async def _admission(self, work: Work) -> int | None:
        """Wait for a turn under the rate limit; None where no call is to be made for a while."""
        if not self._turn.locked():
            async with self._turn:
                return await self._turn_or_none(work)
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, HOLD_SECONDS - work.seconds_held)), self._turn:
                return await self._turn_or_none(work)
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    async def _turn_or_none(self, work: Work) -> int | None:
        while not self._no_calls_for():
            wait = self._limiter.wait(self._clock.monotonic())
            if not wait:
                self._limiter.take(self._clock.monotonic())
                return self._breaker.admit(self._clock.monotonic())
            if work.seconds_held + wait > HOLD_SECONDS:
                return None
            await self._clock.sleep(min(wait, 1.0))  # the rate may have changed by then
        return None

    def _no_calls_for(self) -> float:
        """Seconds for which no call is to be made, if it is not worth waiting for their end."""
        now = self._clock.monotonic()
        paused = self._limiter.paused_for(now)
        worth_it = paused <= self._settings.retry_in_place_max
        return max(self._breaker.closed_for_calls(now), 0.0 if worth_it else paused)

    def _stay_away(self, work: Work, at_least: float = 0.0) -> Decision:
        """Come back some time after calls are made again, not all at once."""
        if work.seconds_left <= 0:
            return exhausted(work.attempts, self._obstacle(work))
        jitter = self._clock.random() * self._settings.breaker_cool_down
        return RetryLater(min(max(self._no_calls_for() + jitter, at_least), work.seconds_left))

    def _obstacle(self, work: Work) -> str:
        """What stood in this message's way last: its own last error, or why no call was made."""
        if work.last_error:
            return work.last_error
        if self._breaker.state is BreakerState.CLOSED:
            return "no call was made: the rate limit left no turn for it"
        return f"no call was made: circuit open after {self._last_failure}"

    def _may_wait_in_place(self, work: Work, delay: float) -> bool:
        return (
            delay <= self._settings.retry_in_place_max and work.seconds_held + delay <= HOLD_SECONDS
        )

    async def _dead_letter(self, work: Work, decision: DeadLetter) -> None:
        await self._persist(work, lambda: self.settlement.dead_letter(work.delivery, decision))
        self._tell("dead_lettered", work, reason=decision.reason)

    async def _schedule_copy(self, work: Work, delay: float) -> None:
        error = self._obstacle(work)
        try:
            await self._persist(
                work, lambda: self.settlement.schedule_copy(work.copy(delay, error))
            )
        except Unsendable:
            # The publisher's properties and ours together are too much, or cannot be encoded.
            bare = work.copy(delay, error, bare=True)
            await self._persist(work, lambda: self.settlement.schedule_copy(bare))
        self._tell("retry_scheduled", work, delay_seconds=delay)

    async def _persist(self, work: Work, operation: Callable[[], Awaitable[None]]) -> None:
        """Carry out a settlement. While the broker does not take it, hold the message: to raise
        at once would have it redelivered at once, ten times in a second, and dead-lettered."""
        pause = 1.0
        while True:
            try:
                return await operation()
            except Exception as error:
                if isinstance(error, Unsendable):
                    raise
                if isinstance(error, LockLost) or work.seconds_held + pause > HOLD_SECONDS:
                    self._tell("settlement_failed", work, reason=str(error))
                    raise
                await self._clock.sleep(pause)
                pause = min(2 * pause, 30.0)

    def _tell(
        self,
        outcome: str,
        work: Work,
        *,
        reason: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        log_outcome(outcome, work, reason=reason, delay_seconds=delay_seconds)
        self._telemetry.ended(outcome, work)

    def _tell_breaker(self, state: BreakerState) -> None:
        facts = {"last_failure": self._last_failure} if state is BreakerState.OPEN else {}
        log_event(f"circuit_{state}", **facts)

    def _tell_fault(self, code: str, what_to_mend: str | None) -> None:
        """The first time that a fault of the deployment shows, say in plain words what to mend."""
        if what_to_mend and code not in self._faults_told:
            self._faults_told.add(code)
            log_event("deployment_fault", code=code, failure=self._last_failure, mend=what_to_mend)
