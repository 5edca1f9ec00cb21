"""The broker as the unmodified azure-servicebus library sees it."""

import asyncio
import contextlib
import datetime
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceivedMessage,
    ServiceBusReceiveMode,
    ServiceBusReceiver,
    ServiceBusSender,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import AutoLockRenewer as AsyncAutoLockRenewer
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType, AmqpMessageHeader
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)

from tests.local.broker_process import BrokerProcess, until

QUEUES_PER_KIND = 80
KINDS = {
    "standard": {
        "lockDuration": "PT1M",
        "maxDeliveryCount": 3,
        "defaultMessageTimeToLive": "PT1H",
        "deadLetteringOnMessageExpiration": True,
        "requiresDuplicateDetection": True,
        "duplicateDetectionHistoryTimeWindow": "PT10M",
    },
    "brief": {"lockDuration": "PT0.3S", "maxDeliveryCount": 2},
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    path: Path = tmp_path_factory.mktemp("broker") / "config.json"
    names = [(f"{kind}-{n}", KINDS[kind]) for kind in KINDS for n in range(QUEUES_PER_KIND)]
    config = {
        "queues": [{"name": name, "properties": properties} for name, properties in names],
        "authorizationRules": [
            {"keyName": "k", "key": "c2Vj", "rights": ["Send", "Listen"]},
            {"keyName": "sender", "key": "c2Vu", "rights": ["Send"]},
            {"keyName": "listener", "key": "bGlz", "rights": ["Listen"]},
        ],
    }
    path.write_text(json.dumps(config))
    with BrokerProcess.running(["--config", str(path)]) as running:
        yield running


@dataclass(frozen=True)
class Opened:
    """A fresh queue and clients that are connected to it."""

    queue: str
    client: ServiceBusClient
    sender: ServiceBusSender
    receiver: ServiceBusReceiver
    dead_letters: ServiceBusReceiver


class Opener:
    """Opens and closes clients in the background: the library sleeps through most of that."""

    def __init__(self, connection_string: str) -> None:
        self._connection_string = connection_string
        self._queues = iter([f"standard-{n}" for n in range(QUEUES_PER_KIND)])
        self._pool = ThreadPoolExecutor(64)
        self._opening = deque(self._start() for _ in range(4))

    def _start(self) -> Future[Opened]:
        return self._pool.submit(self._open, next(self._queues))

    def _open(self, queue: str) -> Opened:
        client = connect(self._connection_string)
        opened = Opened(
            queue,
            client,
            client.get_queue_sender(queue),
            client.get_queue_receiver(queue),
            client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER),
        )
        handlers = (opened.sender, opened.receiver, opened.dead_letters)
        list(self._pool.map(lambda handler: handler.__enter__(), handlers))
        return opened

    def take(self) -> Opened:
        self._opening.append(self._start())
        return self._opening.popleft().result()

    def close_later(self, close: Callable[[], object]) -> None:
        def close_quietly() -> None:
            with contextlib.suppress(Exception):  # the broker may be gone by then
                close()

        threading.Thread(target=close_quietly, daemon=True).start()

    def close(self) -> None:
        """Leave what is still open to the end of the process: the broker is about to stop."""
        self._pool.shutdown()


def connect(connection_string: str) -> ServiceBusClient:
    return ServiceBusClient.from_connection_string(
        connection_string, retry_total=0, retry_backoff_factor=0.05
    )


@pytest.fixture(scope="module")
def opener(broker: BrokerProcess) -> Iterator[Opener]:
    opener = Opener(broker.connection_string)
    yield opener
    opener.close()


@pytest.fixture
def opened(opener: Opener) -> Iterator[Opened]:
    opened = opener.take()
    yield opened
    opener.close_later(opened.client.close)


@pytest.fixture
def stack(opener: Opener) -> Iterator[ExitStack]:
    """What a test opens besides; it is closed some time after the test."""
    stack = ExitStack()
    yield stack
    opener.close_later(stack.close)


