"""Publish session-revoked messages for session ids, as docs/contract.md asks of every publisher."""

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID, uuid4, uuid5

import msgspec
from azure.servicebus import ServiceBusMessage

from delete_session.contract import SessionRevoked, SessionType
from revoker.carriers import Carrier, carriers
from revoker.connection import QueueAddress
from revoker.failure import Exit, Failure

BATCH = 100  # messages per request: few enough that the progress bar moves
_LOOK_SECONDS = 5.0
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


def new_run() -> UUID:
    """Return the id of a run: each decision to publish is a publication of its own."""
    return uuid4()


def read_run(text: str) -> UUID:
    """Read the id of the run that is to be resumed.

    Raises:
        Failure: it is not one.
    """
    try:
        return UUID(text)
    except ValueError:
        raise Failure(
            f"{text!r} is not the id of a run.",
            "Use the id that the interrupted run printed. Nothing was done.",
            Exit.USAGE,
        ) from None


def message_id(run: UUID, session_id: str, session_type: SessionType) -> str:
    """Return the message id: another one in each run, and the same when a run is resumed.

    It names the publication and not the session. Duplicate detection remembers it for its whole
    window, and drops whatever comes under the same id, be it corrected or wanted again.
    """
    return str(uuid5(run, f"{session_type}/{session_id}"))


def message(
    session_id: str, session_type: SessionType, reason: str | None, run: UUID, traceparent: str
) -> ServiceBusMessage:
    """Make the message that revokes a session."""
    body = {"sessionId": session_id, "sessionType": session_type}
    if reason:
        body["reason"] = reason
    return ServiceBusMessage(
        msgspec.json.encode(body),
        message_id=message_id(run, session_id, session_type),
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
    run: UUID,
    progress: Callable[[int], None],
) -> None:
    """Publish in batches; the broker confirms each batch before the next is sent.

    Args:
        address: the queue's address.
        ids: valid session ids.
        session_type: the type of all these sessions.
        reason: the reason, for people; None for no reason.
        run: the id of this run, or of the one that it resumes.
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
                    [message(each, session_type, reason, run, new_traceparent()) for each in some]
                )
                confirmed += len(some)
                progress(confirmed)
    except Failure as failed:
        raise Interrupted(confirmed, failed) from failed


async def look_for_others(
    address: QueueAddress, ids: Sequence[str], session_type: SessionType, run: UUID
) -> Mapping[str, Sequence[Carrier]] | None:
    """Return what else carries these sessions; None where this login may not look."""
    own = [message_id(run, each, session_type) for each in ids]
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            return await carriers(address, ids, except_ids=own)
    return None
