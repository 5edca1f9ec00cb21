"""One delivered message: what the host hands over, and what is done for it until it is settled."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import azure.functions as func
import msgspec

from .contract import SessionRevoked
from .decision import FaceAnswer, describe

# Application properties that a retry copy carries besides the publisher's own.
ROOT_ID = "revoker-root-id"
FIRST_ENQUEUED = "revoker-first-enqueued"
ATTEMPT = "revoker-attempt"
COPY = "revoker-copy"
LAST_ERROR = "revoker-last-error"

_MAX_MESSAGE_ID = 128  # characters, by Service Bus
_MAX_ERROR = 500  # characters: all properties together may have 64 KiB
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)  # .NET's "no expiry" is the last instant of the year 9999


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery of a message. Times are aware, in UTC."""

    body: bytes
    message_id: str
    lock_token: str
    delivery_count: int
    """From 1. It counts crashes and lost locks; failed attempts do not add to it."""
    content_type: str | None
    correlation_id: str | None
    subject: str | None
    properties: Mapping[str, object]
    received_at: datetime
    enqueued_at: datetime
    expires_at: datetime | None
    root_id: str
    """Message id of what the publisher sent, of which this is the message or a retry copy."""
    first_enqueued_at: datetime
    attempts: int
    """Calls made for this revocation before this delivery."""
    copies: int
    """Retry copies made before this delivery; 0 for what the publisher sent."""

    @classmethod
    def from_trigger(cls, message: func.ServiceBusMessage, now: datetime) -> Self:
        """Read what the host hands over at the time `now`."""
        properties = message.application_properties or message.user_properties or {}
        enqueued_at = _utc(message.enqueued_time_utc) or now
        message_id = message.message_id or f"sequence-{message.sequence_number}"
        history = _History.of(properties, message_id) or _History(message_id, enqueued_at, 0, 0)
        expires_at = _utc(message.expires_at_utc)
        return cls(
            body=message.get_body(),
            message_id=message_id,
            lock_token=message.lock_token or "",
            delivery_count=message.delivery_count or 1,
            content_type=message.content_type,
            correlation_id=message.correlation_id,
            subject=message.subject,
            properties=properties,
            # A clock behind the broker's must not schedule retries in the broker's past.
            received_at=max(now, enqueued_at),
            enqueued_at=enqueued_at,
            expires_at=expires_at if expires_at and expires_at < _NEVER else None,
            root_id=history.root_id,
            first_enqueued_at=min(enqueued_at, history.first_enqueued_at),
            attempts=history.attempts,
            copies=history.copies,
        )

    def effort_seconds(self, horizon: timedelta) -> float:
        """Seconds from this message's enqueue until the effort for it ends.

        It ends at the horizon after the first enqueue, or just before the message expires: what
        expires in the queue is dead-lettered by the broker, which knows nothing of the cause. All
        times are of the broker's clock; the function's own may be wrong.
        """
        end = self.first_enqueued_at + horizon
        if self.expires_at is not None:
            margin = min(timedelta(minutes=1), (self.expires_at - self.first_enqueued_at) / 10)
            end = min(end, self.expires_at - margin)
        return (end - self.enqueued_at).total_seconds()

    def copy_id(self) -> str:
        """Message id of the retry copy that follows this delivery.

        The same for every delivery of this message, so that duplicate detection makes a repeated
        scheduling harmless; another one for another message that the publisher gave the same id.
        """
        return _copy_id(self.root_id, self.first_enqueued_at, self.copies + 1)


@dataclass(frozen=True, slots=True)
class _History:
    """What a retry copy tells of the attempts before it."""

    root_id: str
    first_enqueued_at: datetime
    attempts: int
    copies: int

    @classmethod
    def of(cls, properties: Mapping[str, object], message_id: str) -> Self | None:
        """Read it; None where there is none, or where it is not this message's.

        It is the message's own if the message id follows from it. A dead letter that somebody sends
        again with all its properties, under an id of its own, begins anew.
        """
        root_id, first = properties.get(ROOT_ID), _time(properties.get(FIRST_ENQUEUED))
        copies = _count(properties.get(COPY))
        if not isinstance(root_id, str) or first is None or not copies:
            return None
        if message_id != _copy_id(root_id, first, copies):
            return None
        return cls(root_id, first, _count(properties.get(ATTEMPT)), copies)


