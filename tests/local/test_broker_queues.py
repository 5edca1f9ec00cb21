"""The broker's queue alone: time is a number, and nothing listens."""

import contextlib
import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from local.broker import encoding, message
from local.broker.configuration import QueueSettings
from local.broker.message import Message
from local.broker.queues import (
    MAX_MESSAGE_BYTES,
    Changes,
    Entry,
    Ledger,
    Namespace,
    Queue,
    Refused,
    State,
)

SETTINGS = QueueSettings(
    name="orders",
    lock_seconds=60,
    max_delivery_count=3,
    default_ttl_seconds=1000,
    dead_letter_on_expiration=True,
    duplicate_detection=True,
    duplicate_window_seconds=100,
)


def make_message(
    message_id: str | None = None,
    *,
    ttl_ms: int | None = None,
    absolute_expiry_ms: int | None = None,
    scheduled_for_ms: int | None = None,
    body: bytes = b"body",
) -> Message:
    """A message as a publisher would encode it."""
    identifier = encoding.NULL if message_id is None else encoding.string(message_id)
    expiry = encoding.NULL
    if absolute_expiry_ms is not None:
        expiry = encoding.timestamp(absolute_expiry_ms)
    properties = encoding.sequence([identifier, *[encoding.NULL] * 7, expiry])
    ttl = encoding.NULL if ttl_ms is None else encoding.uint(ttl_ms)
    encoded = message.section(
        message.HEADER, encoding.sequence([encoding.boolean(True), encoding.NULL, ttl])
    )
    if scheduled_for_ms is not None:
        pair = encoding.symbol(message.SCHEDULED_ENQUEUE_TIME)
        pair += encoding.timestamp(scheduled_for_ms)
        encoded += message.section(message.MESSAGE_ANNOTATIONS, encoding.mapping([pair]))
    encoded += message.section(message.PROPERTIES, properties)
    encoded += message.section(message.DATA, encoding.binary(body))
    return Message.decode(encoded)


def make_queue(settings: QueueSettings = SETTINGS) -> Queue:
    numbers = itertools.count(1)
    return Queue(settings, Ledger(), Changes(), lambda: next(numbers).to_bytes(16))


def dead_letters(queue: Queue) -> Queue:
    assert queue.dead_letters is not None
    return queue.dead_letters


def received(queue: Queue, now: float) -> Entry:
    entry = queue.deliver(now)
    assert entry is not None
    return entry


def events(queue: Queue) -> list[str]:
    return [event.event for event in queue._ledger.after(0)]


def test_delivers_in_the_order_of_sequence_numbers() -> None:
    """Messages are delivered in the order they were sent, numbered from 1."""
    queue = make_queue()
    for name in "abc":
        queue.send(make_message(name), 0)
    delivered = [received(queue, 1) for _ in range(3)]
    assert [(e.sequence_number, e.message.message_id) for e in delivered] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]
    assert queue.deliver(1) is None


def test_a_locked_message_is_not_delivered_again_while_the_lock_lasts() -> None:
    """Until its lock ends, a message has one receiver; then the next one gets it, count plus 1."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    first = received(queue, 0)
    assert (first.delivery_count, first.locked_until) == (0, 60)
    token = first.lock_token
    assert queue.deliver(59.9) is None
    again = received(queue, 60)
    assert again.delivery_count == 1
    assert again.lock_token != token
    with pytest.raises(Refused, match="lock supplied is invalid") as refused:
        queue.complete(token, 60)
    assert (refused.value.status, refused.value.condition) == (
        410,
        "com.microsoft:message-lock-lost",
    )


def test_completing_removes_the_message_once() -> None:
    """A completed message is gone, and its lock token with it."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    token = received(queue, 0).lock_token
    queue.complete(token, 1)
    with pytest.raises(Refused):
        queue.complete(token, 1)
    assert queue.counts().active == 0
    assert events(queue) == ["enqueued", "delivered", "completed"]


def test_abandoning_gives_the_message_back_to_its_old_place() -> None:
    """An abandoned message is the next one delivered, with one more delivery counted."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    queue.send(make_message("b"), 0)
    queue.abandon(received(queue, 0).lock_token, 1, {"why": "later"})
    again = received(queue, 1)
    assert (again.message.message_id, again.delivery_count) == ("a", 1)
    assert again.message.read_application_properties() == {"why": "later"}


def test_releasing_does_not_count() -> None:
    """A released message is delivered again as if for the first time."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    for _ in range(10):
        queue.release(received(queue, 0).lock_token, 0)
    assert received(queue, 0).delivery_count == 0


