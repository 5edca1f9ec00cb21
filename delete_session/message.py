"""One delivered message: what the host hands over, and what is done for it until it is settled."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec.structs import replace

from .contract import SessionRevoked
from .verdict import Answer, describe

if TYPE_CHECKING:
    import azure.functions as func

ROOT_ID = "revoker-root-id"
FIRST_ENQUEUED = "revoker-first-enqueued"
ATTEMPT = "revoker-attempt"
COPY = "revoker-copy"
LAST_ERROR = "revoker-last-error"
FIRST_ATTEMPT = "revoker-first-attempt"
LAST_ATTEMPT = "revoker-last-attempt"

PROPERTIES = (ROOT_ID, FIRST_ENQUEUED, ATTEMPT, COPY, LAST_ERROR, FIRST_ATTEMPT, LAST_ATTEMPT)
"""The application properties that are ours."""

_MAX_MESSAGE_ID = 128  # characters, by Service Bus
_MAX_ERROR = 500  # characters: all properties together may have 64 KiB


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a revocation before this delivery."""

    root_id: str
    """Message id of what the publisher sent, of which this is the message or a retry copy."""
    first_enqueued_at: datetime
    """When the publisher's message was enqueued, in UTC, by the broker's clock."""
    attempts: int = 0
    """Calls made before."""
    copies: int = 0
    """Retry copies made before; 0 for what the publisher sent."""
    last_error: str = ""
    """What stood in the way last; empty if nothing did."""
    first_attempt_at: datetime | None = None
    """When the first call was begun; None if none was, or where an older version made the copy."""
    last_attempt_at: datetime | None = None
    """When the last call ended."""

    @classmethod
    def read(cls, properties: Mapping[str, object], message_id: str) -> Self | None:
        """Read it from a copy; return None where there is none, or where it is not this message's.

        It is the message's own if the message id follows from it. A dead letter that somebody sends
        again with all its properties, under an id of its own, begins anew.
        """
        root_id, first = properties.get(ROOT_ID), _read_time(properties.get(FIRST_ENQUEUED))
        copies, error = _count(properties.get(COPY)), properties.get(LAST_ERROR)
        if not isinstance(root_id, str) or first is None or not copies:
            return None
        history = cls(
            root_id=root_id,
            first_enqueued_at=first,
            attempts=_count(properties.get(ATTEMPT)),
            copies=copies,
            last_error=error if isinstance(error, str) else "",
            first_attempt_at=_read_time(properties.get(FIRST_ATTEMPT)),
            last_attempt_at=_read_time(properties.get(LAST_ATTEMPT)),
        )
        return history if message_id == history.copy_id else None

    def write(self) -> dict[str, str | int]:
        """Return the application properties that `read` understands."""
        times = {FIRST_ATTEMPT: self.first_attempt_at, LAST_ATTEMPT: self.last_attempt_at}
        return {
            ROOT_ID: self.root_id,
            FIRST_ENQUEUED: self.first_enqueued_at.isoformat(),
            ATTEMPT: self.attempts,
            COPY: self.copies,
            LAST_ERROR: self.last_error[:_MAX_ERROR],
            **{name: time.isoformat() for name, time in times.items() if time is not None},
        }

    def next(
        self,
        attempts: int,
        last_error: str,
        first_attempt_at: datetime | None = None,
        last_attempt_at: datetime | None = None,
    ) -> "History":
        """Return the history of the retry copy that follows."""
        return History(
            root_id=self.root_id,
            first_enqueued_at=self.first_enqueued_at,
            attempts=attempts,
            copies=self.copies + 1,
            last_error=last_error,
            first_attempt_at=first_attempt_at,
            last_attempt_at=last_attempt_at,
        )

    @property
    def copy_id(self) -> str:
        """Message id of the retry copy with this history.

        It is the same for every delivery of the message before, so that duplicate detection makes a
        repeated scheduling harmless, and another one for another message that the publisher gave
        the same id.
        """
        return self.derived_id(str(self.copies))

    def derived_id(self, what: str) -> str:
        """Return a message id that follows from the publisher's message and from `what` alone."""
        suffix = f":{int(self.first_enqueued_at.timestamp() * 1000)}:{what}"
        root_id = self.root_id
        if len(root_id) + len(suffix) > _MAX_MESSAGE_ID:
            root_id = hashlib.sha256(root_id.encode("utf-8", "replace")).hexdigest()
        return root_id + suffix


