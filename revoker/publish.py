"""`revoker publish`: session ids → session-revoked messages, as docs/contract.md wants them."""

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
_BATCH = 100  # messages a request: small enough that the progress bar moves
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def read_ids(arguments: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Session ids from the command line and from a file, each once, in the order given.

    Empty lines and lines that begin with # are passed over.

    Raises:
        Failure: an id cannot be one; it names all of them, and nothing is to be published.
    """
    candidates = [each.strip() for each in arguments]
    candidates += [line.strip() for line in lines if not line.lstrip().startswith("#")]
    ids = list(dict.fromkeys(each for each in candidates if each))
    wrong = [each for each in ids if not _is_session_id(each)]
    if wrong:
        shown = ", ".join(repr(each[:140]) for each in wrong[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise Failure(
            f"No session ids: {shown}{more}.",
            "A session id has 1 to 128 letters, digits, '-' and '_'. Nothing was published.",
            Exit.USAGE,
        )
    if not ids:
        raise Failure("No session id was given.", "Name some, or use --file.", Exit.USAGE)
    return ids


def _is_session_id(text: str) -> bool:
    try:
        msgspec.convert({"sessionId": text}, SessionRevoked)
    except msgspec.ValidationError:
        return False
    return True


def message_id(session_id: str, session_type: SessionType) -> str:
    """The same for the same session, so that duplicate detection makes publishing twice harmless."""
    identifier = session_id
    if session_type != "livenessWithVerify":
        identifier += f":{session_type}"
    if len(identifier) > MAX_MESSAGE_ID:
        return hashlib.sha256(identifier.encode()).hexdigest()
    return identifier


def message(
    session_id: str, session_type: SessionType, reason: str | None, traceparent: str
) -> ServiceBusMessage:
    """The message that revokes a session."""
    body = {"sessionId": session_id, "sessionType": session_type}
    if reason:
        body["reason"] = reason
    return ServiceBusMessage(
        msgspec.json.encode(body),
        message_id=message_id(session_id, session_type),
        content_type="application/json",
        subject="session-revoked",
        # Both names are read by Azure Monitor; the first is the older one.
        application_properties={"Diagnostic-Id": traceparent, "traceparent": traceparent},
    )


def new_traceparent(environment: Mapping[str, str] = os.environ) -> str:
    """A W3C trace context of its own, within the caller's trace where TRACEPARENT names one."""
    caller = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
    trace = caller[1] if caller else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


class Interrupted(Exception):
    """Publishing ended early: so many were confirmed by the broker before."""

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
    """Publish in batches; each batch is confirmed by the broker before the next.

    Args:
        address: of the queue.
        ids: valid session ids.
        session_type: of all of them.
        reason: for people; None: none.
        progress: told how many were confirmed so far.

    Raises:
        Interrupted: the broker did not take a batch.
    """
    confirmed = 0
    try:
        async with address.sender() as sender:
            for start in range(0, len(ids), _BATCH):
                some = ids[start : start + _BATCH]
                await sender.send_messages(
                    [message(each, session_type, reason, new_traceparent()) for each in some]
                )
                confirmed += len(some)
                progress(confirmed)
    except Failure as failed:
        raise Interrupted(confirmed, failed) from failed
