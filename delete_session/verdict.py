"""What the Face API answered and what that means. Each answer is judged once, where it arrives.

No input or output happens here.
"""

import re
from enum import Enum, auto
from http import HTTPStatus

import msgspec

SESSION_NOT_FOUND = "SessionNotFound"
PERMISSION_DENIED = "PermissionDenied"
KNOWN_CODES = frozenset({SESSION_NOT_FOUND, PERMISSION_DENIED})
"""FaceError codes with a fixed meaning; FACE_CODES_NOT_RETRYABLE must not name them."""


class Meaning(Enum):
    """What an answer says about the session, the request or the deployment."""

    DELETED = auto()
    UNCONFIRMED = auto()  # a success without the request id that the Face API always gives
    ALREADY_GONE = auto()
    REJECTED = auto()  # the code is one of FACE_CODES_NOT_RETRYABLE
    MISCONFIGURED = auto()  # the deployment is wrong, not the request
    UNKNOWN_CODE = auto()  # a 4xx with a code that has no known meaning
    THROTTLED = auto()  # 429
    CONFLICT = auto()  # 409
    UNAVAILABLE = auto()  # no response, or one that the operation does not give

    @property
    def endpoint_works(self) -> bool:
        """False if every other message would get the same answer."""
        return self not in (Meaning.MISCONFIGURED, Meaning.UNAVAILABLE)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one call: an HTTP response, or the reason why there was none."""

    meaning: Meaning
    status: int | None = None
    """HTTP status; None if there was no response."""
    code: str
    """FaceError code; `HTTP <status>` if the response has none; `Timeout`, `ConnectionFailed` or
    `TokenUnavailable` if there was no response."""
    message: str = ""
    """FaceError message, or what went wrong with the call."""
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds that the answer asks to wait before the next call."""
    remedy: str | None = None
    """What to do about a misconfiguration; None for any other meaning."""

    @property
    def refuses_token(self) -> bool:
        """Whether a new token may be accepted, e.g. after the signing keys were rolled over."""
        return self.remedy == _CHECK_IDENTITY

    def describe(self, *, request_id: bool = True) -> str:
        """Return one line for people: HTTP status, FaceError code, message and request id."""
        line = self.code
        if self.code == str(self.status):  # a gateway repeats it
            line = f"HTTP {self.status}"
        elif self.status is not None and self.code != f"HTTP {self.status}":
            line = f"HTTP {self.status} {line}"
        if self.message:
            line += f": {self.message}"
        if request_id and self.request_id:
            line += f" (request id {self.request_id})"
        return line


_TOKEN = re.compile(r"(?i:bearer)\s+\S+|eyJ[\w.-]{5,}")


def hide_tokens(text: str) -> str:
    """Return a foreign text without tokens: an answer or an error may repeat one."""
    return _TOKEN.sub("[token]", text)


def no_response(code: str, message: str) -> Verdict:
    """Return the verdict on a call that got no response."""
    return Verdict(meaning=Meaning.UNAVAILABLE, code=code, message=message)


def judge(
    status: int,
    codes: list[str],
    message: str = "",
    *,
    request_id: str | None = None,
    has_body: bool = True,
    retry_after: float | None = None,
    not_retryable: frozenset[str] = frozenset(),
) -> Verdict:
    """Judge a response by its HTTP status, FaceError codes and message, as described at `Verdict`.

    `codes` are outermost first: gateways wrap the operation's code in their own. `not_retryable` are
    those that dead-letter a message.
    """
    code = _decisive(codes, KNOWN_CODES | not_retryable) if codes else f"HTTP {status}"
    remedy = None
    match status:
        case 200 | 204 if not has_body:
            # A proxy that answers everything with 200 gives no request id. Calling again is harmless.
            meaning = Meaning.DELETED if request_id else Meaning.UNCONFIRMED
        case 404 if code == SESSION_NOT_FOUND:
            meaning = Meaning.ALREADY_GONE
        case 409:
            meaning = Meaning.CONFLICT
        case 429:
            meaning = Meaning.THROTTLED
        case _ if 300 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            meaning, remedy = _judge_refusal(status, code, message, not_retryable)
        case _:
            # Includes a 200 with a body: the Face API's own answer to a deletion is empty.
            meaning = Meaning.UNAVAILABLE
    return Verdict(
        meaning=meaning,
        status=status,
        code=code,
        message=message,
        request_id=request_id,
        retry_after=retry_after,
        remedy=remedy,
    )