@pytest.mark.parametrize("way", ["abandon", "let the lock expire"])
def test_dead_letters_when_the_deliveries_are_used_up(way: str) -> None:
    """The delivery that brings the count to the maximum is the last one."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    now = 0.0
    for _ in range(3):
        entry = received(queue, now)
        if way == "abandon":
            queue.abandon(entry.lock_token, now)
        else:
            now += 60
            queue.advance(now)
    assert queue.deliver(now) is None
    dead = received(dead_letters(queue), now)
    assert (dead.sequence_number, dead.delivery_count, dead.enqueued_at) == (1, 3, 0)
    assert dead.message.read_application_properties() == {
        "DeadLetterReason": "MaxDeliveryCountExceeded",
        "DeadLetterErrorDescription": "Message could not be consumed after 3 delivery attempts.",
    }


def test_dead_lettering_keeps_the_body_and_says_why() -> None:
    """A dead letter is the same message with a reason and a description, and never expires."""
    queue = make_queue()
    sent = make_message("a", body=b"exactly this", ttl_ms=5000)
    queue.send(sent, 0)
    queue.dead_letter(received(queue, 0).lock_token, 1, "Malformed", "no session id", {"n": 1})
    assert queue.counts().dead_lettered == 1
    dead = received(dead_letters(queue), 10**6)
    assert dead.message.body == sent.body
    assert dead.message.properties == sent.properties
    assert dead.message.read_application_properties() == {
        "n": 1,
        "DeadLetterReason": "Malformed",
        "DeadLetterErrorDescription": "no session id",
    }
    last = queue._ledger.after(0)[2]
    assert (last.event, last.reason, last.description) == (
        "dead_lettered",
        "Malformed",
        "no session id",
    )


@pytest.mark.parametrize(("reason", "description"), [("r" * 4097, None), (None, "d" * 4097)])
def test_refuses_a_reason_that_is_too_long(reason: str | None, description: str | None) -> None:
    """More than 4,096 characters are refused, and the message stays locked."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    token = received(queue, 0).lock_token
    with pytest.raises(Refused, match="4097 characters"):
        queue.dead_letter(token, 1, reason, description)
    queue.dead_letter(token, 1, "r" * 4096, "d" * 4096)


def test_a_dead_letter_is_delivered_without_a_limit_and_not_dead_lettered_again() -> None:
    """Dead letters count deliveries but stay, however often they are abandoned."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    queue.dead_letter(received(queue, 0).lock_token, 0, "R")
    dead = dead_letters(queue)
    for count in range(20):
        entry = received(dead, 1)
        assert entry.delivery_count == count
        dead.abandon(entry.lock_token, 1)
    with pytest.raises(Refused, match="already"):
        dead.dead_letter(received(dead, 1).lock_token, 1)
    with pytest.raises(Refused, match="no messages from senders"):
        dead.send(make_message("b"), 1)


def test_a_message_expires_after_the_shorter_of_its_own_and_the_default_time() -> None:
    """Time to live is what the message says, cut to the queue's default."""
    queue = make_queue()
    queue.send(make_message("brief", ttl_ms=5000), 0)
    queue.send(make_message("default"), 0)
    queue.send(make_message("too long", ttl_ms=10**9), 0)
    queue.send(make_message("by date", absolute_expiry_ms=7000), 0)
    dead = dead_letters(queue)
    order = []
    for now in (4.9, 5, 6.9, 7, 999.9, 1000):
        queue.advance(now)
        while (entry := dead.deliver(now)) is not None:
            order.append((now, entry.message.message_id))
            dead.complete(entry.lock_token, now)
    assert order == [(5, "brief"), (7, "by date"), (1000, "default"), (1000, "too long")]
    assert queue._ledger.after(4)[0].reason == "TTLExpiredException"


def test_without_dead_lettering_an_expired_message_is_dropped() -> None:
    """The queue drops expired messages unless it is configured to dead-letter them."""
    queue = make_queue(replace(SETTINGS, dead_letter_on_expiration=False))
    queue.send(make_message("a", ttl_ms=1000), 0)
    queue.advance(1)
    assert queue.deliver(1) is None
    assert queue.counts().dead_lettered == 0
    assert events(queue) == ["enqueued", "expired"]


def test_a_locked_message_expires_only_when_it_is_unlocked() -> None:
    """A receiver may still complete what expired in its hands; given back, it expires."""
    queue = make_queue()
    queue.send(make_message("a", ttl_ms=5000), 0)
    queue.send(make_message("b", ttl_ms=5000), 0)
    first, second = received(queue, 4), received(queue, 4)
    queue.complete(first.lock_token, 30)
    queue.abandon(second.lock_token, 30)
    assert queue.deliver(30) is None
    assert queue.counts().dead_lettered == 1


