"""May a call be made? The line of waiting messages, the rate limit and the circuit breaker together.

Two verbs, as in an SDK's client-side rate limiter: `acquire` a permit before a call, and `report`
its answer. One question: for how long calls are blocked. The arithmetic is in pacing.py and
breaker.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .breaker import BreakerState, CircuitBreaker
from .clock import Clock
from .pacing import RateLimiter
from .verdict import Meaning, Verdict

# Seconds for which one answer may pause or block all calls; what it asks for beyond that holds up its
# own message only. A minute is the longest period of a documented limit (20 calls a minute, tier F0).
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call."""

    generation: int
    """Of the circuit breaker's state in which it was given."""
    acquired_at: float
    """Monotonic seconds."""


class Gate:
    """Hands out permits in the order of asking.

    Args:
        most_calls: per second.
        least_calls: per second, guaranteed however many are refused; None: a part of the most,
            divided by `instances`.
        instances: how many processes may call at the same time at most, this one included.
        breaker_failures: how many in a row, not about a message, block all calls.
        cool_down: seconds until a probe.
        patience: seconds of a pause that is worth waiting for; a longer one blocks calls.
        longest_wait: seconds that any message waits at most; no pause is longer.
        clock: time and chance.
        on_change: told the circuit's new state, and what the last failure was.
    """

    def __init__(
        self,
        *,
        most_calls: float,
        least_calls: float | None = None,
        instances: int = 1,
        breaker_failures: int,
        cool_down: float,
        patience: float,
        longest_wait: float,
        clock: Clock,
        on_change: Callable[[BreakerState, str], None] = lambda _state, _failure: None,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._longest_pause = min(_LONGEST_PAUSE, longest_wait)
        self._limiter = RateLimiter(most_calls, clock.random, least_calls, instances=instances)
        self._breaker = CircuitBreaker(
            breaker_failures, cool_down, lambda state: on_change(state, self.last_failure)
        )
        self._turn = asyncio.Lock()  # its waiters are the line
        self._sooner: asyncio.Future[None] | None = None  # the first in line waits for less long
        self.last_failure = ""
        """The last answer that was not about its message; without a request id."""
        self.waiting = 0
        """How many messages wait in line."""

    @property
    def rate(self) -> float:
        """Calls per second that are allowed now."""
        return self._limiter.rate

    @property
    def circuit(self) -> BreakerState:
        """The state of the circuit breaker."""
        return self._breaker.state

    async def acquire(self, within: float) -> Permit | None:
        """Wait for a permit; return None when calls are blocked, or none comes in time.

        Args:
            within: seconds that it may take.
        """
        deadline = self._clock.monotonic() + within
        if not self._turn.locked() and not self.waiting:
            async with self._turn:
                return await self._next_permit(deadline)
        self.waiting += 1
        try:
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
            await self._sleep(wait)
        return None

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until an answer allows a higher rate, or blocks calls."""
        self._sooner = asyncio.get_running_loop().create_future()
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((sleeping, self._sooner), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()

    def _wake(self) -> None:
        if self._sooner and not self._sooner.done():
            self._sooner.set_result(None)

    def is_current(self, permit: Permit) -> bool:
        """Return whether the circuit is still as it was when the permit was given."""
        return self._breaker.is_current(permit.generation)

    def report(self, permit: Permit, verdict: Verdict) -> None:
        """Learn from the answer to the permitted call."""
        now, rate = self._clock.monotonic(), self._limiter.rate
        what = verdict.meaning
        asked_for = verdict.retry_after
        if not what.endpoint_works:
            # Other messages are told of it, too, and the request id is of this one.
            self.last_failure = verdict.describe(request_id=False)
        elif what is Meaning.THROTTLED:
            pause = min(asked_for or 1.0, self._longest_pause)
            self._limiter.throttled(now, permit.acquired_at, pause)
        else:
            self._limiter.succeeded(now, permit.acquired_at)
        break_seconds = min(asked_for or 0.0, self._longest_pause)
        self._breaker.report(permit.generation, what.endpoint_works, now, break_seconds)
        # A deletion blocks nothing, and most answers are one: to ask is for the others.
        if self._limiter.rate > rate or (what is not Meaning.DELETED and self.blocked_for()):
            self._wake()

    def blocked_for(self) -> float:
        """Return the seconds for which no call will be made; 0 when waiting in line is worth it."""
        now = self._clock.monotonic()
        paused = self._limiter.paused_for(now)
        worth_it = paused <= self._patience
        return max(self._breaker.blocked_for(now), 0.0 if worth_it else paused)

    def obstacle(self) -> str:
        """Return why no call was made, for people."""
        if self.circuit is BreakerState.CLOSED:
            return "no call was made: the rate limit left no turn for it"
        return f"no call was made: circuit open after {self.last_failure}"