def _copy_id(root_id: str, first_enqueued_at: datetime, number: int) -> str:
    suffix = f":{int(first_enqueued_at.timestamp() * 1000)}:{number}"
    if len(root_id) + len(suffix) > _MAX_MESSAGE_ID:
        root_id = hashlib.sha256(root_id.encode("utf-8", "replace")).hexdigest()
    return root_id + suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCopy:
    """What is put into the queue again, to be enqueued at a later time."""

    body: bytes
    message_id: str
    content_type: str | None
    correlation_id: str | None
    subject: str | None
    properties: Mapping[str, object]
    enqueue_at: datetime
    expires_at: datetime | None


class Work:
    """What is done for one delivery.

    Args:
        delivery: the message.
        horizon_hours: how long to try, from the first enqueue.
        monotonic: a clock that never steps, in seconds.
    """

    def __init__(
        self, delivery: Delivery, horizon_hours: float, monotonic: Callable[[], float]
    ) -> None:
        self.delivery = delivery
        self.revoked: SessionRevoked | None = None
        self.answer: FaceAnswer | None = None
        self.attempts = delivery.attempts
        self.seconds_in_call = 0.0
        self.trace: dict[str, str] = {}
        """Trace context for the retry copy, where the publisher has given none."""
        self._monotonic = monotonic
        self._started = monotonic()
        self._effort_seconds = delivery.effort_seconds(timedelta(hours=horizon_hours))

    def called(self, answer: FaceAnswer, seconds: float) -> None:
        """Take note of a call."""
        self.answer = answer
        self.attempts += 1
        self.seconds_in_call += seconds

    @property
    def seconds_held(self) -> float:
        """Since the host handed the message over."""
        return self._monotonic() - self._started

    @property
    def now(self) -> datetime:
        """The time, by the clock as it was when the message came."""
        return self.delivery.received_at + timedelta(seconds=self.seconds_held)

    @property
    def seconds_left(self) -> float:
        """Until the effort ends; the time that the message waited in the queue does not count."""
        return self._effort_seconds - self.seconds_held

    @property
    def last_error(self) -> str:
        """What stood in the way last, now or at an earlier delivery; empty if nothing did."""
        if self.answer is not None:
            return describe(self.answer)
        earlier = self.delivery.properties.get(LAST_ERROR)
        return earlier if isinstance(earlier, str) else ""

    def copy(self, delay_seconds: float, error: str, *, bare: bool = False) -> RetryCopy:
        """The copy that carries on with this revocation after a delay.

        Args:
            delay_seconds: until it is enqueued; it is never enqueued after the end of the effort, so
                that there is a last attempt before the message expires.
            error: what stood in the way.
            bare: without the publisher's application properties.
        """
        delivery = self.delivery
        end = delivery.enqueued_at + timedelta(seconds=max(0.0, self._effort_seconds))
        return RetryCopy(
            body=delivery.body,
            message_id=delivery.copy_id(),
            content_type=delivery.content_type,
            correlation_id=delivery.correlation_id,
            subject=delivery.subject,
            properties={
                **self.trace,
                **({} if bare else delivery.properties),
                ROOT_ID: delivery.root_id,
                FIRST_ENQUEUED: delivery.first_enqueued_at.isoformat(),
                ATTEMPT: self.attempts,
                COPY: delivery.copies + 1,
                LAST_ERROR: error[:_MAX_ERROR],
            },
            enqueue_at=min(self.now + timedelta(seconds=delay_seconds), end),
            expires_at=delivery.expires_at,
        )


def _utc(time: datetime | None) -> datetime | None:
    # The host's binding reads some formats of UTC times as naive ones.
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _time(value: object) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1_000_000 else 0