def _read_time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1_000_000 else 0


_NEVER = datetime(9000, 1, 1, tzinfo=UTC)  # .NET's "no expiry" is the last instant of the year 9999
_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)  # .NET's "no time" is the first instant of the year 1
# With a clock that far behind, an instance could not check any endpoint's certificate: what is wrong
# is the stamp.
_MOST_AHEAD = timedelta(days=1)
_MOST_DELIVERIES = 2**31 - 1


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
    history: History
    oddities: tuple[str, ...] = ()
    """What the host did not tell, or not so that it can be true."""

    @classmethod
    def from_trigger(cls, message: "func.ServiceBusMessage", now: datetime) -> Self:
        """Read what the host hands over at the time `now`; nothing odd about it raises."""
        oddities: list[str] = []
        given: object = message.application_properties
        if not given and message.user_properties is not None:
            given = message.user_properties
        properties = given if isinstance(given, dict) else {}
        if properties is not given:
            oddities.append("ApplicationProperties: missing or unreadable")
        enqueued_at, expires_at = _times(message, now, oddities)
        delivery_count = message.delivery_count
        if not isinstance(delivery_count, int) or not 1 <= delivery_count <= _MOST_DELIVERIES:
            oddities.append("DeliveryCount: missing, unreadable or impossible")
            delivery_count = 1
        if not message.lock_token:
            oddities.append("LockToken: missing or unreadable")
        message_id = message.message_id or _id_instead(message)
        history = History.read(properties, message_id)
        if history is None:
            history = History(root_id=message_id, first_enqueued_at=enqueued_at)
        elif enqueued_at < history.first_enqueued_at:
            history = replace(history, first_enqueued_at=enqueued_at)
        return cls(
            body=message.get_body(),
            message_id=message_id,
            lock_token=message.lock_token or "",
            delivery_count=delivery_count,
            content_type=message.content_type,
            correlation_id=message.correlation_id,
            subject=message.subject,
            properties=properties,
            # A clock behind the broker's must not schedule retries in the broker's past.
            received_at=max(now, enqueued_at),
            enqueued_at=enqueued_at,
            expires_at=expires_at,
            history=history,
            oddities=tuple(oddities),
        )

    def effort_seconds(self, horizon: timedelta) -> float:
        """Return the seconds from this message's enqueue until the effort for it ends.

        It ends at the horizon after the first enqueue, or just before the message expires: what
        expires in the queue is dead-lettered by the broker, which knows nothing of the cause. All
        times are of the broker's clock; the function's own may be wrong.
        """
        first = self.history.first_enqueued_at
        end = first + horizon
        if self.expires_at is not None:
            margin = min(timedelta(minutes=1), (self.expires_at - first) / 10)
            end = min(end, self.expires_at - margin)
        return (end - self.enqueued_at).total_seconds()


class RetryCopy(msgspec.Struct, frozen=True, kw_only=True):
    """What is put into the queue again, to be enqueued at a later time."""

    body: bytes
    message_id: str
    content_type: str | None
    correlation_id: str | None
    subject: str | None
    properties: Mapping[str, object]
    enqueue_at: datetime
    expires_at: datetime | None