@pytest.fixture
def queue(opened: Opened) -> str:
    """A fresh queue."""
    return opened.queue


@pytest.fixture
def client(opened: Opened) -> ServiceBusClient:
    return opened.client


@pytest.fixture
def sender(opened: Opened) -> ServiceBusSender:
    return opened.sender


@pytest.fixture
def receiver(opened: Opened) -> ServiceBusReceiver:
    return opened.receiver


@pytest.fixture
def dead_letters(opened: Opened) -> ServiceBusReceiver:
    return opened.dead_letters


@pytest.fixture(scope="module")
def unused_brief() -> Iterator[str]:
    return iter([f"brief-{n}" for n in range(QUEUES_PER_KIND)])


@pytest.fixture
def brief(unused_brief: Iterator[str]) -> str:
    """A fresh queue with locks of 0.3 s and two deliveries."""
    return next(unused_brief)


def one(receiver: ServiceBusReceiver, wait: float = 5) -> ServiceBusReceivedMessage:
    (message,) = receiver.receive_messages(1, max_wait_time=wait)
    return message


def none(receiver: ServiceBusReceiver, wait: float = 0.2) -> bool:
    return receiver.receive_messages(1, max_wait_time=wait) == []


def open_all[H: ServiceBusSender | ServiceBusReceiver](stack: ExitStack, *handlers: H) -> list[H]:
    """Open senders or receivers at the same time: the library sleeps half a second in each."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda handler: handler.__enter__(), handlers))
    for handler in handlers:
        stack.callback(handler.close)
    return list(handlers)


def errors_of(*actions: Callable[[], object]) -> list[type[Exception]]:
    """The errors of actions that must fail, all tried at once: the library takes a second each."""

    def error_of(action: Callable[[], object]) -> type[Exception]:
        with pytest.raises(ServiceBusError) as raised:
            action()
        return raised.type

    with ThreadPoolExecutor() as pool:
        return list(pool.map(error_of, actions))


def dead_letters_of(client: ServiceBusClient, stack: ExitStack, queue: str) -> ServiceBusReceiver:
    return stack.enter_context(
        client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    )


def by_lock_token(message: ServiceBusReceivedMessage) -> ServiceBusReceivedMessage:
    """A stand-in that has the lock token only, which the library settles over $management."""
    from azure.servicebus._pyamqp.message import Message

    raw = Message(data=[b""])
    stand_in = ServiceBusReceivedMessage(raw, receiver=None, lock_token=message.lock_token)
    stand_in._is_deferred_message = True
    return stand_in


def test_a_message_arrives_as_it_was_sent(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Body, properties and typed application properties survive unchanged."""
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    identifier = uuid.uuid4()
    sender.send_messages(
        ServiceBusMessage(
            b"\x00\xff raw bytes",
            message_id="id-1",
            correlation_id="corr",
            subject="subject",
            content_type="application/json",
            reply_to="answers",
            to="somewhere",
            partition_key="pk",
            application_properties={
                "int": 7,
                "float": 1.5,
                "text": "ä",
                "yes": True,
                "uuid": identifier,
                "when": when,  # type: ignore[dict-item]
            },
        )
    )
    message = one(receiver)
    assert b"".join(message.body) == b"\x00\xff raw bytes"
    assert message.body_type == AmqpMessageBodyType.DATA
    assert message.message_id == "id-1"
    assert message.correlation_id == "corr"
    assert message.subject == "subject"
    assert message.content_type == "application/json"
    assert message.reply_to == "answers"
    assert message.to == "somewhere"
    assert message.partition_key == "pk"
    properties = message.application_properties or {}
    assert properties[b"when"] == int(when.timestamp() * 1000)
    assert {k: v for k, v in properties.items() if k != b"when"} == {
        b"int": 7,
        b"float": 1.5,
        b"text": "ä".encode(),
        b"yes": True,
        b"uuid": identifier,
    }
    assert message.sequence_number == 1
    assert message.delivery_count == 0
    assert message.enqueued_time_utc is not None
    assert message.locked_until_utc is not None
    assert message.locked_until_utc - message.enqueued_time_utc >= datetime.timedelta(seconds=60)
    assert message.time_to_live == datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    "body", [{"value_body": {"a": [1, None]}}, {"sequence_body": [[1, 2], ["x"]]}]
)
def test_value_and_sequence_bodies_stay_what_they_are(
    sender: ServiceBusSender, receiver: ServiceBusReceiver, body: dict[str, Any]
) -> None:
    """A body of any AMQP type arrives as that type."""
    sent = AmqpAnnotatedMessage(**body, annotations={"x-mine": "kept"}, footer={"f": 1})
    sender.send_messages(sent)
    message = one(receiver)
    raw = message.raw_amqp_message
    assert raw.body_type == sent.body_type
    content = raw.body if "value_body" in body else list(raw.body)
    assert content == ({b"a": [1, None]} if "value_body" in body else [[1, 2], [b"x"]])
    assert raw.annotations is not None
    assert raw.annotations[b"x-mine"] == b"kept"
    assert raw.footer == {b"f": 1}


