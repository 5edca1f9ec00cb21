"""What happens to a message after an attempt: a pure function, without I/O, clock or randomness.

docs/failures.md shows the same table for people.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from .verdict import Meaning, Verdict


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision depends on."""

    verdict: Verdict | None
    """On the call; None if no call was made because calls are blocked."""
    attempts: int
    """Calls made for this revocation so far, including this one."""
    seconds_left: float
    """Until the retry deadline; zero or less: it has passed."""
    blocked_for: float = 0.0
    """Seconds for which no call will be made; 0 if calls are made."""
    last_error: str = ""
    """The last error of this revocation, for people."""
    jitter: float
    """Uniform in [0, 1)."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Delays between attempts, in seconds."""

    initial_delay: float
    """Upper bound of the first delay; it doubles with each attempt (full jitter)."""
    max_delay: float
    """Upper bound of a backoff and of a Retry-After; a block of all calls may last longer."""
    return_spread: float
    """After calls were blocked, the messages that waited return spread over this time."""


@dataclass(frozen=True, slots=True)
class Done:
    """Complete the message: the session is gone."""

    outcome: Literal["deleted", "already_gone"]


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after `delay_seconds`."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Dead-letter the message with this reason and description."""

    reason: str
    description: str


type Decision = Done | RetryLater | DeadLetter


def decide(attempt: Attempt, policy: RetryPolicy) -> Decision:
    """Decide what happens to the message after an attempt, made or blocked."""
    if (verdict := attempt.verdict) is not None:
        match verdict.meaning:
            case Meaning.DELETED:
                return Done("deleted")
            case Meaning.ALREADY_GONE:
                return Done("already_gone")
            case Meaning.REJECTED:
                return DeadLetter(verdict.code, verdict.describe())
    if attempt.seconds_left <= 0:
        return DeadLetter(
            "RetriesExhausted",
            f"after {attempt.attempts} attempts, the last: {attempt.last_error}",
        )
    # A last attempt is made at the retry deadline, however long the delay would be.
    return RetryLater(min(retry_delay(attempt, policy), attempt.seconds_left))


def retry_delay(attempt: Attempt, policy: RetryPolicy) -> float:
    """Return the seconds until the next attempt: exponential with full jitter, at least Retry-After.

    While calls are blocked, messages wait for the end of the block and return spread over some time.
    """
    asked_for = (attempt.verdict.retry_after if attempt.verdict is not None else None) or 0.0
    asked_for = min(asked_for, policy.max_delay)  # a whole day has been asked for
    if attempt.verdict is None or attempt.blocked_for > 0:
        delay = attempt.blocked_for + attempt.jitter * policy.return_spread
    else:
        doublings = min(attempt.attempts - 1, 64)
        delay = attempt.jitter * min(policy.max_delay, policy.initial_delay * 2.0**doublings)
    return max(delay, asked_for)
