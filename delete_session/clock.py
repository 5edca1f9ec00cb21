"""Time and randomness, which tests replace, and an estimate of the broker's time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Sources of time and randomness."""

    wall: Callable[[], float] = time.time
    """Unix time in seconds; it may step."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary moment; it never steps."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    """Uniform in [0, 1)."""


class BrokerTime:
    """The broker's time, estimated from this machine's clocks and the times that the broker stamped.

    If the wall clock steps ahead, the estimate does not follow: copies would be enqueued too late.
    If it steps back, the estimate follows, but not to before the latest stamp.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Unix time minus monotonic time: the estimate, and what the stamps prove.
        self._offset, self._min_offset = float("inf"), float("-inf")

    def now(self) -> datetime:
        """Return the time, in UTC."""
        monotonic = self._clock.monotonic()
        self._offset = max(self._min_offset, min(self._offset, self._clock.wall() - monotonic))
        return datetime.fromtimestamp(self._offset + monotonic, UTC)

    def advance_to(self, stamped: datetime) -> None:
        """Record a time that the broker has stamped."""
        offset = stamped.timestamp() - self._clock.monotonic()
        self._min_offset = max(self._min_offset, offset)
