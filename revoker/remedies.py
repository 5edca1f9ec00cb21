"""The remedies for dead-letter reasons, and for the last error of a message.

The table of docs/operations.md has the same rows; a test keeps the two equal. The remedy for a
misconfiguration comes from the function (`delete_session.verdict.remedy`).
"""

import re
from dataclasses import dataclass

from delete_session.settings import TABLE
from delete_session.verdict import judge


@dataclass(frozen=True, slots=True)
class Reason:
    """Why messages are dead-lettered: the reason's names, the cause, and what to do.

    The texts are Markdown, with `code` and links as docs/operations.md has them.
    """

    names: tuple[str, ...]
    cause: str
    remedy: str
    others: str = ""
    """Further reasons with the same treatment, in the words of the page."""


_FINAL = (TABLE["face_codes_not_retryable"].default or "").split(",")

REASONS = (
    Reason(
        ("MalformedMessage",),
        "the message breaks the contract; the description names the member",
        "have the publisher send a corrected message under a new message id; then `discard --reason "
        "MalformedMessage`. Resubmitting cannot help",
    ),
    Reason(
        ("RetriesExhausted",),
        "retried until the retry deadline (48 hours, or most of the message's time to live); the "
        "description has the last error",
        "fix the last error ([deployment fault](#deployment-fault)), then resubmit; sessions older "
        "than 48 hours have expired",
    ),
    Reason(
        ("UnsupportedFeature",),
        "the Face resource is not approved for liveness",
        "apply for limited access, or correct `FACE_ENDPOINT`; resubmit",
    ),
    Reason(
        ("BadArgument", "InvalidRequestBody"),
        "the Face API will never accept this request; the description has its message and request id",
        "compare `sessionType` and `FACE_API_VERSION` with the session; resubmit after a correction, "
        "otherwise discard",
        others="or another code in [`FACE_CODES_NOT_RETRYABLE`](settings.md)",
    ),
    Reason(
        ("MaxDeliveryCountExceeded",),
        "twenty deliveries ended in a crash, a lost lock or a restart; if that took only seconds, "
        "the publisher sent an AMQP value (a JMS `TextMessage`), which the Functions host cannot read",
        "check `AppExceptions` and `instanceMemoryMB`; resubmit one message with `--session`, watch "
        "it, then resubmit the rest. `resubmit` turns an AMQP text value into bytes; have the "
        "publisher send bytes",
    ),
    Reason(
        ("TTLExpiredException",),
        "it waited for its whole time to live: the function was stopped or too slow",
        "start the function, or raise the [capacity](#rate-and-capacity); then resubmit; sessions "
        "older than 48 hours have expired",
    ),
    Reason(
        ("HeaderSizeExceeded",),
        "the broker found the message's properties too large, together with what it adds to them",
        "`revoker publish` the session again, then discard this message; have the publisher send fewer "
        "and smaller application properties",
    ),
    Reason(
        (),
        "somebody dead-lettered it by hand",
        "read the description, and ask the person who did it",
        others="any other",
    ),
)

_ANY_OTHER = REASONS[-1]
_OTHER_FINAL_CODE = next(each for each in REASONS if "BadArgument" in each.names)

# As delete_session.verdict.describe writes it, also within a longer text.
_SAID = re.compile(r"HTTP (?P<status>\d{3})(?: (?P<code>[\w.]+))?(?:: (?P<message>.*))?", re.DOTALL)


def for_reason(name: str) -> Reason:
    """Return the row of a dead-letter reason."""
    for each in REASONS:
        if name in each.names:
            return each
    return _OTHER_FINAL_CODE if name in _FINAL else _ANY_OTHER


def is_known(name: str) -> bool:
    """Return whether the broker or the function gives this dead-letter reason."""
    return name in _FINAL or any(name in each.names for each in REASONS)


def for_error(text: str | None) -> str | None:
    """Return the function's remedy for an error that it recorded; None without one.

    Args:
        text: the last error of a retry copy, or the description of a dead letter.
    """
    said = _SAID.search(text or "")
    if said is None:
        return None
    status = int(said["status"])
    codes = [said["code"]] if said["code"] else []
    return judge(status, codes, said["message"] or "", not_retryable=frozenset(_FINAL)).remedy


_NO_CALL = re.compile(r"no call was made: (?:circuit open after )?")
_NO_ANSWER = (
    "The function does not reach the Face API: check its FACE_ENDPOINT, DNS, the private endpoint and "
    "every firewall between the two."
)
_TOO_FAST = (
    "The Face API's rate limit is used up, mostly by other callers. Messages only wait longer; 'Rate "
    "and capacity' in docs/operations.md says how to raise the limit."
)
_NO_SUCH_NAME = re.compile("(?i)name resolution|name or service|no address")
_NAME = (
    "The host name in the function's FACE_ENDPOINT does not resolve: check whether the Face "
    "resource still exists, and the private DNS zone of its private endpoint."
)
_BEGINNINGS = (
    (
        "TokenUnavailable",
        "The function gets no token: check the app's managed identity (the app's "
        "Identity page) and AZURE_CLIENT_ID.",
    ),
    ("Timeout", _NO_ANSWER),
    ("ConnectionFailed", _NO_ANSWER),
    ("the rate limit", _TOO_FAST),
    ("HTTP 429", _TOO_FAST),
    (
        "HTTP 4",
        "The Face API refuses these requests with a code that is on no list: 'unknown-code' under "
        "Alerts in docs/operations.md says what to do.",
    ),
)


def cause_of(last_error: str) -> tuple[str, str]:
    """Return why a message waits, in a few words, and what to do about it.

    Args:
        last_error: as the function recorded it in the retry copy.
    """
    error = _NO_CALL.sub("", last_error)
    if error.startswith("ConnectionFailed") and _NO_SUCH_NAME.search(error):
        return error.partition(":")[0], _NAME
    remedy = for_error(error) or next(
        (remedy for beginning, remedy in _BEGINNINGS if error.startswith(beginning)),
        "The Face API fails: wait, and see Azure's status page. Nothing is lost; retries go on for "
        "48 hours.",
    )
    return error.partition(":")[0], remedy


def plain(markdown: str) -> str:
    """Return a text of the table without its marks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
