"""Client-side rate limiter: additive increase over time, multiplicative decrease on a 429.

The caller passes the time (monotonic seconds); the limiter never sleeps.
"""

from collections.abc import Callable
from enum import StrEnum

CUT = 0.3
"""Fraction of the rate that a 429 removes. Calls that were in flight together count once."""
RISE_SECONDS, RISE_CALLS = 300.0, 1000
"""Time to rise from zero to `max_rate`: `RISE_SECONDS`, or what `RISE_CALLS` take at `max_rate` if that
is longer (small quotas)."""
JITTER = 0.3
"""Spacing varies by up to this fraction: evenly spaced calls can fall into step with another client."""
RETURN = 2.0
"""After a pause, the next call comes within this many intervals, at random, so that instances that got
the same Retry-After do not return together."""
FLOOR = 1 / 8
"""Default `min_rate` as a fraction of `max_rate`."""
LATE_SECONDS = 0.05
"""A call that is late by up to this much does not delay the next ones (timers are coarse)."""


class RateCause(StrEnum):
    """Why the rate is what it is."""

    CEILING = "ceiling"
    CUT = "cut"
    FLOOR = "floor"


class RateLimiter:
    """Paces calls between a floor and a ceiling.

    Calls start at `max_rate`. A 429 pauses all calls for its Retry-After and cuts the rate. Time
    without a pause raises it linearly, whether calls are made or not.

    Args:
        max_rate: ceiling, calls per second on average.
        random: uniform in [0, 1).
        min_rate: floor, calls per second; kept however many calls are throttled (pauses still apply).
            None: `FLOOR` times `max_rate`.
    """

    def __init__(
        self, max_rate: float, random: Callable[[], float], min_rate: float | None = None
    ) -> None:
        self._max_rate = max_rate
        self._min_rate = max_rate * FLOOR if min_rate is None else min_rate
        self._rise = max_rate / max(RISE_SECONDS, RISE_CALLS / max_rate)  # per second
        self._random = random
        self._base_rate = max_rate  # the rate until the last pause ends; it rises from there
        self._cut_at = self._paused_until = float("-inf")
        # The next call comes this many intervals after the last call or pause.
        self._spaced_from, self._intervals = float("-inf"), 0.0

    def rate(self, now: float) -> float:
        """Calls per second; during a pause, the rate after it."""
        seconds_of_rise = max(0.0, now - self._paused_until)
        return min(self._max_rate, self._base_rate + self._rise * seconds_of_rise)

    def cause(self, now: float) -> RateCause:
        """Why the rate is what it is. After a cut: whether that cut ended at the floor."""
        if self.rate(now) == self._max_rate:
            return RateCause.CEILING
        return RateCause.FLOOR if self._base_rate == self._min_rate else RateCause.CUT

    def paused_for(self, now: float) -> float:
        """Seconds left of the pause that a 429 asked for; 0 if there is none."""
        return max(0.0, self._paused_until - now)

    def wait(self, now: float) -> float:
        """Seconds until the next call may be made; 0: take it now."""
        wait = max(self._next_call(now) - now, self.paused_for(now))
        return wait if wait > 1e-9 else 0.0  # less is rounding

    def take(self, now: float) -> None:
        """Make a call, after `wait` has returned 0."""
        self._spaced_from = max(self._next_call(now), now - LATE_SECONDS)
        self._intervals = 1 + JITTER * (2 * self._random() - 1)

    def throttled(self, now: float, called_at: float, retry_after: float) -> bool:
        """Record a 429.

        Args:
            now: time of the answer.
            called_at: time of the call; one made before the last cut does not cut again.
            retry_after: seconds without calls.

        Returns:
            Whether it cut the rate.
        """
        cuts = called_at >= self._cut_at
        self._base_rate = self.rate(now)  # a new pause begins
        if cuts:
            self._base_rate = max(self._min_rate, self._base_rate * (1 - CUT))
            self._cut_at = now
        self._paused_until = self._spaced_from = max(self._paused_until, now + retry_after)
        self._intervals = RETURN * self._random()
        return cuts

    def _next_call(self, now: float) -> float:
        return self._spaced_from + self._intervals / self.rate(now)
