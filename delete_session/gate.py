"""May a call be made? Permits and their waiters, above the rate limiter and the circuit breaker.

Callers `acquire` a permit before a call and `report` its answer.
"""

import asyncio
from dataclasses import dataclass

from .breaker import BreakerState, CircuitBreaker
from .clock import Clock
from .limiter import RateCause, RateLimiter
from .log import record_circuit, record_rate
from .verdict import Meaning, Verdict

_MAX_PAUSE = 60.0
"""Seconds for which one answer may pause or block all calls: the longest period of a documented limit
(20 calls a minute, tier F0). A longer Retry-After delays only its own message."""
_DEFAULT_PAUSE = 1.0  # seconds, after a 429 without a Retry-After


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to make one call."""

    generation: int
    """Number of changes of the circuit breaker's state so far: a permit belongs to one state."""
    acquired_at: float
    """Monotonic seconds."""


class Gate:
    """Hands out permits, first come, first served.

    Rates are in calls per second, times in seconds. Waiters wait out a pause of up to `max_wait`; a
    longer pause blocks calls. `max_delay`, the longest delay of a message, also bounds each pause.
    """

    def __init__(
        self,
        *,
        max_rate: float,
        min_rate: float | None = None,
        breaker_failures: int,
        break_duration: float,
        max_wait: float,
        max_delay: float,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._max_wait = max_wait
        self._max_pause = min(_MAX_PAUSE, max_delay)
        self._limiter = RateLimiter(max_rate, clock.random, min_rate)
        self._breaker = CircuitBreaker(
            breaker_failures, break_duration, lambda state: record_circuit(state, self.last_failure)
        )
        self._turn = asyncio.Lock()  # its holder gets the next permit; the others queue for it
        self.last_failure = ""
        """The last answer that was not about its message; without a request id."""
        self.waiting = 0
        """Number of messages that wait for a permit."""

    @property
    def rate(self) -> float:
        """Calls per second that are allowed now; during a pause, after it."""
        return self._limiter.rate(self._clock.monotonic())

    @property
    def rate_cause(self) -> RateCause:
        """Why the rate is what it is."""
        return self._limiter.cause(self._clock.monotonic())

    @property
    def circuit(self) -> BreakerState:
        """The state of the circuit breaker."""
        return self._breaker.state

    async def acquire(self, within: float) -> Permit | None:
        """Wait `within` seconds for a permit; return None if calls are blocked or the time is up."""
        deadline = self._clock.monotonic() + within
        self.waiting += 1
        try:
            if self.waiting == 1 and not self._turn.locked():
                async with self._turn:  # a timeout would cost CPU for nothing
                    return await self._next_permit(deadline)
            async with asyncio.timeout(max(0.0, within)), self._turn:
                return await self._next_permit(deadline)
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1

    async def _next_permit(self, deadline: float) -> Permit | None:
        while not self.blocked_for():
            now = self._clock.monotonic()
            wait = self._limiter.wait(now)
            if not wait:
                self._limiter.take(now)
                generation = self._breaker.admit(now)
                return None if generation is None else Permit(generation, now)
            if now + wait > deadline:
                return None
            await self._clock.sleep(wait)
        return None

    def report(self, permit: Permit, verdict: Verdict) -> None:
        """Record the answer to the permitted call."""
        now = self._clock.monotonic()
        works = verdict.meaning.endpoint_works
        pause = min(verdict.retry_after or 0.0, self._max_pause)
        if not works:
            # Log lines of other messages show it, too, and the request id belongs to this one.
            self.last_failure = verdict.describe(request_id=False)
        elif verdict.meaning is Meaning.THROTTLED:
            pause = pause or min(_DEFAULT_PAUSE, self._max_pause)
            if self._limiter.throttled(now, permit.acquired_at, pause):
                record_rate(self.rate, self.rate_cause, pause)
        self._breaker.report(permit.generation, works, now, pause)

    def blocked_for(self) -> float:
        """Return the seconds for which no call is permitted; 0 if waiters get a permit."""
        now = self._clock.monotonic()
        paused = self._limiter.paused_for(now)
        blocked = paused if paused > self._max_wait else 0.0
        return max(self._breaker.blocked_for(now), blocked)

    def obstacle(self) -> str:
        """Return why no call was made, for people."""
        if self.circuit is BreakerState.CLOSED:
            return (
                "no call was made: the rate limit, or a pause after a 429, gave no permit in time"
            )
        return f"no call was made: circuit open after {self.last_failure}"