class Revocation:
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
        self.session_id: str | None = None
        """What the message names, even if it is malformed otherwise."""
        self.answer: Answer | None = None
        self.attempts = delivery.history.attempts
        self.seconds_in_call = 0.0
        self._first_call: float | None = None
        self._last_call_ended = 0.0
        self.trace: dict[str, str] = {}
        """Trace context for the retry copy, where the publisher has given none."""
        self._monotonic = monotonic
        self._started = monotonic()
        self._effort_seconds = delivery.effort_seconds(timedelta(hours=horizon_hours))

    def called(self, answer: Answer, began: float, seconds: float) -> None:
        """Take note of a call that began at a time of the monotonic clock."""
        self.answer = answer
        self.attempts += 1
        self.seconds_in_call += seconds
        if self._first_call is None:
            self._first_call = began
        self._last_call_ended = began + seconds

    @property
    def oddities(self) -> tuple[str, ...]:
        """Host metadata that are missing or implausible."""
        return self.delivery.oddities

    @property
    def seconds_held(self) -> float:
        """Since the host handed the message over."""
        return self._monotonic() - self._started

    @property
    def now(self) -> datetime:
        """The time, by the clock as it was when the message came."""
        return self.delivery.received_at + timedelta(seconds=self.seconds_held)

    @property
    def first_attempt_at(self) -> datetime | None:
        """When the first call was begun, now or at an earlier delivery; None if it is not known."""
        history = self.delivery.history
        if self._first_call is None or history.attempts:
            return history.first_attempt_at
        return self._at(self._first_call)

    @property
    def last_attempt_at(self) -> datetime | None:
        """When the last call ended, now or at an earlier delivery; None if it is not known."""
        if self._first_call is None:
            return self.delivery.history.last_attempt_at
        return self._at(self._last_call_ended)

    def _at(self, monotonic: float) -> datetime:
        return self.delivery.received_at + timedelta(seconds=monotonic - self._started)

    @property
    def seconds_left(self) -> float:
        """Until the effort ends; the time that the message waited in the queue does not count."""
        return self._effort_seconds - self.seconds_held

    @property
    def last_error(self) -> str:
        """What stood in the way last, now or at an earlier delivery; empty if nothing did."""
        return self.delivery.history.last_error if self.answer is None else describe(self.answer)

    def copy(self, delay_seconds: float, error: str, *, bare: bool = False) -> RetryCopy:
        """Return the copy that carries on with this revocation after a delay.

        Args:
            delay_seconds: until it is enqueued; it is never enqueued after the end of the effort, so
                that there is a last attempt before the message expires.
            error: what stood in the way.
            bare: without the publisher's application properties.
        """
        delivery = self.delivery
        history = delivery.history.next(
            self.attempts, error, self.first_attempt_at, self.last_attempt_at
        )
        end = delivery.enqueued_at + timedelta(seconds=max(0.0, self._effort_seconds))
        # The SDK sends a name that is no text in a form that no receiver can read.
        given = {} if bare else {k: v for k, v in delivery.properties.items() if isinstance(k, str)}
        return RetryCopy(
            body=delivery.body,
            message_id=history.copy_id,
            content_type=delivery.content_type,
            correlation_id=delivery.correlation_id,
            subject=delivery.subject,
            properties={
                **self.trace,
                **given,
                **history.write(),
            },
            enqueue_at=min(self.now + timedelta(seconds=delay_seconds), end),
            expires_at=delivery.expires_at,
        )


def _times(
    message: "func.ServiceBusMessage", now: datetime, oddities: list[str]
) -> tuple[datetime, datetime | None]:
    """Return when the message was enqueued, as far as it is known, and when it expires if it does."""
    enqueued_at = _utc(message.enqueued_time_utc)
    if enqueued_at is None or not _EARLIEST < enqueued_at < now + _MOST_AHEAD:
        # It must not become the time of this process, nor the beginning or end of an effort.
        oddities.append("EnqueuedTimeUtc: missing, unreadable or impossible")
        enqueued_at = now
    expires_at = _utc(message.expires_at_utc)
    if expires_at is None or expires_at <= enqueued_at:
        oddities.append("ExpiresAtUtc: missing, unreadable or impossible")
        return enqueued_at, None
    return enqueued_at, expires_at if expires_at < _NEVER else None


def _id_instead(message: "func.ServiceBusMessage") -> str:
    """Return what stands for a message id that is missing; the same at each delivery."""
    if message.sequence_number is not None:
        return f"sequence-{message.sequence_number}"
    # Two messages of one body ask for the same deletion: their retry copies may be taken for one.
    return f"body-{hashlib.sha256(message.get_body()).hexdigest()[:32]}"


def _utc(time: datetime | None) -> datetime | None:
    # The host's binding reads some formats of UTC times as naive ones.
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
