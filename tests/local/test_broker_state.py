"""What the broker keeps when it is stopped or killed, and many processes at one queue."""

import contextlib
import datetime
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceiver,
    ServiceBusSender,
)
from azure.servicebus.exceptions import ServiceBusError

from tests.local.broker_process import BrokerProcess, until

QUEUE = "session-revoked"


def connect(broker: BrokerProcess) -> ServiceBusClient:
    return ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)


@contextlib.contextmanager
def open_both(broker: BrokerProcess) -> Iterator[tuple[ServiceBusSender, ServiceBusReceiver]]:
    """A sender and a receiver, opened and closed at the same time: each takes a second."""
    client = connect(broker)
    sender, receiver = client.get_queue_sender(QUEUE), client.get_queue_receiver(QUEUE)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda handler: handler.__enter__(), (sender, receiver)))
        yield sender, receiver
        list(pool.map(lambda handler: handler.close(), (sender, receiver)))


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """Messages in every state, numbers, seen ids and the ledger are there after a restart."""
    state = ["--state", str(tmp_path / "state.sqlite")]
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    with BrokerProcess.running(state) as broker:
        with open_both(broker) as (sender, receiver):
            for name in ("dead", "deferred", "abandoned", "done", "locked"):
                sender.send_messages(
                    ServiceBusMessage(name, message_id=name, application_properties={"n": 1})
                )
            sender.schedule_messages(ServiceBusMessage("later", message_id="later"), later)
            dead, deferred, abandoned, done, _ = receiver.receive_messages(5, max_wait_time=5)
            receiver.dead_letter_message(dead, reason="R", error_description="D")
            receiver.defer_message(deferred)
            receiver.abandon_message(abandoned)
            receiver.complete_message(done)
        before = broker.control("GET", "/ledger")
        assert broker.stop() == 0
    with BrokerProcess.running(state) as broker:
        events = broker.control("GET", "/ledger")
        assert events[: len(before)] == before
        assert [(e["event"], e["reason"]) for e in events[len(before) :]] == [
            ("lock_expired", "BrokerRestarted")
        ]
        assert broker.counts(QUEUE) == {
            "active": 2,
            "locked": 0,
            "scheduled": 1,
            "deferred": 1,
            "dead_lettered": 1,
        }
        (letter,) = broker.control("GET", f"/messages?queue={QUEUE}&dead_letter=1")
        assert (letter["message_id"], letter["reason"], letter["sequence_number"]) == (
            "dead",
            "R",
            1,
        )
        with open_both(broker) as (sender, receiver):
            sender.send_messages(ServiceBusMessage("again", message_id="done"))  # a duplicate
            sender.send_messages(ServiceBusMessage("new", message_id="new"))
            got = receiver.receive_messages(5, max_wait_time=5)
            while len(got) < 3:
                got += receiver.receive_messages(5, max_wait_time=5)
            assert [(str(m), m.sequence_number, m.delivery_count) for m in got] == [
                ("abandoned", 3, 1),
                ("locked", 5, 1),
                ("new", 8, 0),
            ]
            assert got[0].application_properties == {b"n": 1}
            (again,) = receiver.receive_deferred_messages(2)
            assert str(again) == "deferred"


def test_nothing_that_was_acknowledged_is_lost_in_a_crash(tmp_path: Path) -> None:
    """After SIGKILL in the middle of sending, each acknowledged message is there once."""
    state = ["--state", str(tmp_path / "state.sqlite")]
    acknowledged: list[str] = []

    def send(client: ServiceBusClient, who: int) -> None:
        with contextlib.suppress(ServiceBusError), client.get_queue_sender(QUEUE) as sender:
            for number in range(100_000):
                name = f"{who}/{number}"
                sender.send_messages(ServiceBusMessage(name, message_id=name), timeout=5)
                acknowledged.append(name)

    with BrokerProcess.running(state) as broker:
        clients = [connect(broker) for _ in range(3)]
        senders = [
            threading.Thread(target=send, args=(client, who), daemon=True)
            for who, client in enumerate(clients)
        ]
        for thread in senders:
            thread.start()
        until(lambda: len(acknowledged) > 300, "300 messages sent")
        broker.kill()
        for thread in senders:
            thread.join(10)
    with BrokerProcess.running(state) as broker:
        found: Counter[str] = Counter()
        start = 0
        while page := broker.control("GET", f"/messages?queue={QUEUE}&from={start}"):
            found.update(m["message_id"] for m in page)
            start = page[-1]["sequence_number"] + 1
        assert set(acknowledged) <= set(found)
        assert max(found.values()) == 1


CONSUMER = """
import os, sys
from azure.servicebus import ServiceBusClient
with ServiceBusClient.from_connection_string(sys.argv[1]) as client:
    with client.get_queue_receiver("session-revoked", prefetch_count=20) as receiver:
        while messages := receiver.receive_messages(20, max_wait_time=0.5):
            for message in messages:
                receiver.complete_message(message)
                print(message, flush=True)
        os._exit(0)  # closing takes the library a second
"""


def test_competing_processes_share_each_message_once() -> None:
    """Three consumer processes complete 900 messages, each message exactly once."""
    with BrokerProcess.running() as broker:
        sender = connect(broker).get_queue_sender(QUEUE)
        for start in range(0, 900, 100):
            batch = sender.create_message_batch()
            for number in range(start, start + 100):
                batch.add_message(ServiceBusMessage(str(number)))
            sender.send_messages(batch)
        consumers = [
            subprocess.Popen(
                [sys.executable, "-c", CONSUMER, broker.connection_string],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        outputs = [consumer.communicate(timeout=30)[0].split() for consumer in consumers]
        assert sorted(int(n) for output in outputs for n in output) == list(range(900))
        assert not any(broker.counts(QUEUE).values())
        completed = [e for e in broker.events(QUEUE) if e["event"] == "completed"]
        assert len({e["sequence_number"] for e in completed}) == len(completed) == 900
