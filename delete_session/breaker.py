"""When to stop calling: a circuit breaker.

It is told the time (monotonic seconds) by its caller, and never sleeps by itself.
"""

from collections.abc import Callable
from enum import StrEnum


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