def test_delivery_annotations_come_through_with_the_lock_token(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """A receiver gets a publisher's delivery annotations, and the lock token as one more."""
    sender.send_messages(AmqpAnnotatedMessage(data_body=b"", delivery_annotations={"mine": 1}))
    message = one(receiver)
    annotations = message.raw_amqp_message.delivery_annotations
    assert annotations == {b"mine": 1, b"x-opt-lock-token": uuid.UUID(str(message.lock_token))}
    assert message.state == ServiceBusMessageState.ACTIVE
    (peeked,) = receiver.peek_messages(sequence_number=1)
    assert peeked.raw_amqp_message.delivery_annotations == {b"mine": 1}


def test_a_message_without_an_id_gets_one(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Each gets a different id, so that none counts as a duplicate."""
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    ids = {one(receiver).message_id, one(receiver).message_id}
    assert len(ids) == 2
    assert None not in ids


def test_large_messages_pass_and_too_large_ones_do_not(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Nearly 256 KiB go through in several frames; more is refused."""
    body = bytes(range(256)) * 1020
    sender.send_messages(ServiceBusMessage(body))
    assert b"".join(one(receiver).body) == body
    with pytest.raises(MessageSizeExceededError):
        sender.send_messages(ServiceBusMessage(b"x" * 263_000))


def test_dead_lettering_says_why_and_keeps_the_number(
    sender: ServiceBusSender, receiver: ServiceBusReceiver, dead_letters: ServiceBusReceiver
) -> None:
    """A dead letter has its reason, description, old sequence number and enqueued time."""
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    receiver.complete_message(one(receiver))
    message = one(receiver)
    receiver.dead_letter_message(message, reason="Malformed", error_description="not ours")
    dead = one(dead_letters)
    assert (dead.dead_letter_reason, dead.dead_letter_error_description) == (
        "Malformed",
        "not ours",
    )
    assert dead.sequence_number == message.sequence_number == 2
    assert dead.enqueued_time_utc == message.enqueued_time_utc
    dead_letters.complete_message(dead)
    assert none(dead_letters)


def test_dead_lettering_with_too_long_a_reason_is_refused(
    client: ServiceBusClient,
    stack: ExitStack,
    sender: ServiceBusSender,
    receiver: ServiceBusReceiver,
    queue: str,
) -> None:
    """On the link and by lock token, 4,097 characters are too many, and the lock stays."""
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    first, second = one(receiver), one(receiver)
    with pytest.raises(ServiceBusError, match="4097"):
        receiver.dead_letter_message(first, reason="r" * 4097)
    # The library closes a receiver after such an error.
    other = stack.enter_context(client.get_queue_receiver(queue))
    with pytest.raises(ServiceBusError, match="4097"):
        other.dead_letter_message(by_lock_token(second), error_description="d" * 4097)
    other = stack.enter_context(client.get_queue_receiver(queue))
    other.complete_message(by_lock_token(first))
    other.complete_message(by_lock_token(second))


def test_a_deferred_message_is_received_by_its_number(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Deferred messages wait for their number to be asked for, then settle like all others."""
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    for message in receiver.receive_messages(2, max_wait_time=5):
        receiver.defer_message(message)
    assert none(receiver)
    states = [m.state for m in receiver.peek_messages(5, sequence_number=1)]
    assert states == [ServiceBusMessageState.DEFERRED] * 2
    first, second = receiver.receive_deferred_messages([1, 2])
    assert (str(first), first.sequence_number) == ("a", 1)
    assert first.state == ServiceBusMessageState.DEFERRED
    receiver.renew_message_lock(first)
    receiver.complete_message(first)
    receiver.abandon_message(second)
    (second,) = receiver.receive_deferred_messages(2)
    receiver.dead_letter_message(second, reason="R")
    with pytest.raises(MessageNotFoundError):
        receiver.receive_deferred_messages(2)


def test_receives_deferred_messages_for_deletion(
    client: ServiceBusClient, stack: ExitStack, sender: ServiceBusSender, queue: str
) -> None:
    """In receive-and-delete mode a deferred message is gone once it is received."""
    sender.send_messages(ServiceBusMessage("a"))
    receiver = stack.enter_context(client.get_queue_receiver(queue))
    receiver.defer_message(one(receiver))
    deleting = stack.enter_context(
        client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    )
    assert [str(m) for m in deleting.receive_deferred_messages(1)] == ["a"]
    assert receiver.peek_messages(5) == []


def test_receive_and_delete_needs_no_settlement(
    broker: BrokerProcess,
    client: ServiceBusClient,
    stack: ExitStack,
    sender: ServiceBusSender,
    queue: str,
) -> None:
    """In receive-and-delete mode messages are gone once they are sent out."""
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(5)])
    receiver = stack.enter_context(
        client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    )
    assert [str(m) for m in receiver.receive_messages(5, max_wait_time=5)] == list("01234")
    assert broker.counts(queue)["active"] == 0


def test_no_more_messages_are_handed_out_than_asked_for(
    broker: BrokerProcess, sender: ServiceBusSender, receiver: ServiceBusReceiver, queue: str
) -> None:
    """A receiver's credit is respected."""
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(10)])
    assert broker.counts(queue)["locked"] == 0
    receiver.receive_messages(3, max_wait_time=5)
    assert broker.counts(queue)["locked"] == 3


def test_prefetch_locks_ahead_and_closing_gives_back(
    broker: BrokerProcess,
    client: ServiceBusClient,
    sender: ServiceBusSender,
    queue: str,
) -> None:
    """What a receiver has prefetched and not used is given back uncounted when it closes."""
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(10)])
    with client.get_queue_receiver(queue, prefetch_count=8) as receiver:
        receiver.complete_message(one(receiver))
        until(lambda: broker.counts(queue)["locked"] >= 7, "prefetched")
    until(lambda: broker.counts(queue)["locked"] == 0, "given back")
    with client.get_queue_receiver(queue) as receiver:
        messages = receiver.receive_messages(9, max_wait_time=5)
    assert {m.delivery_count for m in messages} == {0}


