"""Publish session-revoked messages for session ids, as docs/contract.md asks of every publisher."""

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import msgspec
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender

from delete_session.contract import MAX_BODY_BYTES, SessionType
from revoker.carriers import Carrier, carriers
from revoker.connection import QueueAddress, answered
from revoker.failure import Exit, Failure, first_line
from revoker.record import Record, check_run

BATCH = 100  # messages per request: few enough that the progress bar moves
_LOOK_SECONDS = 5.0
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def new_run() -> UUID:
    """Return the id of a run: each decision to publish is a new publication."""
    return uuid4()


def read_run(text: str, record: Path) -> UUID:
    """Read the id of the run that is to be resumed.

    Raises:
        Failure: it is not one, or the record does not name it.
    """
    try:
        run = UUID(text)
    except ValueError:
        raise Failure(
            f"{text!r} is not the id of a run.",
            "Use the id that the interrupted run printed. Nothing was done.",
            Exit.USAGE,
        ) from None
    check_run(record, str(run))
    return run


def message_id(run: UUID, session_id: str, session_type: SessionType | None) -> str:
    """Return the message id: another one in each run, and the same when a run is resumed.

    It names the publication and not the session. Duplicate detection remembers it for its whole
    window, and drops whatever comes under the same id, even a corrected or deliberate message.
    """
    return str(uuid5(run, f"{session_type or ''}/{session_id}"))


def message(
    session_id: str,
    session_type: SessionType | None,
    reason: str | None,
    run: UUID,
    traceparent: str,
) -> ServiceBusMessage:
    """Make the message that revokes a session."""
    return ServiceBusMessage(
        _body(session_id, session_type, reason),
        message_id=message_id(run, session_id, session_type),
        content_type="application/json",
        subject="session-revoked",
        application_properties={
            "publisher": f"revoker publish {run}",
            # Azure Monitor reads both names; the first is the older one.
            "Diagnostic-Id": traceparent,
            "traceparent": traceparent,
        },
    )


def _body(session_id: str, session_type: SessionType | None, reason: str | None) -> bytes:
    body = {"sessionId": session_id}
    if session_type is not None:
        body["sessionType"] = session_type
    return msgspec.json.encode(body | {"reason": reason} if reason else body)


def new_traceparent(environment: Mapping[str, str] = os.environ) -> str:
    """Make a W3C trace context, within the caller's trace if TRACEPARENT names one."""
    caller = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
    trace = caller[1] if caller else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def check_reason(reason: str | None) -> None:
    """Check what the contract says about a reason.

    Raises:
        Failure: the function would not accept a message with it.
    """
    try:
        body = _body("x" * 128, "livenessWithVerify", reason)
    except UnicodeEncodeError:
        problem = "it is not text in UTF-8"
    else:
        if len(body) <= MAX_BODY_BYTES:
            return
        problem = f"with it, the message has {len(body)} bytes, and {MAX_BODY_BYTES} are allowed"
    raise Failure(
        f"The reason cannot be sent: {problem}.", "Correct --reason. Nothing was done.", Exit.USAGE
    )


async def publish(
    address: QueueAddress,
    sessions: Mapping[str, SessionType | None],
    reason: str | None,
    run: UUID,
    record: Record,
    progress: Callable[[int], None],
) -> None:
    """Publish in batches; the broker confirms each batch before the next is sent.

    Args:
        address: the queue's address.
        sessions: valid session ids, and the type of each.
        reason: the reason, for people; None for no reason.
        run: the id of this run, or of the one that it resumes.
        record: gets a line before and after each message.
        progress: called with the number of messages confirmed so far.

    Raises:
        Failure: the broker did not accept a batch.
    """
    ids = list(sessions)
    sender: ServiceBusSender | None = None
    async with AsyncExitStack() as stack:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            facts = [_facts(address, each, sessions[each], run) for each in some]
            record.write_all("publishing", facts)
            try:
                # After the first lines: a run that cannot connect can be resumed.
                if sender is None:
                    sender = await stack.enter_async_context(address.sender())
                await answered(
                    sender.send_messages(
                        [
                            message(each, sessions[each], reason, run, new_traceparent())
                            for each in some
                        ]
                    )
                )
            except Exception as error:
                record.write_all("unconfirmed", facts, why=first_line(error))
                raise
            record.write_all("published", facts)
            progress(start + len(some))


def _facts(
    address: QueueAddress, session_id: str, session_type: SessionType | None, run: UUID
) -> dict[str, object]:
    return {
        "queue": f"{address.queue} in {address.where}",
        "message_id": message_id(run, session_id, session_type),
        "session_id": session_id,
        "session_type": session_type,
    }


async def look_for_others(
    address: QueueAddress, sessions: Mapping[str, SessionType | None], run: UUID
) -> Mapping[str, Sequence[Carrier]] | None:
    """Return what else carries these sessions; None where this login may not look."""
    own = [message_id(run, each, kind) for each, kind in sessions.items()]
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            return await carriers(address, sessions.keys(), except_ids=own)
    return None
