"""The outcome event that a publisher receives: one CloudEvents 1.0 message for each revocation.

`Data` is the contract; revoker/schema.py describes its members.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from azure.servicebus import ServiceBusMessage

from .contract import SessionType
from .decision import DeadLetter, Done
from .message import History, Revocation, published_id, trace_context
from .queue import MAX_TEXT, ServiceBusQueue

COMPLETED = "liveness-session-revoker.session-revocation.completed"
FAILED = "liveness-session-revoker.session-revocation.failed"
CONTENT_TYPE = "application/cloudevents+json"

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Data(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The outcome of one revocation. Times are the broker's; what is unknown is left out."""

    session_id: str | None = None
    session_type: SessionType | None = None
    asked_types: tuple[SessionType, ...] = ()
    outcome: Literal["deleted", "already_gone", "dead_lettered"]
    reason: str | None = None
    code: str | None = None
    description: str | None = None
    attempts: Annotated[int, msgspec.Meta(ge=0)]
    published_at: _Time
    first_attempt_at: _Time | None = None
    last_attempt_at: _Time | None = None
    face_request_id: str | None = None
    root_message_id: str
    publisher: str | None = None

    @property
    def event_type(self) -> str:
        """The type of the CloudEvent."""
        return FAILED if self.outcome == "dead_lettered" else COMPLETED


def make_receipt(
    data: Data,
    *,
    history: History,
    correlation_id: str | None,
    trace: Mapping[str, object],
    queue: str,
    time: datetime,
) -> ServiceBusMessage:
    """Make the receipt for a revocation that ended at `time`. Repeating it gives the same message id.

    `trace` are properties that may hold the publisher's trace context.
    """
    message_id = history.derived_id(data.event_type.rpartition(".")[2])
    context = trace_context(trace)
    event = {
        "specversion": "1.0",
        "id": message_id,
        "source": f"/liveness-session-revoker/{queue}",
        "type": data.event_type,
        "subject": data.session_id or data.root_message_id,
        "time": time,
        "datacontenttype": "application/json",
        **context,
        "data": data,
    }
    return ServiceBusMessage(
        msgspec.json.encode(event),
        message_id=message_id,
        content_type=CONTENT_TYPE,
        correlation_id=correlation_id or data.root_message_id,
        subject=data.event_type,
        application_properties=dict(context),  # type: ignore[arg-type]  # invariant
    )


class NoReceipts:
    """Used where OUTCOME_QUEUE is empty."""

    async def send(self, revocation: Revocation, decision: Done | DeadLetter, until: float) -> None:
        """Do nothing."""


class Receipts:
    """Sends receipts over a separate connection, so that a fault of one does not disturb the other."""

    def __init__(self, queue: str, outcomes: ServiceBusQueue) -> None:
        self._queue = queue
        self._outcomes = outcomes

    async def send(self, revocation: Revocation, decision: Done | DeadLetter, until: float) -> None:
        """Send the receipt for a decision; arguments and errors as in `ServiceBusQueue.send`."""
        delivery, verdict = revocation.delivery, revocation.verdict
        dead_letter = decision if isinstance(decision, DeadLetter) else None
        data = Data(
            session_id=revocation.session_id,
            session_type=revocation.session_type,
            asked_types=tuple(revocation.asked),
            outcome=decision.outcome if isinstance(decision, Done) else "dead_lettered",
            reason=dead_letter.reason if dead_letter else None,
            code=verdict.code if dead_letter and verdict else None,
            description=dead_letter.description[:MAX_TEXT] if dead_letter else None,
            attempts=revocation.attempts,
            published_at=delivery.history.first_enqueued_at,
            first_attempt_at=revocation.first_attempt_at,
            last_attempt_at=revocation.last_attempt_at,
            face_request_id=verdict.request_id if verdict else None,
            root_message_id=published_id(delivery.history.root_id, delivery.properties),
            publisher=delivery.publisher,
        )
        receipt = make_receipt(
            data,
            history=delivery.history,
            correlation_id=delivery.correlation_id,
            trace=delivery.properties,
            queue=self._queue,
            time=revocation.now,
        )
        await self._outcomes.send(receipt, until)
