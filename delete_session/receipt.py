"""What a publisher is told in the end: one CloudEvents 1.0 message for each revocation.

This module is loaded only where OUTCOME_QUEUE is set. `Data` is the contract; docs/contract.md is its
publisher's side.
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

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
_MAX_TEXT = 4096  # characters, as in the dead-letter queue
_logger = logging.getLogger(__name__)
_RESUBMITTED = re.compile(r"(:resubmit:\d+)+\Z")

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Data(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What became of one revocation. Times are of the broker's clock; what is not known is left out."""

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
            description="Of a completed revocation, deleted or already_gone: there was no such "
            "session. Of a failed one, dead_lettered: the session may live until it expires."
        ),
    ]
    reason: Annotated[
        str | None,
        msgspec.Meta(description="Why it was given up: the reason in the dead-letter queue."),
    ] = None
    code: Annotated[
        str | None,
        msgspec.Meta(
            description="FaceError code of the last answer, when the revocation was given up; "
            "HTTP and the status where the answer had no code."
        ),
    ] = None
    description: Annotated[str | None, msgspec.Meta(description="What was wrong, for people.")] = (
        None
    )
    attempts: Annotated[int, msgspec.Meta(ge=0, description="Calls of the Face API.")]
    published_at: Annotated[
        _Time, msgspec.Meta(description="When the broker took the publisher's message.")
    ]
    first_attempt_at: Annotated[
        _Time | None, msgspec.Meta(description="When the first call was begun.")
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
    """A message to a publisher, ready to be sent, and to be sent again as it is."""

    body: bytes
    message_id: str
    kind: str
    correlation_id: str
    properties: Mapping[str, str]

    @classmethod
    def of(
        cls,
        data: Data,
        *,
        history: History,
        correlation_id: str | None,
        trace: Mapping[str, object],
        queue: str,
        time: datetime,
    ) -> Self:
        """Make the receipt for one end of a revocation; its message id follows from these alone.

        Args:
            data: what became of it.
            history: of the message that ended.
            correlation_id: the publisher's; without one, the publisher's message id stands for it.
            trace: properties among which the publisher's trace context may be.
            queue: of the revocations.
            time: of the end.
        """
        message_id = _clean(history.derived_id(data.kind.rpartition(".")[2]))
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
        return cls(
            body=_encoded(event),
            message_id=message_id,
            kind=data.kind,
            correlation_id=_clean(correlation_id or data.root_message_id),
            properties=context,
        )

    @classmethod
    def at_the_end_of(cls, revocation: Revocation, decision: Done | DeadLetter, queue: str) -> Self:
        """Make the receipt for what was decided about a revocation."""
        delivery, revoked, answer = revocation.delivery, revocation.revoked, revocation.answer
        given_up = decision if isinstance(decision, DeadLetter) else None
        data = Data(
            session_id=revocation.session_id,
            session_type=revoked.session_type if revoked else None,
            outcome=decision.outcome if isinstance(decision, Done) else "dead_lettered",
            reason=given_up.reason if given_up else None,
            code=answer.code if given_up and answer else None,
            description=given_up.description[:_MAX_TEXT] if given_up else None,
            attempts=revocation.attempts,
            published_at=delivery.history.first_enqueued_at,
            first_attempt_at=revocation.first_attempt_at,
            last_attempt_at=revocation.last_attempt_at,
            face_request_id=answer.request_id if answer else None,
            root_message_id=published_id(delivery.history),
        )
        return cls.of(
            data,
            history=delivery.history,
            correlation_id=delivery.correlation_id,
            trace={**revocation.trace, **delivery.properties},
            queue=queue,
            time=revocation.now,
        )

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


class Receipts:
    """Sends receipts.

    Args:
        queue: of the revocations.
        outcomes: a connection to the queue or topic of the receipts, apart from that of the
            revocations: what is wrong with one must not disturb the other.
    """

    def __init__(self, queue: str, outcomes: "ServiceBusQueue") -> None:
        self._queue = queue
        self._outcomes = outcomes
        self._opening: asyncio.Task[None] | None = None

    def open_soon(self) -> None:
        """Begin to open the connection, in the background, unless that was begun before.

        It takes azure.servicebus half a second, nearly all of it pauses. If the first receipts waited
        for it, a process that another message kills before that would never bring one to its end.
        Without a running event loop, or if it fails, the first receipt opens it.
        """
        if self._opening is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return
            self._opening = loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._outcomes.open_sender()
        except Exception as error:
            # The receipts themselves will tell, should it last.
            _logger.info("Service Bus not opened for receipts: %s", type(error).__name__)

    def receipt(self, revocation: Revocation, decision: Done | DeadLetter) -> Receipt:
        """Return the receipt for what was decided."""
        return Receipt.at_the_end_of(revocation, decision, self._queue)

    async def send(self, receipt: Receipt) -> None:
        """Send it; the broker drops it if it was sent before. Raises as it does."""
        await self._outcomes.send(receipt.message)


def published_id(history: History) -> str:
    """Return the message id under which it was published, be it that a dead letter was resubmitted."""
    return _RESUBMITTED.sub("", history.root_id)


def _trace_context(properties: Mapping[str, object]) -> dict[str, str]:
    """Return the W3C trace context, under whichever name the publisher's SDK has put it."""
    found = {name: properties.get(name) for name in ("traceparent", "tracestate")}
    found["traceparent"] = found["traceparent"] or properties.get("Diagnostic-Id")
    parent = found["traceparent"]
    if not isinstance(parent, str) or not _TRACEPARENT.fullmatch(parent):
        return {}
    return {
        name: _clean(value) for name, value in found.items() if value and isinstance(value, str)
    }


def _clean(text: str) -> str:
    """Return text that AMQP can carry: a publisher's own may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _encoded(event: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(event)).encode()
