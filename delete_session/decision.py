"""What an answer of the Face API means, and what becomes of the message: pure functions.

No I/O, no clock and no randomness in here: all are passed in. The table is in docs/failures.md.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import msgspec


class FaceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call: an HTTP response, or the reason why there was none."""

    status: int | None
    """HTTP status; None when no response arrived."""
    code: str
    """FaceError code; `HTTP <status>` where the response has none; `Timeout`, `ConnectionFailed`
    or `TokenUnavailable` where there is no response."""
    message: str = ""
    """FaceError message, or what went wrong with the call."""
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds that the answer asks to wait before the next call."""
    has_body: bool = False


class Meaning(Enum):
    """What an answer says about the session, about the message or about the deployment."""

    DELETED = auto()
    ALREADY_GONE = auto()
    REJECTED = auto()  # this can never work
    MISCONFIGURED = auto()  # the deployment is wrong, not the message
    THROTTLED = auto()
    CONFLICT = auto()
    UNAVAILABLE = auto()

    @property
    def endpoint_works(self) -> bool:
        """False where every other message would fare the same, so that calling on is of no use."""
        return self not in (Meaning.MISCONFIGURED, Meaning.UNAVAILABLE)


def meaning(answer: FaceAnswer) -> Meaning:
    """What the answer means, by HTTP status and FaceError code."""
    match answer:
        case FaceAnswer(status=204) | FaceAnswer(status=200, has_body=False):
            return Meaning.DELETED
        case FaceAnswer(status=200):
            # A deletion's answer is empty: whoever sent this page was not the Face API. Asking again
            # is harmless: had the session been deleted, the answer would be SessionNotFound.
            return Meaning.UNAVAILABLE
        case FaceAnswer(status=404, code="SessionNotFound"):
            return Meaning.ALREADY_GONE
        case FaceAnswer(status=401 | 404) | FaceAnswer(status=403, code="PermissionDenied"):
            return Meaning.MISCONFIGURED
        case FaceAnswer(status=409):
            return Meaning.CONFLICT
        case FaceAnswer(status=429):
            return Meaning.THROTTLED
        case FaceAnswer(status=408 | None):
            return Meaning.UNAVAILABLE
        case FaceAnswer(status=int(status)) if 300 <= status < 400:
            return Meaning.MISCONFIGURED  # the Face API does not redirect: a wrong endpoint does
        case FaceAnswer(status=int(status)) if 400 <= status < 500:
            return Meaning.REJECTED
        case _:
            return Meaning.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Done:
    """The session is gone: complete the message."""

    outcome: str
    """`deleted`, or `already_gone`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to wait between attempts."""

    backoff_base: float
    """Seconds: the first wait is drawn from 0 to this."""
    backoff_cap: float
    """Seconds: no wait is drawn longer than this."""


def decide(
    answer: FaceAnswer,
    *,
    attempt: int,
    seconds_left: float,
    random: float,
    policy: RetryPolicy,
) -> Decision:
    """Decide what becomes of the message.

    Args:
        answer: what came of the call just made.
        attempt: how many calls were made for this revocation, this one included; from 1.
        seconds_left: until the effort for this message ends; zero or less: it has ended.
        random: uniform in [0, 1), for the jitter.
        policy: the backoff.
    """
    match meaning(answer):
        case Meaning.DELETED:
            return Done("deleted")
        case Meaning.ALREADY_GONE:
            return Done("already_gone")
        case Meaning.REJECTED:
            return DeadLetter(answer.code, describe(answer))
        case _ if seconds_left <= 0:
            return exhausted(attempt, describe(answer))
        case _:
            delay = retry_delay(attempt, answer.retry_after, random, policy)
            # The last attempt is made when the effort ends, not skipped because of a long wait.
            return RetryLater(min(delay, seconds_left))


def exhausted(attempts: int, last_error: str) -> DeadLetter:
    """Give up after an honest effort, with what stood in the way last."""
    return DeadLetter("RetriesExhausted", f"after {attempts} attempts, the last: {last_error}")


def retry_delay(
    attempt: int, retry_after: float | None, random: float, policy: RetryPolicy
) -> float:
    """Seconds to wait: exponential with full jitter, and never less than the answer asks for."""
    window = min(policy.backoff_cap, policy.backoff_base * 2.0 ** min(attempt - 1, 64))
    return max(random * window, retry_after or 0.0)


def describe(answer: FaceAnswer) -> str:
    """One line for people: HTTP status, FaceError code and message, request id."""
    parts = [answer.code]
    if answer.status is not None and answer.code != f"HTTP {answer.status}":
        parts.insert(0, f"HTTP {answer.status}")
    line = " ".join(parts)
    if answer.message:
        line += f": {answer.message}"
    if answer.request_id:
        line += f" (request id {answer.request_id})"
    return line


def remedy(answer: FaceAnswer) -> str | None:
    """What to mend when the deployment is wrong, in plain words; None if the deployment is right."""
    if meaning(answer) is not Meaning.MISCONFIGURED:
        return None
    match answer.status:
        case 401:
            return (
                "The Face resource does not accept the token of the function's identity: check that "
                "FACE_ENDPOINT is the resource's custom-subdomain endpoint and that the identity "
                "(AZURE_CLIENT_ID) belongs to the resource's tenant."
            )
        case 403:
            return (
                "The function's identity may not delete sessions: on the Face resource, assign it "
                "the role that infra/ defines. A new assignment takes some minutes to work."
            )
        case 404:
            return (
                "The Face resource does not know the path: check FACE_ENDPOINT and "
                "FACE_API_VERSION."
            )
        case _:
            return (
                "FACE_ENDPOINT answers with a redirect: it is not the endpoint of a Face resource."
            )


def retry_after_seconds(
    retry_after: str | None, retry_after_ms: str | None, message: str, now: float
) -> float | None:
    """Seconds that a response asks to wait.

    Args:
        retry_after: header `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3).
        retry_after_ms: header `retry-after-ms`: milliseconds, as some Azure gateways send it.
        message: the FaceError message, which may say "Please retry after 1 second".
        now: Unix time, to measure an HTTP date against.
    """
    waits = [
        milliseconds / 1000 if (milliseconds := _number(retry_after_ms)) is not None else None,
        _number(retry_after),
        _seconds_until(retry_after, now),
        _number(hint[1]) if (hint := re.search(r"(?i)retry after (\d+) second", message)) else None,
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", text) else None


def _seconds_until(text: str | None, now: float) -> float | None:
    if text is None or _number(text) is not None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.fromtimestamp(now, UTC)).total_seconds())
