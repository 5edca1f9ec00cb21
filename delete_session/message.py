"""One delivered message: what the host hands over, what is done for it, and what a retry copy carries.

The wire format of retry copies is read and written here only; docs/upgrading.md says how it stays
readable from one version to the next.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec.structs import replace

from .contract import SessionType
from .verdict import Meaning, Verdict

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
"""Application properties that a retry copy has besides the publisher's."""
# `resubmit` adds the first to a message id, and hashes a long id; the second keeps it as published.
RESUBMITTED = re.compile(r"(:resubmit:\d+)+\Z")
PUBLISHED_ID = "revoker-published-id"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_MESSAGE_ID = 128  # characters (Service Bus)
_MAX_ERROR = 500  # characters: all properties together may have 64 KiB
# The SDK sends no longer time to live (milliseconds in 32 bits), and .NET's "never" is longer, too.
_MAX_LIFE = timedelta(days=49)
_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)  # .NET's "no time" is the first instant of the year 1
# If a stamp is further ahead, the stamp is wrong, and not this machine's clock.
_MAX_AHEAD = timedelta(days=1)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for a revocation before this delivery."""

    root_id: str
    """Message id of the publisher's message, of which this is the original or a retry copy."""
    first_enqueued_at: datetime
    """When the publisher's message was enqueued: UTC, the broker's clock."""
    attempts: int = 0
    copies: int = 0
    """Retry copies made before; 0 for the original."""
    last_error: str = ""
    first_attempt_at: datetime | None = None
    """When the first call began; None if none was made, or if a version before 0.2 made the copy."""
    last_attempt_at: datetime | None = None
    """When the last call ended."""

    @classmethod
    def read(cls, properties: Mapping[str, object], message_id: str) -> Self | None:
        """Read a copy's history; None if there is none, or if it belongs to another message.

        A copy has the id that its history determines (`copy_id`). A dead-letter message that is sent
        again with all its properties, but under another id, therefore starts over.
        """
        root_id, first = _text(properties.get(ROOT_ID)), _read_time(properties.get(FIRST_ENQUEUED))
        copies = _count(properties.get(COPY))
        if not root_id or len(root_id) > _MAX_MESSAGE_ID or first is None or not copies:
            return None
        history = cls(
            root_id=root_id,
            first_enqueued_at=first,
            attempts=_count(properties.get(ATTEMPT)),
            copies=copies,
            last_error=_text(properties.get(LAST_ERROR)) or "",
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

    @property
    def copy_id(self) -> str:
        """Message id of the retry copy with this history.

        It is the same for each delivery of one message, so duplicate detection makes repeated
        scheduling harmless. It differs for another message that was published under the same id.
        """
        return self.derived_id(str(self.copies))

    def derived_id(self, purpose: str) -> str:
        """Return the message id for this purpose, always the same for one publisher's message."""
        suffix = f":{int(self.first_enqueued_at.timestamp() * 1000)}:{purpose}"
        root_id = self.root_id
        if len(root_id) + len(suffix) > _MAX_MESSAGE_ID:
            root_id = hashlib.sha256(root_id.encode()).hexdigest()
        return root_id + suffix


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery of a message, or a copy of it that will be delivered later. Times are in UTC."""

    body: bytes
    message_id: str
    lock_token: str
    delivery_count: int
    """From 1. Crashes and lost locks count; failed attempts do not."""
    content_type: str | None
    correlation_id: str | None
    subject: str | None
    publisher: str | None
    properties: Mapping[str, object]
    received_at: datetime
    enqueued_at: datetime
    expires_at: datetime | None
    history: History

    @classmethod
    def from_trigger(cls, message: "func.ServiceBusMessage", now: datetime) -> Self:
        """Read what the host hands over at the time `now`; bad metadata counts as missing."""
        properties: object = message.application_properties or message.user_properties
        if not isinstance(properties, dict):
            properties = {}
        enqueued_at = _utc(message.enqueued_time_utc)
        if enqueued_at is None or not _EARLIEST < enqueued_at < now + _MAX_AHEAD:
            # A wrong stamp must not set this process's clock, nor a retry deadline.
            enqueued_at = now
        # A clock that is slower than the broker's must not schedule retries in the broker's past.
        received_at = max(now, enqueued_at)
        expires_at = _utc(message.expires_at_utc)
        if expires_at and not received_at < expires_at < enqueued_at + _MAX_LIFE:
            expires_at = None  # the broker delivers no expired message: a clock is wrong
        delivery_count = message.delivery_count
        if not isinstance(delivery_count, int) or not 1 <= delivery_count < 2**31:
            delivery_count = 1
        message_id = _text(message.message_id) or f"sequence-{message.sequence_number}"
        history = History.read(properties, message_id) or History(
            root_id=message_id, first_enqueued_at=enqueued_at
        )
        if enqueued_at < history.first_enqueued_at:  # the broker's clock was set back
            history = replace(history, first_enqueued_at=enqueued_at)
        return cls(
            body=message.get_body(),
            message_id=message_id,
            lock_token=message.lock_token or "",
            delivery_count=delivery_count,
            content_type=message.content_type,
            correlation_id=_text(message.correlation_id),
            subject=message.subject,
            publisher=_text(properties.get("publisher")) or None,
            properties=properties,
            received_at=received_at,
            enqueued_at=enqueued_at,
            expires_at=expires_at,
            history=history,
        )

    def seconds_to_deadline(self, retry_deadline: timedelta) -> float:
        """Return the seconds from this delivery to the retry deadline.

        The deadline counts from the first enqueue, without the wait in the queue before this delivery.
        It lies before the message expires, because the broker would dead-letter it without the cause:
        early enough for a whole burst to end.
        """
        first = self.history.first_enqueued_at
        left = first + retry_deadline - self.enqueued_at
        if self.expires_at is not None:
            margin = min(timedelta(hours=1), (self.expires_at - first) / 4)
            left = min(left, self.expires_at - margin - self.received_at)
        return left.total_seconds()


class Revocation:
    """What is done during one delivery; `monotonic` is a clock that never steps, in seconds."""

    def __init__(
        self, delivery: Delivery, retry_deadline_hours: float, monotonic: Callable[[], float]
    ) -> None:
        self.delivery = delivery
        self.session_type: SessionType | None = None
        """The type that the message states, or under which the session was deleted."""
        self.asked: list[SessionType] = []
        """The types under which the Face API was asked in this delivery."""
        self.session_id: str | None = None
        """The session that the message names, even if the message is malformed otherwise."""
        self.verdict: Verdict | None = None
        self.attempts = delivery.history.attempts
        self._obstacle = ""  # why the gate gave no permit; used only if no call has failed
        self.seconds_in_call = 0.0
        self.first_attempt_at = delivery.history.first_attempt_at
        self.last_attempt_at = delivery.history.last_attempt_at
        self._monotonic = monotonic
        self.held_since = monotonic()
        """Monotonic time at which the host handed the message over."""
        self.seconds_to_expiry = float("inf")
        """From the delivery on."""
        if delivery.expires_at is not None:
            self.seconds_to_expiry = (delivery.expires_at - delivery.received_at).total_seconds()
        self._seconds_to_deadline = delivery.seconds_to_deadline(
            timedelta(hours=retry_deadline_hours)
        )

    def record_call(self, verdict: Verdict, session_type: SessionType, began: float) -> None:
        """Record a call that began at this monotonic time and ended now."""
        if session_type not in self.asked:
            self.asked.append(session_type)
        if verdict.meaning is Meaning.DELETED:
            self.session_type = session_type
        seconds = self._monotonic() - began
        self.verdict = verdict
        self.attempts += 1
        self.seconds_in_call += seconds
        self.last_attempt_at = self.now
        if self.first_attempt_at is None and self.attempts == 1:
            self.first_attempt_at = self.now - timedelta(seconds=seconds)

    def record_obstacle(self, obstacle: str) -> None:
        """Record that no call was permitted, and why."""
        self._obstacle = obstacle
        if self.verdict is not None and self.verdict.meaning is Meaning.ALREADY_GONE:
            self.verdict = None  # under the type that was not asked, the session may live

    @property
    def last_error(self) -> str:
        """The last error, in this delivery or an earlier one; empty if there was none."""
        if self.verdict is not None:
            return self.verdict.describe()
        return self.delivery.history.last_error or self._obstacle

    @property
    def now(self) -> datetime:
        """The time of arrival plus the time since then: no step of the wall clock changes it."""
        return self.delivery.received_at + timedelta(seconds=self._monotonic() - self.held_since)

    @property
    def seconds_left(self) -> float:
        """Seconds to the retry deadline."""
        return self._seconds_to_deadline - (self._monotonic() - self.held_since)

    def copy(self, delay_seconds: float, *, bare: bool = False) -> Delivery:
        """Return the message as it will be enqueued again after a delay.

        Args:
            delay_seconds: until it is enqueued.
            bare: without what the publisher set, which may be too large or impossible to encode.
        """
        delivery = self.delivery
        history = replace(
            delivery.history,
            attempts=self.attempts,
            copies=delivery.history.copies + 1,
            last_error=self.last_error,
            first_attempt_at=self.first_attempt_at,
            last_attempt_at=self.last_attempt_at,
        )
        given = delivery.properties
        if bare:
            content_type = (_text(delivery.content_type) or "")[:_MAX_MESSAGE_ID]
            delivery = replace(
                delivery, content_type=content_type, correlation_id=None, subject=None
            )
            given = {PUBLISHED_ID: published_id(history.root_id, given)}
        # The SDK would encode a name that is not text in a form that no receiver can read.
        kept = {k: v for k, v in given.items() if isinstance(k, str) and k not in PROPERTIES}
        return replace(
            delivery,
            message_id=history.copy_id,
            properties={**kept, **history.write()},
            enqueued_at=self.now + timedelta(seconds=delay_seconds),
            history=history,
        )


def published_id(root_id: str, properties: Mapping[str, object]) -> str:
    """Return the message id under which it was published, even if it was resubmitted."""
    id_or_hash = RESUBMITTED.sub("", root_id) if len(root_id) <= _MAX_MESSAGE_ID else root_id
    stated = (_text(properties.get(PUBLISHED_ID)) or "")[:_MAX_MESSAGE_ID]
    return stated if hashlib.sha256(stated.encode()).hexdigest() == id_or_hash else id_or_hash


def trace_context(properties: Mapping[str, object]) -> dict[str, str]:
    """Return the W3C trace context, under either name that a publisher's SDK uses; empty: none."""
    parent, state = properties.get("traceparent"), _text(properties.get("tracestate"))
    parent = parent or properties.get("Diagnostic-Id")
    if not isinstance(parent, str) or not _TRACEPARENT.fullmatch(parent):
        return {}
    return {"traceparent": parent} | ({"tracestate": state} if state else {})


def _text(value: object) -> str | None:
    """Return text that AMQP and JSON can carry: JSON of the host may hold half of a surrogate pair."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _utc(time: datetime | None) -> datetime | None:
    # The host's binding reads some formats of UTC times as naive ones.
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _read_time(value: object) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _count(value: object) -> int:
    """Return a plausible count, else 0."""
    return value if isinstance(value, int) and 0 <= value < 1_000_000 else 0
