"""What happens to a message after an attempt: a pure function, without I/O, clock or randomness.

docs/failures.md shows the decisions as a table.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from .verdict import Meaning, Verdict


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision depends on."""

    verdict: Verdict | None
    """The verdict on the call; None if the gate gave no permit, so that no call was made."""
    attempts: int
    """Calls made for this revocation so far, including this one."""
    seconds_left: float
    """Until the retry deadline; negative: it has passed."""
    blocked_for: float = 0.0
    """Seconds for which the gate permits no call; 0 if it permits calls."""
    last_error: str = ""
    """The last error of this revocation: text for people."""
    jitter: float
    """Uniform in [0, 1)."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Delays between attempts, in seconds."""

    initial_delay: float
    """Upper bound of the first delay; it doubles with each attempt (full jitter)."""
    max_delay: float
    """Upper bound of a backoff and of a Retry-After; a block of all calls may last longer."""
    return_spread: float
    """When a block of calls ends, the messages that waited return spread over this time."""


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
    """Decide what happens to the message after a call, or after none was permitted."""
    if (verdict := attempt.verdict) is not None:
        match verdict.meaning:
            case Meaning.DELETED:
                return Done("deleted")
            case Meaning.ALREADY_GONE:
                return Done("already_gone")
            case Meaning.REJECTED:
                return DeadLetter(verdict.code, verdict.describe())
    if attempt.seconds_left <= attempt.blocked_for:  # no call will be possible before the deadline
        return DeadLetter(
            "RetriesExhausted",
            f"after {attempt.attempts} attempts, the last: {attempt.last_error}",
        )
    # The delay is cut so that a last attempt is made at the retry deadline.
    return RetryLater(min(retry_delay(attempt, policy), attempt.seconds_left))


def retry_delay(attempt: Attempt, policy: RetryPolicy) -> float:
    """Return the seconds until the next attempt: exponential with full jitter, at least Retry-After.

    While calls are blocked: until the block ends, and a part of `return_spread`.
    """
    verdict = attempt.verdict
    if verdict is None or attempt.blocked_for > 0:
        delay = attempt.blocked_for + attempt.jitter * policy.return_spread
    else:
        doublings = min(attempt.attempts - 1, 64)  # 2.0**1024 would overflow
        delay = attempt.jitter * min(policy.max_delay, policy.initial_delay * 2.0**doublings)
    retry_after = verdict.retry_after if verdict is not None else None
    return max(delay, min(retry_after or 0.0, policy.max_delay))  # Azure has asked for a day
