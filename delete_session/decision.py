"""What becomes of a message: a pure function of one attempt.

There is no input or output, no clock and no chance in here: all are passed in. Nobody overrides
what `decide` returns. docs/failures.md shows the same table for people.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from .verdict import Answer, Meaning, describe, meaning


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision rests on."""

    answer: Answer | None
    """What came of the call; None when no call was made because calls are blocked."""
    attempts: int
    """Calls made for this revocation so far, this one included."""
    seconds_left: float
    """Until the retry deadline of this message; zero or less: it has passed."""
    blocked_for: float = 0.0
    """Seconds for which no call will be made; 0 when calls are made."""
    last_error: str = ""
    """What stood in the way when no call was made."""
    chance: float
    """Uniform in [0, 1), for the jitter."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait between attempts, in seconds."""

    initial_delay: float
    """The first wait is drawn from 0 to this; every further one from twice as much."""
    max_delay: float
    """No wait is drawn longer than this, and no answer may ask for more."""
    return_spread: float
    """Messages that wait for calls to be made again come back within this time after it."""


@dataclass(frozen=True, slots=True)
class Done:
    """The session is gone: complete the message."""

    outcome: Literal["deleted", "already_gone"]


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after `delay_seconds`."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give the message up, with the reason and description that the dead-letter queue shows."""

    reason: str
    description: str


type Decision = Done | RetryLater | DeadLetter


def decide(attempt: Attempt, policy: RetryPolicy) -> Decision:
    """Decide what becomes of the message after an attempt, made or blocked."""
    answer = attempt.answer
    match meaning(answer) if answer is not None else None:
        case Meaning.DELETED:
            return Done("deleted")
        case Meaning.ALREADY_GONE:
            return Done("already_gone")
        case Meaning.REJECTED if answer is not None:
            return DeadLetter(answer.code, describe(answer))
    if attempt.seconds_left <= 0:
        last = describe(answer) if answer is not None else attempt.last_error
        return DeadLetter(
            "RetriesExhausted", f"after {attempt.attempts} attempts, the last: {last}"
        )
    # The last attempt is made when the effort ends, not skipped because of a long wait.
    return RetryLater(min(retry_delay(attempt, policy), attempt.seconds_left))


def retry_delay(attempt: Attempt, policy: RetryPolicy) -> float:
    """Return the seconds to wait, never fewer than the answer asks for within the cap.

    While calls are blocked, messages wait until they are made again, and come back spread over
    some time. Otherwise waits grow exponentially with full jitter.
    """
    asked_for = (attempt.answer.retry_after if attempt.answer is not None else None) or 0.0
    asked_for = min(asked_for, policy.max_delay)  # a whole day has been asked for
    if attempt.answer is None or attempt.blocked_for > 0:
        return max(attempt.blocked_for + attempt.chance * policy.return_spread, asked_for)
    doublings = min(attempt.attempts - 1, 64)
    window = min(policy.max_delay, policy.initial_delay * 2.0**doublings)
    return max(attempt.chance * window, asked_for)
