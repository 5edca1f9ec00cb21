"""Publish session-revoked messages for session ids, as docs/contract.md asks of every publisher."""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from azure.servicebus import ServiceBusMessage

from delete_session.contract import SessionRevoked, SessionType
from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure

MAX_MESSAGE_ID = 128  # characters, by Service Bus
BATCH = 100  # messages per request: few enough that the progress bar moves
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def read_ids(arguments: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Return the session ids of the command line and of a file, each once, in their order.

    Empty lines and lines that begin with # are skipped.

    Raises:
        Failure: there is no id, or some are invalid, so that nothing may be published.
    """
    candidates = [each.strip() for each in arguments]
    candidates += [line.strip() for line in lines if not line.lstrip().startswith("#")]
    ids = list(dict.fromkeys(each for each in candidates if each))
    wrong = [each for each in ids if not _is_session_id(each)]
    if wrong:
        shown = ", ".join(repr(each[:140]) for each in wrong[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise Failure(
            f"Not valid as session ids: {shown}{more}.",
            "A session id consists of 1 to 128 letters, digits, '-' and '_'. Nothing was done.",
            Exit.USAGE,
        )
    if not ids:
        raise Failure(
            "No session id was given.", "Give some as arguments, or use --file.", Exit.USAGE
        )
    return ids


def _is_session_id(text: str) -> bool:
    try:
        msgspec.convert({"sessionId": text}, SessionRevoked)
    except msgspec.ValidationError:
        return False
    return True


def message_id(session_id: str, session_type: SessionType) -> str:
    """Return the message id, which is always the same for the same session.

    Duplicate detection then makes publishing twice harmless.
    """
    identifier = session_id
    if session_type != "livenessWithVerify":
        identifier += f":{session_type}"
    if len(identifier) > MAX_MESSAGE_ID:
        return hashlib.sha256(identifier.encode()).hexdigest()
    return identifier


def message(
    session_id: str, session_type: SessionType, reason: str | None, traceparent: str
) -> ServiceBusMessage:
    """Make the message that revokes a session."""
    body = {"sessionId": session_id, "sessionType": session_type}
    if reason:
        body["reason"] = reason
    return ServiceBusMessage(
        msgspec.json.encode(body),
        message_id=message_id(session_id, session_type),
        content_type="application/json",
        subject="session-revoked",
        # Azure Monitor reads both names; the first is the older one.
        application_properties={"Diagnostic-Id": traceparent, "traceparent": traceparent},
    )


def new_traceparent(environment: Mapping[str, str] = os.environ) -> str:
    """Make a W3C trace context, within the caller's trace if TRACEPARENT names one."""
    caller = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
    trace = caller[1] if caller else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


class Interrupted(Exception):
    """Publishing ended early, after the broker had confirmed the first `confirmed` messages."""

    def __init__(self, confirmed: int, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.confirmed = confirmed
        self.failure = failure


async def publish(
    address: QueueAddress,
    ids: Sequence[str],
    session_type: SessionType,
    reason: str | None,
    progress: Callable[[int], None],
) -> None:
    """Publish in batches; the broker confirms each batch before the next is sent.

    Args:
        address: the queue's address.
        ids: valid session ids.
        session_type: the type of all these sessions.
        reason: the reason, for people; None for no reason.
        progress: called with the number of messages confirmed so far.

    Raises:
        Interrupted: the broker did not accept a batch.
    """
    confirmed = 0
    try:
        async with address.sender() as sender:
            for start in range(0, len(ids), BATCH):
                some = ids[start : start + BATCH]
                await sender.send_messages(
                    [message(each, session_type, reason, new_traceparent()) for each in some]
                )
                confirmed += len(some)
                progress(confirmed)
    except Failure as failed:
        raise Interrupted(confirmed, failed) from failed
