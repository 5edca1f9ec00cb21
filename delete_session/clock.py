"""Time and chance: what tests replace, and the broker's time as far as it can be told."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where time and chance come from."""

    wall: Callable[[], float] = time.time
    """Unix time in seconds; it may step."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds since some moment; it never steps."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    """Uniform in [0, 1)."""


class BrokerTime:
    """The broker's time, as far as this machine's clocks and the broker's stamps show it.

    A wall clock that steps ahead is not followed, because copies would be enqueued too late. One that
    steps back is followed, but never to before what the broker has stamped.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset, self._min_offset = float("inf"), float("-inf")  # from monotonic to Unix time

    def now(self) -> datetime:
        """Return the time, in UTC."""
        monotonic = self._clock.monotonic()
        self._offset = max(self._min_offset, min(self._offset, self._clock.wall() - monotonic))
        return datetime.fromtimestamp(self._offset + monotonic, UTC)

    def advance_to(self, stamped: datetime) -> None:
        """Record a time that the broker has stamped."""
        offset = stamped.timestamp() - self._clock.monotonic()
        self._min_offset = max(self._min_offset, offset)