def test_renewing_a_lock_prolongs_it_from_now() -> None:
    """A renewed lock lasts another lock duration; one that is gone cannot be renewed."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    token = received(queue, 0).lock_token
    assert queue.renew_lock(token, 50) == 110
    assert queue.deliver(109) is None
    assert queue.counts().locked == 1
    queue.advance(110)
    with pytest.raises(Refused):
        queue.renew_lock(token, 110)


def test_a_scheduled_message_is_enqueued_when_its_time_comes() -> None:
    """It is enqueued under a new number, and its time to live starts then."""
    queue = make_queue()
    number = queue.schedule(make_message("later", scheduled_for_ms=50_000, ttl_ms=5000), 0)
    queue.send(make_message("by annotation", scheduled_for_ms=60_000), 0)
    queue.send(make_message("now", scheduled_for_ms=0), 1)
    assert received(queue, 1).message.message_id == "now"
    assert queue.counts().scheduled == 2
    assert queue.deliver(49.9) is None
    entry = received(queue, 50)
    assert number == 1
    assert (entry.sequence_number, entry.enqueued_at, entry.expires_at) == (4, 50, 55)
    assert received(queue, 60).message.message_id == "by annotation"


def test_cancelling_a_scheduled_message_drops_it() -> None:
    """What is cancelled never arrives; what is not scheduled cannot be cancelled."""
    queue = make_queue()
    number = queue.schedule(make_message("later", scheduled_for_ms=50_000), 0)
    queue.cancel_scheduled(number, 1)
    queue.advance(100)
    assert queue.deliver(100) is None
    with pytest.raises(Refused) as refused:
        queue.cancel_scheduled(number, 100)
    assert refused.value.status == 404
    queue.send(make_message("a"), 100)
    with pytest.raises(Refused):
        queue.cancel_scheduled(2, 100)


def test_drops_duplicates_within_the_window() -> None:
    """A message id seen less than the window ago is dropped, however the message came in."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    queue.send(make_message("a"), 99.9)
    number = queue.schedule(make_message("a", scheduled_for_ms=10**6), 99.9)
    assert number == 3
    assert queue.counts().scheduled == 0
    queue.send(make_message("a"), 100)
    queue.schedule(make_message("b", scheduled_for_ms=10**6), 100)
    queue.send(make_message("b"), 100)
    assert queue.counts().active == 2
    assert events(queue).count("duplicate_dropped") == 3


def test_messages_without_an_id_are_never_duplicates() -> None:
    """Duplicate detection needs an id."""
    queue = make_queue()
    queue.send(make_message(), 0)
    queue.send(make_message(), 0)
    assert queue.counts().active == 2


def test_without_duplicate_detection_all_are_taken() -> None:
    """Duplicate detection is a choice of the queue."""
    queue = make_queue(replace(SETTINGS, duplicate_detection=False))
    queue.send(make_message("a"), 0)
    queue.send(make_message("a"), 0)
    assert queue.counts().active == 2


def test_a_deferred_message_is_had_by_its_number_only() -> None:
    """Deferred messages are passed over, received by number, and stay deferred when given back."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    queue.defer(received(queue, 0).lock_token, 0, {"step": 2})
    assert queue.deliver(0) is None
    assert queue.counts().deferred == 1
    (entry,) = queue.receive_deferred([1], 1)
    assert entry.message.read_application_properties() == {"step": 2}
    with pytest.raises(Refused) as refused:
        queue.receive_deferred([1], 1)
    assert refused.value.condition == "com.microsoft:message-not-found"
    queue.abandon(entry.lock_token, 1)
    assert queue.deliver(1) is None
    (entry,) = queue.receive_deferred([1], 1)
    queue.complete(entry.lock_token, 1)
    assert queue.counts().deferred == 0


def test_receiving_deferred_messages_is_all_or_nothing() -> None:
    """When one number is unknown, none of the messages is locked."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    queue.defer(received(queue, 0).lock_token, 0)
    with pytest.raises(Refused):
        queue.receive_deferred([1, 2], 0)
    assert queue.counts().deferred == 1


def test_a_deferred_message_expires_when_it_is_asked_for() -> None:
    """Deferred messages do not expire on their own, but are not delivered after their time."""
    queue = make_queue()
    queue.send(make_message("a", ttl_ms=1000), 0)
    queue.defer(received(queue, 0).lock_token, 0)
    queue.advance(500)
    assert queue.counts().deferred == 1
    with pytest.raises(Refused):
        queue.receive_deferred([1], 500)
    assert queue.counts().dead_lettered == 1