def _decisive(codes: list[str], known: frozenset[str]) -> str:
    """Return the first code that is known, else the first that says more than the status."""
    for code in codes:
        if code in known:
            return code
    for code in codes:
        if not is_generic(code):
            return code
    return codes[0]


_GENERIC = {re.sub("[^a-z]", "", status.phrase.lower()) for status in HTTPStatus}
_GENERIC |= {"accessdenied", "unspecified"}  # in lower case, letters only


def is_generic(code: str) -> bool:
    """Return whether a code says no more than an HTTP status. Firewalls and gateways give such codes.

    Examples: `403`, `HTTP 403`, `Forbidden`, `AccessDenied`, `Unspecified`.
    """
    plain = re.sub("[^a-z0-9]", "", code.lower().removeprefix("http "))
    return plain in _GENERIC or bool(re.fullmatch("[0-9]{3}", plain))


# Known misconfigurations: statuses, words of the code or message, remedy. The words are from public
# reports; the code alone does not tell, because it differs from report to report.
_FAULTS: tuple[tuple[tuple[int, ...], re.Pattern[str], str], ...] = (
    (
        (401, 403),
        re.compile(rf"(?i){PERMISSION_DENIED}|does not have access to API"),
        "This identity may not delete sessions: assign it the role that infra/ defines (data action "
        "Microsoft.CognitiveServices/accounts/Face/*/sessions/delete) and wait some minutes.",
    ),
    (
        (403,),
        re.compile(
            r"(?i)virtual network|firewall rule|public (network )?access|private (endpoint|link)"
        ),
        "The Face resource's network rules do not let the function in: allow its subnet or outbound "
        "addresses, or use a private endpoint (approved, and with its private DNS zone).",
    ),
    (
        (400, 401, 403),
        re.compile(r"(?i)tenant [^\n]{0,200}match"),
        "This identity belongs to another Microsoft Entra tenant than the Face resource: "
        "use an identity of the resource's tenant.",
    ),
    (
        (400, 401, 403, 404),
        re.compile(r"(?i)custom (sub)?domain"),
        "The Face resource has no custom subdomain, and without one it accepts no Entra tokens: give "
        "it one (it cannot be changed later) and set FACE_ENDPOINT to it.",
    ),
    (
        (402, 403),
        re.compile(r"(?i)\bquota\b"),
        "The Face resource has used up its call volume: raise its pricing tier or its spending limit, "
        "or wait until the volume is replenished.",
    ),
)
_CHECK_IDENTITY = (
    "The Face resource does not accept the token: check that FACE_ENDPOINT is the resource's "
    "custom-subdomain endpoint and that the identity (AZURE_CLIENT_ID, or your own login) belongs to "
    "the resource's tenant."
)


def _judge_refusal(
    status: int, code: str, message: str, not_retryable: frozenset[str]
) -> tuple[Meaning, str | None]:
    """Return the meaning of a 3xx or 4xx answer, and the remedy if the deployment is wrong."""
    text = f"{code} {message}"
    for statuses, words, remedy in _FAULTS:
        if status in statuses and words.search(text):
            return Meaning.MISCONFIGURED, remedy
    if code in not_retryable and status >= 400:
        return Meaning.REJECTED, None
    if status < 400:
        return Meaning.MISCONFIGURED, (
            "FACE_ENDPOINT answers with a redirect: set it to the endpoint that the portal shows "
            "for the Face resource, and look for a proxy in between."
        )
    if status == 401:
        return Meaning.MISCONFIGURED, _CHECK_IDENTITY
    if status == 404:
        return Meaning.MISCONFIGURED, (
            "The Face resource does not know the path: check FACE_ENDPOINT and FACE_API_VERSION."
        )
    if is_generic(code):
        return Meaning.MISCONFIGURED, (
            "Something in front of the Face API refused the call: look for a firewall, a proxy, a "
            "gateway or a policy between the function and FACE_ENDPOINT."
        )
    return Meaning.UNKNOWN_CODE, None


_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*")
_HINT = re.compile(r"(?i)retry after (\d[\d,]{0,11}) second")


def retry_after_seconds(header: str | None, message: str) -> float | None:
    """Return the seconds that a response asks to wait; the longer, if header and message differ.

    Args:
        header: `Retry-After` in seconds. A date counts as missing: no report of one is known.
        message: the FaceError message, which may say "Please retry after 1 second".
    """
    waits = []
    if number := _SECONDS.fullmatch(header or ""):
        waits.append(float(number[1]))
    if hint := _HINT.search(message):
        waits.append(float(hint[1].replace(",", "")))
    return max(waits, default=None)
