"""What the Face API answered, what that means, and what to do about a fault of the deployment.

Everything that speaks of answers rests on this module; it does no input or output.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True):
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


def meaning(answer: Answer) -> Meaning:
    """What the answer means, by HTTP status and FaceError code."""
    match answer:
        case Answer(status=204) | Answer(status=200, has_body=False):
            return Meaning.DELETED
        case Answer(status=200):
            # A deletion's answer is empty: whoever sent this page was not the Face API. Asking again
            # is harmless: had the session been deleted, the answer would be SessionNotFound.
            return Meaning.UNAVAILABLE
        case Answer(status=404, code="SessionNotFound"):
            return Meaning.ALREADY_GONE
        case Answer(status=401 | 404) | Answer(status=403, code="PermissionDenied"):
            return Meaning.MISCONFIGURED
        case Answer(status=409):
            return Meaning.CONFLICT
        case Answer(status=429):
            return Meaning.THROTTLED
        case Answer(status=408 | None):
            return Meaning.UNAVAILABLE
        case Answer(status=int(status)) if 300 <= status < 400:
            return Meaning.MISCONFIGURED  # the Face API does not redirect: a wrong endpoint does
        case Answer(status=int(status)) if 400 <= status < 500:
            return Meaning.REJECTED
        case _:
            return Meaning.UNAVAILABLE


def describe(answer: Answer) -> str:
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


def remedy(answer: Answer) -> str | None:
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