def test_receive_and_delete_leaves_nothing_behind() -> None:
    """A message received for deletion is gone at once."""
    queue = make_queue()
    queue.send(make_message("a"), 0)
    entry = queue.deliver(0, delete=True)
    assert entry is not None
    assert entry.state is State.GONE
    assert events(queue) == ["enqueued", "delivered", "completed"]
    queue.advance(10**6)
    assert queue.counts().active == 0


def test_peeks_in_order_from_a_number_without_locking() -> None:
    """Peeking shows ready, locked, deferred and scheduled messages and changes none of them."""
    queue = make_queue()
    for name in "abcd":
        queue.send(make_message(name), 0)
    queue.defer(received(queue, 0).lock_token, 0)
    received(queue, 0)
    queue.complete(received(queue, 0).lock_token, 0)
    queue.schedule(make_message("e", scheduled_for_ms=10**6), 0)
    states = [(e.sequence_number, e.state.value) for e in queue.peek(0, 10, 1)]
    assert states == [(1, "deferred"), (2, "locked"), (4, "ready"), (5, "scheduled")]
    assert [e.sequence_number for e in queue.peek(3, 1, 1)] == [4]


def test_refuses_a_message_that_is_too_large() -> None:
    """256 KiB is the most a message may have."""
    queue = make_queue()
    with pytest.raises(Refused) as refused:
        queue.send(make_message("a", body=b"x" * MAX_MESSAGE_BYTES), 0)
    assert refused.value.condition == "amqp:link:message-size-exceeded"


def test_names_the_next_deadline() -> None:
    """The deadline is the earliest of all timers, dead letters' locks included."""
    queue = make_queue(replace(SETTINGS, default_ttl_seconds=math.inf))
    assert queue.next_deadline() is None
    queue.schedule(make_message("later", scheduled_for_ms=500_000), 0)
    assert queue.next_deadline() == 500
    queue.send(make_message("a", ttl_ms=300_000), 0)
    assert queue.next_deadline() == 300
    queue.dead_letter(received(queue, 1).lock_token, 1)
    received(dead_letters(queue), 1)
    assert queue.next_deadline() == 61


def test_queue_names_are_case_insensitive() -> None:
    """A queue and its dead letters are found whatever the case of the name."""
    namespace = Namespace([SETTINGS], lambda: b"")
    queue = namespace.find("ORDERS")
    assert queue is not None
    assert namespace.find("Orders/$DeadLetterQueue") is queue.dead_letters
    assert namespace.find("others") is None


class QueueLife(RuleBasedStateMachine):
    """Whatever is done in whatever order, each message is in exactly one place."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = make_queue(replace(SETTINGS, default_ttl_seconds=200))
        self.now = 0.0
        self.names = itertools.count(1)
        self.tokens: list[bytes] = []

    @rule(ttl=st.sampled_from([None, 30_000, 500_000]), later=st.sampled_from([None, 10, 90]))
    def send(self, ttl: int | None, later: int | None) -> None:
        when = None if later is None else int((self.now + later) * 1000)
        self.queue.send(
            make_message(str(next(self.names)), ttl_ms=ttl, scheduled_for_ms=when), self.now
        )

    @rule(seconds=st.sampled_from([1, 20, 61]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.queue.advance(self.now)

    @rule()
    def receive(self) -> None:
        entry = self.queue.deliver(self.now)
        if entry is not None:
            self.tokens.append(entry.lock_token)

    @rule(
        which=st.integers(0, 10),
        how=st.sampled_from(["complete", "abandon", "release", "defer", "dead_letter"]),
    )
    def settle(self, which: int, how: str) -> None:
        if self.tokens:
            token = self.tokens[which % len(self.tokens)]
            with contextlib.suppress(Refused):  # locks end
                getattr(self.queue, how)(token, self.now)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        places = [self.queue, dead_letters(self.queue)]
        kept = [e for q in places for e in q._entries.values()]
        ended = [e for e in self.queue._ledger.after(0) if e.event in ("completed", "expired")]
        assert len(kept) + len(ended) == next(self.names) - 1
        self.names = itertools.count(len(kept) + len(ended) + 1)
        ids = [e.message.message_id for e in kept] + [e.message_id for e in ended]
        assert len(set(ids)) == len(ids)
        for queue in places:
            for state in State:
                held = [e for e in queue._entries.values() if e.state is state]
                assert queue._counts[state] == len(held)
            assert set(queue._entries) <= set(queue._order)
            assert queue._order == sorted(queue._order)


QueueLife.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
test_messages_are_conserved = QueueLife.TestCase
