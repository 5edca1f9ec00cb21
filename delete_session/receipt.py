"""The outcome event that a publisher receives: one CloudEvents 1.0 message for each revocation.

`Data` is the contract; docs/contract.md explains it.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from .contract import SessionType
from .decision import DeadLetter, Done
from .message import History, Revocation

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage

    from .queue import ServiceBusQueue

COMPLETED = "liveness-session-revoker.session-revocation.completed"
FAILED = "liveness-session-revoker.session-revocation.failed"
CONTENT_TYPE = "application/cloudevents+json"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_RESUBMITTED = re.compile(r"(:resubmit:\d+)+\Z")
_MAX_TEXT = 4096  # characters, as in the dead-letter queue

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Data(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The outcome of one revocation. Times are the broker's; what is unknown is left out."""

    session_id: Annotated[
        str | None,
        msgspec.Meta(description="The session's id; left out if the message named none."),
    ] = None
    session_type: Annotated[
        SessionType | None, msgspec.Meta(description="Which kind of session it is.")
    ] = None
    outcome: Annotated[
        Literal["deleted", "already_gone", "dead_lettered"],
        msgspec.Meta(
            description="deleted or already_gone if the revocation completed (already_gone: there "
            "was no such session); dead_lettered if it failed: the session may live until it expires."
        ),
    ]
    reason: Annotated[
        str | None, msgspec.Meta(description="Dead-letter reason, if the revocation failed.")
    ] = None
    code: Annotated[
        str | None,
        msgspec.Meta(
            description="FaceError code of the last answer, if the revocation failed; "
            "HTTP and the status if the answer had no code."
        ),
    ] = None
    description: Annotated[str | None, msgspec.Meta(description="What went wrong, for people.")] = (
        None
    )
    attempts: Annotated[int, msgspec.Meta(ge=0, description="Calls of the Face API.")]
    published_at: Annotated[
        _Time, msgspec.Meta(description="When the broker accepted the publisher's message.")
    ]
    first_attempt_at: Annotated[
        _Time | None, msgspec.Meta(description="When the first call began.")
    ] = None
    last_attempt_at: Annotated[
        _Time | None, msgspec.Meta(description="When the last call was answered.")
    ] = None
    face_request_id: Annotated[
        str | None,
        msgspec.Meta(description="Request id of the last call, as the Face API gave it."),
    ] = None
    root_message_id: Annotated[
        str, msgspec.Meta(description="Message id under which the revocation was published.")
    ]

    @property
    def kind(self) -> str:
        """The type of the event."""
        return FAILED if self.outcome == "dead_lettered" else COMPLETED


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt, ready to send, and to send again unchanged."""

    body: bytes
    message_id: str
    kind: str
    correlation_id: str
    properties: Mapping[str, str]

    def message(self) -> "ServiceBusMessage":
        """Return it as the SDK sends it."""
        from azure.servicebus import ServiceBusMessage

        return ServiceBusMessage(
            self.body,
            message_id=self.message_id,
            content_type=CONTENT_TYPE,
            correlation_id=self.correlation_id,
            subject=self.kind,
            application_properties=dict(self.properties),  # type: ignore[arg-type]  # invariant
        )


def make_receipt(
    data: Data,
    *,
    history: History,
    correlation_id: str | None,
    trace: Mapping[str, object],
    queue: str,
    time: datetime,
) -> Receipt:
    """Make the receipt for the end of a revocation; its message id follows from the arguments alone.

    Args:
        data: the outcome.
        history: of the message that ended.
        correlation_id: the publisher's; None: the publisher's message id.
        trace: properties that may hold the publisher's trace context.
        queue: queue of the revocations.
        time: when the revocation ended.
    """
    message_id = _sendable(history.derived_id(data.kind.rpartition(".")[2]))
    context = _trace_context(trace)
    event = {
        "specversion": "1.0",
        "id": message_id,
        "source": f"/liveness-session-revoker/{queue}",
        "type": data.kind,
        "subject": data.session_id or data.root_message_id,
        "time": time,
        "datacontenttype": "application/json",
        **context,
        "data": data,
    }
    try:
        body = msgspec.json.encode(event)
    except UnicodeEncodeError:  # half of a surrogate pair in the publisher's message id
        body = json.dumps(msgspec.to_builtins(event)).encode()
    return Receipt(
        body=body,
        message_id=message_id,
        kind=data.kind,
        correlation_id=_sendable(correlation_id or data.root_message_id),
        properties=context,
    )


class NoReceipts:
    """Used where OUTCOME_QUEUE is empty."""

    async def send(self, revocation: Revocation, decision: Done | DeadLetter, until: float) -> None:
        """Do nothing."""


class Receipts(NoReceipts):
    """Sends receipts.

    Args:
        queue: queue of the revocations.
        outcomes: queue or topic of the receipts. Its connection is separate, so that a fault of one
            does not disturb the other.
    """

    def __init__(self, queue: str, outcomes: "ServiceBusQueue") -> None:
        self._queue = queue
        self._outcomes = outcomes

    async def send(self, revocation: Revocation, decision: Done | DeadLetter, until: float) -> None:
        """Send the receipt for a decision; arguments and errors as in `ServiceBusQueue.send`."""
        delivery, revoked, verdict = revocation.delivery, revocation.revoked, revocation.verdict
        failed = decision if isinstance(decision, DeadLetter) else None
        data = Data(
            session_id=revocation.session_id,
            session_type=revoked.session_type if revoked else None,
            outcome=decision.outcome if isinstance(decision, Done) else "dead_lettered",
            reason=failed.reason if failed else None,
            code=verdict.code if failed and verdict else None,
            description=failed.description[:_MAX_TEXT] if failed else None,
            attempts=revocation.attempts,
            published_at=delivery.history.first_enqueued_at,
            first_attempt_at=revocation.first_attempt_at,
            last_attempt_at=revocation.last_attempt_at,
            face_request_id=verdict.request_id if verdict else None,
            root_message_id=published_id(delivery.history),
        )
        receipt = make_receipt(
            data,
            history=delivery.history,
            correlation_id=delivery.correlation_id,
            trace={**revocation.trace, **delivery.properties},
            queue=self._queue,
            time=revocation.now,
        )
        await self._outcomes.send(receipt.message, until)


def published_id(history: History) -> str:
    """Return the message id under which it was published, even if it was resubmitted."""
    return _RESUBMITTED.sub("", history.root_id)


def _trace_context(properties: Mapping[str, object]) -> dict[str, str]:
    """Return the W3C trace context, under either name that the publisher's SDK uses."""
    parent = properties.get("traceparent") or properties.get("Diagnostic-Id")
    if not isinstance(parent, str) or not _TRACEPARENT.fullmatch(parent):
        return {}
    state = properties.get("tracestate")
    return {"traceparent": parent} | (
        {"tracestate": _sendable(state)} if state and isinstance(state, str) else {}
    )


def _sendable(text: str) -> str:
    """Return text that AMQP can carry: a publisher's id may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