def test_a_lock_that_expires_gives_the_message_back(
    client: ServiceBusClient, stack: ExitStack, brief: str
) -> None:
    """After the lock's end another receiver gets the message; the first cannot settle it."""
    first, second = open_all(stack, *[client.get_queue_receiver(brief) for _ in range(2)])
    stack.enter_context(client.get_queue_sender(brief)).send_messages(ServiceBusMessage("a"))
    message = one(first)
    again = one(second)
    assert again.delivery_count == 1
    message._expiry = None  # else the library does not even ask
    with pytest.raises(MessageLockLostError):
        first.complete_message(message)
    with pytest.raises(MessageLockLostError):
        first.renew_message_lock(message)
    with pytest.raises(MessageLockLostError):
        first.complete_message(by_lock_token(message))
    second.complete_message(again)


@pytest.mark.parametrize("outcome", ["complete", "abandon", "defer", "dead_letter"])
def test_another_receiver_settles_by_lock_token(
    broker: BrokerProcess,
    stack: ExitStack,
    sender: ServiceBusSender,
    receiver: ServiceBusReceiver,
    queue: str,
    outcome: str,
    dead_letters: ServiceBusReceiver,
) -> None:
    """With the lock token alone, a second receiver settles; the first finds its lock gone."""
    sender.send_messages(ServiceBusMessage("a"))
    message = one(receiver)
    other = stack.enter_context(connect(broker.connection_string))
    settling = stack.enter_context(other.get_queue_receiver(queue))
    arguments = {}
    if outcome == "dead_letter":
        arguments = {"reason": "Refused", "error_description": "by the Face API"}
    getattr(settling, f"{outcome}_message")(by_lock_token(message), **arguments)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    counts = broker.counts(queue)
    where = {"abandon": "active", "defer": "deferred", "dead_letter": "dead_lettered"}
    assert {k: n for k, n in counts.items() if n} == (
        {} if outcome == "complete" else {where[outcome]: 1}
    )
    if outcome == "dead_letter":
        dead = one(dead_letters)
        assert dead.dead_letter_reason == "Refused"
        assert dead.dead_letter_error_description == "by the Face API"


