"""What the Face API answered, what that means, and what to do about a fault of the deployment.

Everything that speaks of answers rests on this module; it does no input or output.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus

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
    path: str | None = None
    """Of the collection of sessions that was asked; None after a deletion."""
    retry_after: float | None = None
    """Seconds that the answer asks to wait before the next call."""
    has_body: bool = False
    rejected: bool = False
    """The code is on the list of FaceError codes that are not retryable."""


class Meaning(Enum):
    """What an answer says about the session, about the request or about the deployment."""

    DELETED = auto()
    UNCONFIRMED = auto()  # a success that the Face API did not sign
    ALREADY_GONE = auto()
    REJECTED = auto()  # this request can never work
    MISCONFIGURED = auto()  # the deployment is wrong, not the request
    UNKNOWN_CODE = auto()  # the API refuses for a reason that nobody here has judged
    THROTTLED = auto()
    CONFLICT = auto()
    UNAVAILABLE = auto()

    @property
    def endpoint_works(self) -> bool:
        """False where every other message would fare the same, so that calling on is of no use."""
        return self not in (Meaning.MISCONFIGURED, Meaning.UNAVAILABLE)


def meaning(answer: Answer) -> Meaning:
    """Return what the answer means, by HTTP status, FaceError code and what the platform writes."""
    match answer:
        case Answer(status=200 | 204, has_body=False, request_id=str()):
            return Meaning.DELETED
        case Answer(status=200 | 204, has_body=False):
            # The API gives every answer a request id; a proxy that says yes to everything does not.
            # Asking again is harmless, and tells which of them it was.
            return Meaning.UNCONFIRMED
        case Answer(status=404, code="SessionNotFound"):
            return Meaning.ALREADY_GONE
        case Answer(status=409):
            return Meaning.CONFLICT
        case Answer(status=429):
            return Meaning.THROTTLED
        case Answer(status=408 | None):
            return Meaning.UNAVAILABLE
        case Answer(status=int(status)) if 300 <= status < 400:
            return Meaning.MISCONFIGURED  # the Face API does not redirect: a wrong endpoint does
        case Answer(status=int(status)) if 400 <= status < 500:
            return _meaning_of_refusal(answer, status)
        case _:
            # Also a 200 with a body: a deletion's answer is empty, so whoever sent this page was not
            # the Face API. Asking again is harmless: had the session been deleted, the answer would
            # be SessionNotFound.
            return Meaning.UNAVAILABLE


def _meaning_of_refusal(answer: Answer, status: int) -> Meaning:
    if _known_fault(answer) is not None:
        return Meaning.MISCONFIGURED
    if answer.rejected:
        return Meaning.REJECTED
    if status in (401, 404) or repeats_status(answer.code, status):
        return Meaning.MISCONFIGURED
    return Meaning.UNKNOWN_CODE


def repeats_status(code: str, status: int) -> bool:
    """Return whether a code says no more than the HTTP status, as the platform's own codes do.

    Examples: `403`, `HTTP 403`, `Forbidden` and, of network rules, `AccessDenied`.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    words = re.sub(r"[^a-z0-9]", "", code.lower().removeprefix("http "))
    return words in (str(status), re.sub(r"[^a-z]", "", phrase.lower()), "accessdenied")


def refuses_token(answer: Answer) -> bool:
    """Return whether another token might be accepted, as when keys have just rolled over."""
    return answer.status == 401 and _known_fault(answer) is None


@dataclass(frozen=True, slots=True)
class _Fault:
    """A fault of the deployment, known by what the platform writes about it."""

    statuses: tuple[int, ...]
    says: re.Pattern[str]
    remedy: str


def _fault(statuses: tuple[int, ...], says: str, remedy: str) -> _Fault:
    return _Fault(statuses, re.compile(says, re.IGNORECASE), remedy)


# What stands in front of the Face operation answers in these words, according to public reports;
# the code that comes with them differs from case to case.
_FAULTS = (
    _fault(
        (401, 403),
        r"PermissionDenied|does not have access to API",
        "This identity may not delete sessions: on the Face resource, assign it the role that infra/ "
        "defines (data action Microsoft.CognitiveServices/accounts/Face/*/sessions/delete). A new "
        "assignment takes some minutes to work.",
    ),
    _fault(
        (403,),
        r"virtual network|firewall rule",
        "The Face resource's network rules do not let the function in: add its subnet or its "
        "outbound addresses to the resource's firewall, or deploy with private networking.",
    ),
    _fault(
        (403,),
        r"public (network )?access|private endpoint|private link",
        "The Face resource takes calls only through an approved private endpoint: deploy with private "
        "networking, approve the endpoint connection, and check that its private DNS zone is used.",
    ),
    _fault(
        (400, 401, 403),
        r"tenant .*match",
        "This identity belongs to another Microsoft Entra tenant than the Face resource: "
        "use an identity of the resource's tenant.",
    ),
    _fault(
        (400, 401, 403, 404),
        r"custom (sub)?domain",
        "The Face resource has no custom subdomain, and without one it takes no Entra tokens: give it "
        "one (it cannot be changed later) and set FACE_ENDPOINT to it.",
    ),
    _fault(
        (402, 403),
        r"\bquota\b",
        "The Face resource has used up its call volume: raise its pricing tier or its spending limit, "
        "or wait until the volume is replenished.",
    ),
)


def _known_fault(answer: Answer) -> _Fault | None:
    if answer.status is None or not 400 <= answer.status < 500:
        return None
    said = f"{answer.code} {answer.message}"
    return next(
        (each for each in _FAULTS if answer.status in each.statuses and each.says.search(said)),
        None,
    )


def remedy(answer: Answer) -> str | None:
    """Return what to do when the deployment is wrong; None when it is right."""
    if meaning(answer) is not Meaning.MISCONFIGURED:
        return None
    if (known := _known_fault(answer)) is not None:
        return known.remedy
    match answer.status:
        case 401:
            return (
                "The Face resource does not accept the token: check that FACE_ENDPOINT is the "
                "resource's custom-subdomain endpoint and that the identity (AZURE_CLIENT_ID, or your "
                "own login) belongs to the resource's tenant."
            )
        case 404:
            return "The Face resource does not know the path: check FACE_ENDPOINT and FACE_API_VERSION."
        case int(status) if 300 <= status < 400:
            return (
                "FACE_ENDPOINT answers with a redirect: set it to the endpoint that the portal shows "
                "for the Face resource, and look for a proxy in between."
            )
        case _:
            return (
                "Something in front of the Face API refused the call: look for a firewall, a proxy, a "
                "gateway or a policy between the function and FACE_ENDPOINT."
            )


def describe(answer: Answer) -> str:
    """Return one line for people: HTTP status, FaceError code and message, request id."""
    parts = [answer.code]
    if answer.status is not None and answer.code != f"HTTP {answer.status}":
        parts.insert(0, f"HTTP {answer.status}")
    line = " ".join(parts)
    if answer.message:
        line += f": {answer.message}"
    if answer.request_id:
        line += f" (request id {answer.request_id})"
    return line


def retry_after_seconds(
    retry_after: str | None, retry_after_ms: str | None, message: str, now: float
) -> float | None:
    """Return the seconds that a response asks to wait.

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
        _number(hint[1].replace(",", ""))
        if (hint := re.search(r"(?i)retry after ([\d,]+) second", message))
        else None,
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", text) else None


def _seconds_until(text: str | None, now: float) -> float | None:
    if text is None or _number(text) is not None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # an offset may have any number of digits
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.fromtimestamp(now, UTC)).total_seconds())
