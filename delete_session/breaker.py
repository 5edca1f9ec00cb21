"""Circuit breaker.

The caller passes the time (monotonic seconds); the breaker never sleeps.
"""

from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """State of the circuit breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """Stops calls after consecutive failures that are not about the message.

    Args:
        failures: number of consecutive failures that opens it.
        break_duration: seconds that it stays open; then it admits one trial call at a time.
        on_change: called with the new state at every change.
    """

    def __init__(
        self, failures: int, break_duration: float, on_change: Callable[[BreakerState], None]
    ) -> None:
        self._failures = failures
        self._break_duration = break_duration
        self._on_change = on_change
        self.state = BreakerState.CLOSED
        self._consecutive = 0
        self._blocked_until = 0.0
        self._generation = 0

    def blocked_for(self, now: float) -> float:
        """Seconds until a call may be tried again; 0: now."""
        return 0.0 if self.state is BreakerState.CLOSED else max(0.0, self._blocked_until - now)

    def admit(self, now: float) -> int | None:
        """Admit one call: return the generation to report its result with; None: not admitted.

        After the break, it admits one trial call. If the trial's result is never reported, it admits
        another one a break duration later.
        """
        if self.state is not BreakerState.CLOSED:
            if now < self._blocked_until:
                return None
            self._blocked_until = now + self._break_duration
            self._change(BreakerState.HALF_OPEN)
        return self._generation

    def report(self, generation: int, works: bool, now: float, retry_after: float = 0.0) -> None:
        """Record the result of a call, answered `now`.

        Results of calls admitted before the last change of state are ignored. `works` is False for a
        failure that any other message would meet, too; its Retry-After (seconds) extends the break.
        """
        if generation != self._generation:
            return
        if works:
            self._consecutive = 0
            self._change(BreakerState.CLOSED)
            return
        self._consecutive += 1
        if self.state is BreakerState.HALF_OPEN or self._consecutive >= self._failures:
            self._blocked_until = now + max(self._break_duration, retry_after)
            self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        if state is not self.state:
            self._generation += 1
            self.state = state
            self._on_change(state)