def test_dead_letters_settle_by_lock_token_too(
    client: ServiceBusClient,
    stack: ExitStack,
    sender: ServiceBusSender,
    receiver: ServiceBusReceiver,
    dead_letters: ServiceBusReceiver,
    queue: str,
) -> None:
    """The dead-letter queue has a separate management node."""
    sender.send_messages(ServiceBusMessage("a"))
    receiver.dead_letter_message(one(receiver), reason="R")
    assert [m.dead_letter_reason for m in dead_letters.peek_messages(5)] == ["R"]
    dead = one(dead_letters)
    dead_letters.renew_message_lock(dead)
    with pytest.raises(ServiceBusError, match="already"):
        dead_letters.dead_letter_message(by_lock_token(dead))
    other = dead_letters_of(client, stack, queue)  # the library has closed the first one
    other.complete_message(by_lock_token(dead))
    assert other.peek_messages(5) == []


def test_scheduled_messages_arrive_on_time(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Scheduled by the operation or by an annotation, a message arrives at its time, not before."""
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.8)
    (number,) = sender.schedule_messages(ServiceBusMessage("scheduled"), soon)
    sender.send_messages(ServiceBusMessage("annotated", scheduled_enqueue_time_utc=soon))
    peeked = receiver.peek_messages(5)
    assert [(m.sequence_number, m.state) for m in peeked] == [
        (number, ServiceBusMessageState.SCHEDULED),
        (number + 1, ServiceBusMessageState.SCHEDULED),
    ]
    got = [one(receiver), one(receiver)]
    assert {str(m) for m in got} == {"scheduled", "annotated"}
    for message in got:
        assert message.enqueued_time_utc is not None
        late = (message.enqueued_time_utc - soon).total_seconds()
        assert -0.01 <= late < 0.5
        assert message.scheduled_enqueue_time_utc is not None
        assert abs((message.scheduled_enqueue_time_utc - soon).total_seconds()) < 0.001


def test_batches_are_unpacked(sender: ServiceBusSender, receiver: ServiceBusReceiver) -> None:
    """Each message of a batch arrives separately, also in a batch of one."""
    for size in (1, 20):
        batch = sender.create_message_batch()
        for n in range(size):
            batch.add_message(ServiceBusMessage(f"{n}", message_id=f"{size}/{n}", subject="s"))
        sender.send_messages(batch)
        messages = receiver.receive_messages(size, max_wait_time=5)
        while len(messages) < size:
            messages += receiver.receive_messages(size - len(messages), max_wait_time=5)
        assert [(str(m), m.message_id, m.subject) for m in messages] == [
            (f"{n}", f"{size}/{n}", "s") for n in range(size)
        ]


def test_peeking_pages_without_locking(
    broker: BrokerProcess, sender: ServiceBusSender, receiver: ServiceBusReceiver, queue: str
) -> None:
    """Peeking goes on from where it stopped, or from a given number, and locks nothing."""
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(7)])
    assert [str(m) for m in receiver.peek_messages(4)] == list("0123")
    assert [str(m) for m in receiver.peek_messages(4)] == list("456")
    assert receiver.peek_messages(4) == []
    peeked = receiver.peek_messages(2, sequence_number=6)
    assert [m.sequence_number for m in peeked] == [6, 7]
    assert broker.counts(queue)["locked"] == 0


def test_many_threads_may_peek_with_one_receiver(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """Each gets its answer, though the library then numbers its requests irregularly."""
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(10)])
    receiver.peek_messages(1)
    with ThreadPoolExecutor(10) as pool:
        peeked = pool.map(lambda n: receiver.peek_messages(1, sequence_number=n + 1), range(10))
    assert [str(message) for (message,) in peeked] == [str(n) for n in range(10)]


def test_several_receivers_share_the_work(
    client: ServiceBusClient, stack: ExitStack, sender: ServiceBusSender, queue: str
) -> None:
    """Receivers that wait are served in turn."""
    receivers = open_all(
        stack, *[client.get_queue_receiver(queue, prefetch_count=10) for _ in range(2)]
    )
    for receiver in receivers:
        assert none(receiver, 0.05)  # now each has credit outstanding
    sender.send_messages([ServiceBusMessage(str(n)) for n in range(20)])
    shares = [len(r.receive_messages(20, max_wait_time=1)) for r in receivers]
    assert sum(shares) == 20
    assert min(shares) >= 5


def test_only_valid_tokens_open_anything(broker: BrokerProcess, queue: str) -> None:
    """A wrong key, an unknown key name and an expired token are all refused."""
    from azure.servicebus._pyamqp.utils import generate_sas_token

    address = f"127.0.0.1:{broker.facts['port']}"
    expiry = int(time.time()) - 5
    token = generate_sas_token(f"sb://{address}/{queue}", "k", "c2Vj", expiry)  # type: ignore[no-untyped-call]
    connection_strings = (
        broker.with_key("k", "d3Jvbmc="),
        broker.with_key("nobody", "c2Vj"),
        f"Endpoint=sb://{address};SharedAccessSignature={token};UseDevelopmentEmulator=true;",
    )
    errors = errors_of(
        *(connect(text).get_queue_sender(queue).__enter__ for text in connection_strings)
    )
    assert errors == [ServiceBusAuthenticationError] * 3


def test_rights_are_enforced(broker: BrokerProcess, stack: ExitStack, queue: str) -> None:
    """A key that may only send cannot receive, and vice versa."""
    may_send = connect(broker.with_key("sender", "c2Vu"))
    stack.enter_context(may_send.get_queue_sender(queue)).send_messages(ServiceBusMessage("a"))
    may_listen = connect(broker.with_key("listener", "bGlz"))
    receiver = stack.enter_context(may_listen.get_queue_receiver(queue))
    receiver.complete_message(one(receiver))
    errors = errors_of(
        may_send.get_queue_receiver(queue).__enter__, may_listen.get_queue_sender(queue).__enter__
    )
    assert errors == [ServiceBusAuthorizationError] * 2


def test_an_unknown_queue_is_not_found(client: ServiceBusClient) -> None:
    """There is no queue but the configured ones."""
    errors = errors_of(
        client.get_queue_receiver("nowhere").__enter__, client.get_queue_sender("nowhere").__enter__
    )
    assert errors == [MessagingEntityNotFoundError] * 2


def test_unknown_operations_are_answered(receiver: ServiceBusReceiver) -> None:
    """An operation that is not emulated gets an error, not silence."""
    from azure.servicebus._common import mgmt_handlers

    for operation in (b"com.microsoft:get-session-state", b"com.microsoft:invented"):
        with pytest.raises(ServiceBusError, match="not emulated") as refused:
            receiver._mgmt_request_response(
                operation, {"session-id": "s"}, mgmt_handlers.default, timeout=5
            )
        assert "501" in str(refused.value)


def test_a_message_with_a_durable_header_and_priority_keeps_them(
    sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    """The header fields a publisher sets come through."""
    header = AmqpMessageHeader(durable=True, priority=7)
    sender.send_messages(AmqpAnnotatedMessage(data_body=b"x", header=header))
    received = one(receiver).raw_amqp_message.header
    assert received is not None
    assert (received.durable, received.priority) == (True, 7)


@pytest.mark.timeout(180)
async def test_hundreds_of_locks_are_kept_by_the_renewer(tmp_path: Path) -> None:
    """With 300 messages under renewal for two lock durations, no lock is lost."""
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"queues": [{"name": "queue", "properties": {"lockDuration": "PT6S"}}]})
    )
    with BrokerProcess.running(["--config", str(config)]) as broker:
        client = AsyncServiceBusClient.from_connection_string(broker.connection_string)
        renewer = AsyncAutoLockRenewer(max_lock_renewal_duration=60)
        async with (
            client,
            client.get_queue_sender("queue") as sender,
            client.get_queue_receiver("queue", auto_lock_renewer=renewer) as receiver,
        ):
            await sender.send_messages([ServiceBusMessage("x") for _ in range(300)])
            messages: list[ServiceBusReceivedMessage] = []
            while len(messages) < 300:
                messages += await receiver.receive_messages(300 - len(messages))
            await asyncio.sleep(12)
            for message in messages:
                await receiver.complete_message(message)
            await renewer.close()
        events = [event["event"] for event in broker.events("queue")]
    assert events.count("completed") == 300
    assert "lock_expired" not in events


async def test_the_asynchronous_library_does_it_all(broker: BrokerProcess, queue: str) -> None:
    """Send, batch, schedule, cancel, receive, renew, settle all ways, defer and peek, with aio."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    client = AsyncServiceBusClient.from_connection_string(broker.connection_string)
    sender = client.get_queue_sender(queue)
    receiver, other = client.get_queue_receiver(queue), client.get_queue_receiver(queue)
    dead_letters = client.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    handlers = (sender, receiver, other, dead_letters)
    await asyncio.gather(*(handler.__aenter__() for handler in handlers))

    batch = await sender.create_message_batch()
    for name in "abcdef":
        batch.add_message(ServiceBusMessage(name))
    await sender.send_messages(batch)
    numbers = await sender.schedule_messages(ServiceBusMessage("later"), later)
    await sender.cancel_scheduled_messages(numbers)
    with pytest.raises(MessageNotFoundError):
        await sender.cancel_scheduled_messages(numbers)

    assert len(await receiver.peek_messages(10)) == 6
    a, b, c, d, e, f = await receiver.receive_messages(6, max_wait_time=5)
    await receiver.renew_message_lock(a)
    await receiver.complete_message(a)
    await receiver.abandon_message(b)
    await receiver.defer_message(c)
    await receiver.dead_letter_message(d, reason="R", error_description="D")
    await other.dead_letter_message(by_lock_token(e), reason="T", error_description="U")
    await other.complete_message(by_lock_token(f))
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(e)
    assert c.sequence_number is not None
    (deferred,) = await receiver.receive_deferred_messages([c.sequence_number])
    await receiver.complete_message(deferred)
    (again,) = await receiver.receive_messages(1, max_wait_time=5)
    assert (str(again), again.delivery_count) == ("b", 1)
    await receiver.complete_message(again)

    dead = await dead_letters.receive_messages(2, max_wait_time=5)
    assert [(m.dead_letter_reason, m.dead_letter_error_description) for m in dead] == [
        ("R", "D"),
        ("T", "U"),
    ]
    for message in dead:
        await dead_letters.complete_message(message)
    assert not any(broker.counts(queue).values())
    await asyncio.gather(*(handler.close() for handler in handlers))
