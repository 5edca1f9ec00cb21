"""How fast we may call, and when to stop calling: a rate limiter and a circuit breaker.

Both are told the time (monotonic seconds) by their callers and never sleep by themselves.
"""

import random
from collections.abc import Callable
from enum import StrEnum

# Parts of the rate, so that the curve is the same for every quota and the share of throttled calls
# does not depend on how many processes there are: each success raises the rate by a part, each
# throttling cuts it by one. Found with bench/pacing.py, which simulates this limiter against a
# bucket of ten calls a second with live traffic of five: deeper cuts waste the quota, shallower
# ones and faster rises take it from the live traffic. docs/decisions.md has the curve.
START = 1 / 32, 0.25
"""Rate with which a new process starts: twenty new ones make five calls a second, not 160;
and in calls per second, what it is at least."""
GROWTH = 1.0
"""Part by which each success raises the rate until the first throttling: it doubles."""
CUT = 0.85
"""Factor by which one throttling cuts the rate."""
RISE = 0.0035
"""Part by which each success raises the rate."""
CALM_RISE = 0.03
"""The same, when there was no throttling for `CALM_SECONDS`: others have left, there is more."""
CALM_SECONDS = 120.0
LEAST = 1 / 160, 0.05
"""The rate is never cut below; and in calls per second."""
PROBING = 0.92
"""From this part of the rate that was throttled last on, calls go in groups."""
GROUP = 3
"""So many at most, and no more than a second's worth."""
SPREAD = 0.75
"""The time to the next call is that much longer or shorter than the rate says, at random."""


class RateLimiter:
    """A token bucket whose rate adapts: it rises step by step with successes, and a 429 cuts it.

    Several processes and the live traffic thus share a quota without talking to each other.

    Close to where it was throttled last, calls go in small groups, with the time that they take
    together between them: who comes in groups finds the quota used up before who comes one by one,
    so that it is the function that is throttled, and slows down, and not the live traffic.

    Args:
        most: calls per second; the rate never exceeds it.
        random: uniform in [0, 1). Calls are spaced at random around the rate: evenly spaced ones can
            fall into step with another caller and take every token just before it.
    """

    def __init__(self, most: float, random: Callable[[], float] = random.random) -> None:
        self._most = most
        self._random = random
        self._rate = self._at_least(START)
        # Some 50 ms worth of calls may go at once, where the rate is so high that timers are coarse.
        self._capacity = max(1.0, most * 0.05 - 1)
        # Below zero while the last group is being paid for.
        self._tokens = 0.0
        self._left_of_group = 0
        self._at: float | None = None
        self._throttled_rate: float | None = None
        self._cut_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def rate(self) -> float:
        """Calls per second, now."""
        return self._rate

    def paused_for(self, now: float) -> float:
        """Seconds until the pause that a throttling asked for is over; 0 if there is none."""
        return max(0.0, self._paused_until - now)

    def wait(self, now: float) -> float:
        """Seconds until the next call may be made; 0: take it."""
        self._refill(now)
        # What is lacking to the rounding of floats is not worth a wait.
        lacking = 0.0 if self._left_of_group or self._tokens > -1e-9 else -self._tokens
        return max(lacking / self._rate, self.paused_for(now))

    def take(self, now: float) -> None:
        """Make a call, after `wait` has returned 0."""
        self._refill(now)
        if self._left_of_group:
            self._left_of_group -= 1
            return
        group = 1
        if self._throttled_rate is not None and self._rate > PROBING * self._throttled_rate:
            group = max(1, min(GROUP, round(self._rate)))
        self._left_of_group = group - 1
        self._tokens -= group * (1 + SPREAD * (2 * self._random() - 1))

    def succeeded(self, now: float) -> None:
        """The API has answered a call with anything but 429."""
        if self._throttled_rate is None:
            rise = GROWTH
        else:
            rise = CALM_RISE if now - self._cut_at > CALM_SECONDS else RISE
        self._rate = min(self._most, self._rate * (1 + rise))

    def throttled(self, now: float, called_at: float, retry_after: float) -> None:
        """The API has answered 429.

        Args:
            now: when the answer came.
            called_at: when the call was made. One that was under way at the last cut tells nothing
                new, and does not cut again.
            retry_after: seconds until when no call is to be made.
        """
        self._paused_until = max(self._paused_until, now + retry_after)
        if called_at >= self._cut_at:
            # The first one ends the doubling, and takes the last doubling back.
            cut = 1 / (1 + GROWTH) if self._throttled_rate is None else CUT
            self._throttled_rate = self._rate
            self._rate = max(self._at_least(LEAST), self._rate * cut)
            self._cut_at = now

    def _at_least(self, part_and_rate: tuple[float, float]) -> float:
        part, rate = part_and_rate
        return min(self._most, max(self._most * part, rate))

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now


class BreakerState(StrEnum):
    """Of a circuit breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """Stops calls after a run of failures that are not about the message, and probes for recovery.

    Args:
        failures: how many in a row open it.
        cool_down: seconds that it stays open; then one call at a time is let through as a probe.
        on_change: told every change of state.
    """

    def __init__(
        self,
        failures: int,
        cool_down: float,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._failures = failures
        self._cool_down = cool_down
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._run = 0
        self._until = 0.0
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """Closed, open or half-open."""
        return self._state

    def blocked_for(self, now: float) -> float:
        """Seconds until a call may be tried again; 0: now."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._until - now)

    def admit(self, now: float) -> int | None:
        """Let one call through, or not: the generation to report its result with, or None.

        After the cool-down, one call is the probe. Should its result never be reported, the next
        cool-down lets another one through.
        """
        if self._state is not BreakerState.CLOSED:
            if now < self._until:
                return None
            self._until = now + self._cool_down
            self._change(BreakerState.HALF_OPEN)
        return self._generation

    def is_current(self, generation: int) -> bool:
        """Whether the state is still that of that generation."""
        return generation == self._generation

    def report(self, generation: int, works: bool, now: float, retry_after: float = 0.0) -> None:
        """Tell the result of a call.

        Args:
            generation: what `admit` gave. Calls admitted before the last change of state tell nothing
                about what came after it.
            works: False for a failure that any other message would meet, too.
            now: when the answer came.
            retry_after: seconds that the failure asks to stay away, if longer than the cool-down.
        """
        if not self.is_current(generation):
            return
        if works:
            self._run = 0
            self._change(BreakerState.CLOSED)
            return
        self._run += 1
        if self._state is BreakerState.HALF_OPEN or self._run >= self._failures:
            self._until = now + max(self._cool_down, retry_after)
            self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        if state is not self._state or state is BreakerState.HALF_OPEN:
            self._generation += 1
        if state is not self._state:
            self._state = state
            self._on_change(state)
