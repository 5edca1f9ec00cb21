"""What a Service Bus queue does with messages, without I/O and without a clock.

`now` (seconds since 1970) is passed in everywhere. A `Queue` holds the messages of one queue and
has a second `Queue` for its dead letters. `Changes` records what has to be stored, and the `Ledger`
records every step in a message's life.

The cost of an operation grows with the logarithm of the number of messages at most.
"""

import bisect
import heapq
import math
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .configuration import QueueSettings
from .message import Message

MAX_MESSAGE_BYTES = 256 * 1024
MAX_REASON_CHARACTERS = 4096
DEAD_LETTER_SUFFIX = "/$deadletterqueue"


class Refused(Exception):
    """The broker refuses: an HTTP-like status, an AMQP error condition and the reason in words."""

    def __init__(self, status: int, condition: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.condition = condition
        self.description = description


def lock_lost() -> Refused:
    return Refused(
        410,
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has already been "
        "removed from the queue.",
    )


def message_not_found(sequence_number: int) -> Refused:
    return Refused(
        404,
        "com.microsoft:message-not-found",
        f"There is no such message with the sequence number {sequence_number}.",
    )


class State(StrEnum):
    """The state of a message. A deferred message that is received is LOCKED and still deferred."""

    READY = "ready"
    LOCKED = "locked"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Entry:
    """A message in a queue. Times are seconds since 1970; `expires_at` may be infinite."""

    sequence_number: int
    message: Message
    state: State
    enqueued_at: float
    expires_at: float = math.inf
    delivery_count: int = 0
    deferred: bool = False
    scheduled_for: float = 0.0
    lock_token: bytes = b""
    locked_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """One step in a message's life; `time` is seconds since 1970."""

    seq: int
    time: float
    queue: str
    sequence_number: int
    message_id: str | None
    event: str
    reason: str | None
    description: str | None
    delivery_count: int


class Ledger:
    """Every event, in order, numbered from 1."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._events = list(events)

    def __len__(self) -> int:
        return len(self._events)

    def append(
        self,
        now: float,
        queue: str,
        entry: Entry,
        event: str,
        reason: str | None = None,
        description: str | None = None,
    ) -> None:
        self._events.append(
            Event(
                seq=len(self._events) + 1,
                time=now,
                queue=queue,
                sequence_number=entry.sequence_number,
                message_id=entry.message.message_id,
                event=event,
                reason=reason,
                description=description,
                delivery_count=entry.delivery_count,
            )
        )

    def after(self, seq: int, limit: int | None = None) -> list[Event]:
        """Return the events numbered above `seq`, at most `limit` of them."""
        start = max(0, seq)
        return self._events[start : None if limit is None else start + limit]


@dataclass(slots=True)
class Changes:
    """What has changed since it was last stored; call `clear` after storing it."""

    entries: dict[tuple[str, int], Entry | None] = field(default_factory=dict)  # None: gone
    sequence_numbers: dict[str, int] = field(default_factory=dict)
    identifiers_seen: list[tuple[str, str, float]] = field(default_factory=list)
    identifiers_forgotten: list[tuple[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        self.entries.clear()
        self.sequence_numbers.clear()
        self.identifiers_seen.clear()
        self.identifiers_forgotten.clear()

    def __bool__(self) -> bool:
        return bool(
            self.entries
            or self.sequence_numbers
            or self.identifiers_seen
            or self.identifiers_forgotten
        )


@dataclass(frozen=True, slots=True)
class Counts:
    active: int
    locked: int
    scheduled: int
    deferred: int
    dead_lettered: int


class Queue:
    """One queue, or the dead letters of one (then `dead_letters` is None)."""

    def __init__(
        self,
        settings: QueueSettings,
        ledger: Ledger,
        changes: Changes,
        new_lock_token: Callable[[], bytes],
        *,
        for_dead_letters: bool = False,
    ) -> None:
        self.settings = settings
        self.name = settings.name + (DEAD_LETTER_SUFFIX if for_dead_letters else "")
        self.dead_letters: Queue | None = None
        if not for_dead_letters:
            self.dead_letters = Queue(
                settings, ledger, changes, new_lock_token, for_dead_letters=True
            )
        self._ledger = ledger
        self._changes = changes
        self._new_lock_token = new_lock_token
        self._entries: dict[int, Entry] = {}
        self._order: list[int] = []  # sorted sequence numbers; some messages may be gone
        self._counts = dict.fromkeys(State, 0)
        self._ready: list[int] = []  # heap of sequence numbers; some may no longer be ready
        self._locks: dict[bytes, Entry] = {}
        # Heaps of (when, what); entries that no longer apply are skipped when their time comes.
        self._lock_expiries: list[tuple[float, bytes]] = []
        self._message_expiries: list[tuple[float, int]] = []
        self._schedule: list[tuple[float, int]] = []
        self._last_sequence_number = 0
        self._seen: dict[str, float] = {}  # message id -> when; for duplicate detection
        self._seen_order: deque[tuple[float, str]] = deque()

    # Sending

    def send(self, message: Message, now: float) -> None:
        """Accept a message from a sender; an annotation may schedule it.

        Raises Refused if it is too large or this is a dead-letter queue.
        """
        self._accept(message, message.scheduled_for_ms, now)

    def schedule(self, message: Message, now: float) -> int:
        """Accept a message by the schedule-message operation; return its sequence number.

        A duplicate is dropped, but gets a sequence number too.
        """
        if message.scheduled_for_ms is None:
            raise Refused(
                400,
                "com.microsoft:argument-error",
                "A message to schedule needs the annotation x-opt-scheduled-enqueue-time.",
            )
        return self._accept(message, message.scheduled_for_ms, now)

    def check(self, message: Message) -> None:
        """Raise Refused if this queue cannot accept the message."""
        if self.dead_letters is None:
            raise Refused(
                400, "amqp:not-allowed", "A dead-letter queue accepts no messages from senders."
            )
        if message.size > MAX_MESSAGE_BYTES:
            raise Refused(
                400,
                "amqp:link:message-size-exceeded",
                f"The message has {message.size} bytes; {MAX_MESSAGE_BYTES} are allowed.",
            )

    def _accept(self, message: Message, scheduled_for_ms: int | None, now: float) -> int:
        self.check(message)
        self.advance(now)
        if message.message_id is None:
            message = message.with_message_id(uuid.uuid4().hex)  # as the service does
        entry = Entry(self._next_sequence_number(), message, State.GONE, enqueued_at=now)
        if self._is_duplicate(message.message_id, now):
            self._ledger.append(now, self.name, entry, "duplicate_dropped")
            return entry.sequence_number
        if scheduled_for_ms is not None and scheduled_for_ms / 1000 > now:
            entry.scheduled_for = scheduled_for_ms / 1000
            self._insert(entry, State.SCHEDULED)
            self._ledger.append(now, self.name, entry, "scheduled")
        else:
            self._enqueue(entry, now)
        return entry.sequence_number

    def _enqueue(self, entry: Entry, now: float) -> None:
        entry.enqueued_at = now
        entry.expires_at = now + self.time_to_live(entry.message, now)
        self._insert(entry, State.READY)
        self._ledger.append(now, self.name, entry, "enqueued")

    def time_to_live(self, message: Message, now: float) -> float:
        """Return how long a message may live, in seconds: as it asks, within the queue's default."""
        asked = math.inf
        if message.ttl_ms is not None:
            asked = message.ttl_ms / 1000
        elif message.absolute_expiry_ms is not None:
            asked = max(0.0, message.absolute_expiry_ms / 1000 - now)
        return min(asked, self.settings.default_ttl_seconds)

    def _is_duplicate(self, message_id: str | None, now: float) -> bool:
        if not self.settings.duplicate_detection or message_id is None:
            return False
        horizon = now - self.settings.duplicate_window_seconds
        while self._seen_order and self._seen_order[0][0] <= horizon:
            _, forgotten = self._seen_order.popleft()
            del self._seen[forgotten]
            self._changes.identifiers_forgotten.append((self.name, forgotten))
        if message_id in self._seen:
            return True
        self._remember(message_id, now)
        self._changes.identifiers_seen.append((self.name, message_id, now))
        return False

    def _remember(self, message_id: str, seen_at: float) -> None:
        self._seen[message_id] = seen_at
        self._seen_order.append((seen_at, message_id))

    def cancel_scheduled(self, sequence_number: int, now: float) -> None:
        """Drop a scheduled message; raise Refused if there is none with this number."""
        self.advance(now)
        entry = self._entries.get(sequence_number)
        if entry is None or entry.state is not State.SCHEDULED:
            raise message_not_found(sequence_number)
        self._remove(entry)
        self._ledger.append(now, self.name, entry, "schedule_cancelled")

    # Receiving

    def has_ready(self) -> bool:
        """Return whether a message is waiting to be delivered."""
        return self._counts[State.READY] > 0

    def deliver(self, now: float, *, delete: bool = False) -> Entry | None:
        """Return the next message: locked now, or gone from the queue if `delete` is set."""
        self.advance(now)
        while self._ready:
            entry = self._entries.get(heapq.heappop(self._ready))
            if entry is not None and entry.state is State.READY:
                return self._hand_out(entry, now, delete)
        return None

    def receive_deferred(
        self, sequence_numbers: Sequence[int], now: float, *, delete: bool = False
    ) -> list[Entry]:
        """Return deferred messages by number; raise Refused and do nothing if one is missing."""
        self.advance(now)
        found = []
        for number in sequence_numbers:
            entry = self._entries.get(number)
            if entry is None or entry.state is not State.DEFERRED:
                raise message_not_found(number)
            if entry.expires_at <= now:
                # Deferred messages expire only when someone asks for them.
                self._expire(entry, now)
                raise message_not_found(number)
            found.append(entry)
        return [self._hand_out(entry, now, delete) for entry in found]

    def _hand_out(self, entry: Entry, now: float, delete: bool) -> Entry:
        self._ledger.append(now, self.name, entry, "delivered")
        if delete:
            self._remove(entry)
            self._ledger.append(now, self.name, entry, "completed", "ReceiveAndDelete")
            return entry
        entry.lock_token = self._new_lock_token()
        entry.locked_until = now + self.settings.lock_seconds
        self._locks[entry.lock_token] = entry
        heapq.heappush(self._lock_expiries, (entry.locked_until, entry.lock_token))
        self._move(entry, State.LOCKED)
        return entry

    def peek(self, from_sequence_number: int, count: int, now: float) -> list[Entry]:
        """Return messages in any state, by sequence number, without changing them."""
        self.advance(now)
        found: list[Entry] = []
        for entry in self._in_order(from_sequence_number):
            if len(found) == count:
                break
            found.append(entry)
        return found

    def _in_order(self, from_sequence_number: int) -> Iterator[Entry]:
        start = bisect.bisect_left(self._order, from_sequence_number)
        for index in range(start, len(self._order)):
            entry = self._entries.get(self._order[index])
            if entry is not None:
                yield entry

    # Settling, by lock token

    def complete(self, token: bytes, now: float) -> None:
        """Remove the message; raise Refused if the lock is gone."""
        entry = self._unlock(token, now)
        self._remove(entry)
        self._ledger.append(now, self.name, entry, "completed")

    def abandon(self, token: bytes, now: float, changes: Mapping[str, Any] | None = None) -> None:
        """Return the message to the queue and count the delivery; raise Refused if the lock is gone."""
        entry = self._unlock(token, now, changes)
        entry.delivery_count += 1
        self._ledger.append(now, self.name, entry, "abandoned")
        self._give_back(entry, now)

    def release(self, token: bytes, now: float) -> None:
        """Return the message to the queue as if it had never been delivered."""
        entry = self._unlock(token, now)
        self._ledger.append(now, self.name, entry, "released")
        self._give_back(entry, now)

    def defer(self, token: bytes, now: float, changes: Mapping[str, Any] | None = None) -> None:
        """Set the message aside, to be received by its sequence number only."""
        entry = self._unlock(token, now, changes)
        entry.delivery_count += 1
        entry.deferred = True
        self._move(entry, State.DEFERRED)
        self._ledger.append(now, self.name, entry, "deferred")

    def dead_letter(
        self,
        token: bytes,
        now: float,
        reason: str | None = None,
        description: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Move the message to the dead-letter queue.

        Raises Refused if the lock is gone, if a text has more than 4,096 characters, or if the
        message is a dead letter already.
        """
        for name, text in (("reason", reason), ("description", description)):
            if text is not None and len(text) > MAX_REASON_CHARACTERS:
                raise Refused(
                    400,
                    "com.microsoft:argument-out-of-range",
                    f"The dead-letter {name} has {len(text)} characters; "
                    f"{MAX_REASON_CHARACTERS} are allowed.",
                )
        if self.dead_letters is None:
            raise Refused(
                400, "amqp:not-allowed", "The message is in the dead-letter queue already."
            )
        entry = self._unlock(token, now, changes)
        self._move_to_dead_letters(entry, now, reason, description)

    def renew_lock(self, token: bytes, now: float) -> float:
        """Extend the lock by a lock duration from now; return its end. Refused if it is gone."""
        self.advance(now)
        entry = self._locks.get(token)
        if entry is None:
            raise lock_lost()
        entry.locked_until = now + self.settings.lock_seconds
        heapq.heappush(self._lock_expiries, (entry.locked_until, token))
        return entry.locked_until

    def _unlock(self, token: bytes, now: float, changes: Mapping[str, Any] | None = None) -> Entry:
        self.advance(now)
        entry = self._locks.get(token)
        if entry is None:
            raise lock_lost()
        if changes:
            entry.message = entry.message.with_application_properties(changes)
        del self._locks[token]
        entry.lock_token = b""
        return entry

    def _give_back(self, entry: Entry, now: float) -> None:
        """Put an unlocked message back, or expire or dead-letter it if it is due for that."""
        if self.dead_letters is not None:
            if entry.delivery_count >= self.settings.max_delivery_count:
                self._move_to_dead_letters(
                    entry,
                    now,
                    "MaxDeliveryCountExceeded",
                    f"Message could not be consumed after {entry.delivery_count} delivery "
                    "attempts.",
                )
                return
            if entry.expires_at <= now and not entry.deferred:
                self._expire(entry, now)
                return
        if entry.deferred:
            self._move(entry, State.DEFERRED)
        else:
            self._move(entry, State.READY)
            heapq.heappush(self._ready, entry.sequence_number)

    def _expire(self, entry: Entry, now: float) -> None:
        if self.settings.dead_letter_on_expiration:
            self._move_to_dead_letters(
                entry, now, "TTLExpiredException", "The message expired and was dead lettered."
            )
        else:
            self._remove(entry)
            self._ledger.append(now, self.name, entry, "expired")

    def _move_to_dead_letters(
        self, entry: Entry, now: float, reason: str | None, description: str | None
    ) -> None:
        assert self.dead_letters is not None
        self._remove(entry)
        why = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        entry.message = entry.message.with_application_properties(
            {key: text for key, text in why.items() if text is not None}
        )
        self._ledger.append(now, self.name, entry, "dead_lettered", reason, description)
        entry.expires_at = math.inf  # dead letters stay until someone receives them
        entry.deferred = False
        self.dead_letters._insert(entry, State.READY)  # noqa: SLF001 (a queue, too)

    # Time

    def next_deadline(self) -> float | None:
        """Return the earliest time at which `advance` has something to do."""
        tops = [h[0][0] for h in (self._lock_expiries, self._message_expiries, self._schedule) if h]
        if self.dead_letters is not None:
            deadline = self.dead_letters.next_deadline()
            if deadline is not None:
                tops.append(deadline)
        return min(tops, default=None)

    def advance(self, now: float) -> None:
        """Do what is due by now: end locks, enqueue scheduled messages, expire messages."""
        while self._lock_expiries and self._lock_expiries[0][0] <= now:
            _, token = heapq.heappop(self._lock_expiries)
            entry = self._locks.get(token)
            if entry is not None and entry.locked_until <= now:
                del self._locks[token]
                self._lose_lock(entry, now)
        while self._schedule and self._schedule[0][0] <= now:
            _, number = heapq.heappop(self._schedule)
            entry = self._entries.get(number)
            if entry is not None and entry.state is State.SCHEDULED:
                # It goes to the end with a new number, as if it had just been sent.
                self._remove(entry)
                entry.sequence_number = self._next_sequence_number()
                self._enqueue(entry, now)
        while self._message_expiries and self._message_expiries[0][0] <= now:
            _, number = heapq.heappop(self._message_expiries)
            entry = self._entries.get(number)
            if entry is not None and entry.state is State.READY and entry.expires_at <= now:
                self._expire(entry, now)
        if self.dead_letters is not None:
            self.dead_letters.advance(now)

    def _lose_lock(self, entry: Entry, now: float, reason: str | None = None) -> None:
        entry.lock_token = b""
        entry.delivery_count += 1
        self._ledger.append(now, self.name, entry, "lock_expired", reason)
        self._give_back(entry, now)

    # Contents

    def counts(self) -> Counts:
        dead_letters = self.dead_letters
        return Counts(
            active=self._counts[State.READY] + self._counts[State.LOCKED],
            locked=self._counts[State.LOCKED],
            scheduled=self._counts[State.SCHEDULED],
            deferred=self._counts[State.DEFERRED],
            dead_lettered=0 if dead_letters is None else len(dead_letters._entries),  # noqa: SLF001
        )

    def size(self) -> int:
        """Return the size of all messages, dead letters included, in bytes."""
        own = sum(entry.message.size for entry in self._entries.values())
        return own + (0 if self.dead_letters is None else self.dead_letters.size())

    def restore(self, entry: Entry) -> None:
        """Restore a stored message. Call `recover` after the last one."""
        self._insert(entry, entry.state)
        self._last_sequence_number = max(self._last_sequence_number, entry.sequence_number)

    def restore_seen(self, message_id: str, seen_at: float) -> None:
        """Restore a stored message id; call it for the oldest first."""
        self._remember(message_id, seen_at)

    def recover(self, last_sequence_number: int, now: float) -> None:
        """Finish a restart: no lock has survived it, which counts as an expired lock."""
        self._last_sequence_number = max(self._last_sequence_number, last_sequence_number)
        for entry in [e for e in self._entries.values() if e.state is State.LOCKED]:
            self._lose_lock(entry, now, "BrokerRestarted")
        self.advance(now)

    # Bookkeeping

    def _next_sequence_number(self) -> int:
        self._last_sequence_number += 1
        self._changes.sequence_numbers[self.name] = self._last_sequence_number
        return self._last_sequence_number

    def _insert(self, entry: Entry, state: State) -> None:
        number = entry.sequence_number
        self._entries[number] = entry
        if not self._order or number > self._order[-1]:
            self._order.append(number)
        else:
            place = bisect.bisect_left(self._order, number)
            if self._order[place] != number:
                self._order.insert(place, number)
        self._counts[state] += 1
        entry.state = state
        if state is State.READY:
            heapq.heappush(self._ready, number)
        elif state is State.SCHEDULED:
            heapq.heappush(self._schedule, (entry.scheduled_for, number))
        if entry.expires_at < math.inf:
            heapq.heappush(self._message_expiries, (entry.expires_at, number))
        self._changes.entries[self.name, number] = entry

    def _move(self, entry: Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state
        self._changes.entries[self.name, entry.sequence_number] = entry

    def _remove(self, entry: Entry) -> None:
        self._counts[entry.state] -= 1
        entry.state = State.GONE
        del self._entries[entry.sequence_number]
        self._changes.entries[self.name, entry.sequence_number] = None
        self._compact()

    def _compact(self) -> None:
        """Drop index entries of messages that are gone; rarely, so that it costs little."""
        enough = 2 * len(self._entries) + 64
        if len(self._order) > enough:
            self._order = [number for number in self._order if number in self._entries]
        if len(self._message_expiries) > enough:
            self._message_expiries = [x for x in self._message_expiries if x[1] in self._entries]
            heapq.heapify(self._message_expiries)
        if len(self._lock_expiries) > enough:
            self._lock_expiries = [x for x in self._lock_expiries if x[1] in self._locks]
            heapq.heapify(self._lock_expiries)


class Namespace:
    """All queues, by name; names are case-insensitive, as in Service Bus."""

    def __init__(
        self,
        settings: Sequence[QueueSettings],
        new_lock_token: Callable[[], bytes],
        ledger: Ledger | None = None,
    ) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.changes = Changes()
        self.queues = {
            item.name.lower(): Queue(item, self.ledger, self.changes, new_lock_token)
            for item in settings
        }

    def find(self, name: str) -> Queue | None:
        """Return the queue with this name, which may end in `/$deadletterqueue`."""
        lowered = name.lower()
        if lowered.endswith(DEAD_LETTER_SUFFIX):
            queue = self.queues.get(lowered.removesuffix(DEAD_LETTER_SUFFIX))
            return queue and queue.dead_letters
        return self.queues.get(lowered)

    def advance(self, now: float) -> None:
        for queue in self.queues.values():
            queue.advance(now)

    def next_deadline(self) -> float | None:
        deadlines = (queue.next_deadline() for queue in self.queues.values())
        return min((d for d in deadlines if d is not None), default=None)
