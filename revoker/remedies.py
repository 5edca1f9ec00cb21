"""What to do about each dead-letter reason, and about what a message met last.

The table of docs/operations.md has the same rows; a test keeps the two equal. What is to be done about
a fault of the deployment, the function itself says (`delete_session.verdict.remedy`).
"""

import re
from dataclasses import dataclass

from delete_session.settings import TABLE
from delete_session.verdict import Answer, remedy


@dataclass(frozen=True, slots=True)
class Reason:
    """Why messages are dead-lettered: the reason's names, the cause, and what to do.

    The texts are Markdown, with `code` and links as docs/operations.md has them.
    """

    names: tuple[str, ...]
    cause: str
    remedy: str
    others: str = ""
    """What else is treated alike, in the words of the page."""


_FINAL = (TABLE["face_codes_not_retryable"].default or "").split(",")

REASONS = (
    Reason(
        ("MalformedMessage",),
        "the publisher sent something else; the description names the member",
        "have the publisher correct it and send it again under a new message id; then `discard "
        "--reason MalformedMessage`. Resubmitting only brings it back",
    ),
    Reason(
        ("RetriesExhausted",),
        "it was tried for 48 hours, or for nearly the message's whole time to live; the description "
        "has the last error",
        "correct what the last error says ([deployment fault](#deployment-fault)); after 48 hours "
        "the sessions have expired, so that you resubmit only for the record",
    ),
    Reason(
        ("UnsupportedFeature",),
        "the Face resource is not approved for liveness",
        "apply for limited access, or correct `FACE_ENDPOINT`; resubmit",
    ),
    Reason(
        ("BadArgument", "InvalidRequestBody"),
        "the Face API will never accept this request; the description has its message and the "
        "request id",
        "compare `sessionType` and `FACE_API_VERSION` with the session; resubmit after a correction, "
        "otherwise discard; Microsoft's support will ask for the request id",
        others="or another code on the list [`FACE_CODES_NOT_RETRYABLE`](settings.md)",
    ),
    Reason(
        ("MaxDeliveryCountExceeded",),
        "twenty deliveries ended in a crash, a lost lock or a restart without an answer; or, if it "
        "took only seconds, the publisher sent an AMQP value (a JMS `TextMessage`), which the "
        "Functions host cannot read",
        "look at `AppExceptions` and the memory of the instances (`instanceMemoryMB`); resubmit one "
        "with `--session` and watch it, then the rest. `resubmit` turns an AMQP value of text into "
        "the bytes it should have been; have the publisher send bytes",
    ),
    Reason(
        ("TTLExpiredException",),
        "it waited in the queue for its whole time to live: the function was stopped, or too slow",
        "start the function, or raise the [capacity](#rate-and-capacity); then resubmit; sessions "
        "older than 48 hours have expired",
    ),
    Reason(
        (),
        "somebody dead-lettered it by hand",
        "read the description, and ask whoever did it",
        others="any other",
    ),
)

_ANY_OTHER = REASONS[-1]
_OTHER_FINAL_CODE = next(each for each in REASONS if "BadArgument" in each.names)

# As delete_session.verdict.describe writes it, also where it stands within a longer text.
_SAID = re.compile(r"HTTP (?P<status>\d{3})(?: (?P<code>[\w.]+))?(?:: (?P<message>.*))?", re.DOTALL)


def for_reason(name: str) -> Reason:
    """Return what is known about a dead-letter reason."""
    for each in REASONS:
        if name in each.names:
            return each
    return _OTHER_FINAL_CODE if name in _FINAL else _ANY_OTHER


def is_known(name: str) -> bool:
    """Return whether the broker or the function gives this dead-letter reason."""
    return name in _FINAL or any(name in each.names for each in REASONS)


def for_error(text: str | None) -> str | None:
    """Return the function's own remedy for an error that it has written down; None without one.

    Args:
        text: the last error of a retry copy, or the description of a dead letter.
    """
    said = _SAID.search(text or "")
    if said is None:
        return None
    status = int(said["status"])
    code = said["code"] or f"HTTP {status}"
    return remedy(
        Answer(status=status, code=code, message=said["message"] or "", rejected=code in _FINAL)
    )


def plain(markdown: str) -> str:
    """Return a text of the table without its marks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
