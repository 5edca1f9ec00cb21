"""The local Functions host: it completes, abandons and drains as the platform's host does."""

import asyncio
import json
import signal
import textwrap
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage

from local.cloud import Service, ServiceFailed
from local.host.configuration import HostError, HostJson, Retries, read_host_json
from local.host.trigger import resolve

from .broker_process import OwnQueue

APP = """
import asyncio, os, pathlib
import azure.functions as func

app = func.FunctionApp()
seen = pathlib.Path(os.environ["SEEN"])

@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%QUEUE%", connection="Connection", data_type=func.DataType.BINARY
)
async def work(message: func.ServiceBusMessage) -> None:
    body = message.get_body().decode(errors="replace")
    with seen.open("a") as file:
        file.write(f"{body} {message.delivery_count} {message.message_id}\\n")
    if body == "raise":
        raise ValueError("as asked")
    if body.startswith("sleep"):
        await asyncio.sleep(float(body.split()[1]))
    if body == "hang" and message.delivery_count == 1:
        await asyncio.sleep(60)
"""
HANDLER = """
import signal

def flush(number, frame):
    seen.write_text("flushed in a loop" if asyncio.get_running_loop() else "")
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)

asyncio.get_running_loop()
signal.signal(signal.SIGTERM, flush)
"""
BODY = "    body = message"
SHOW_TASKS = (
    BODY,
    """    own = asyncio.current_task()
    async def started():
        return asyncio.current_task().invocation_id
    loop = type(asyncio.get_running_loop()).__module__
    seen.write_text(f"{loop} {own.invocation_id} {await asyncio.create_task(started())}")
    return
    body = message""",
)
SHOW_METADATA = (
    BODY,
    """    import json
    told = message._ServiceBusMessage__trigger_metadata
    seen.write_text(json.dumps({name: [each.type, each.value] for name, each in told.items()}))
    return
    body = message""",
)
HOST_JSON = {"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentCalls": 2}}}


class Hosted:
    """A queue and a host with the app above, in a separate folder."""

    def __init__(self, folder: Path, queue: OwnQueue) -> None:
        self.queue, self.broker = queue.name, queue.broker
        self.seen = folder / "seen"
        self.seen.touch()
        self.log = folder / "host.log"
        (folder / "function_app.py").write_text(textwrap.dedent(APP))
        self.configure()
        self.environment = {
            "QUEUE": queue.name,
            "Connection": queue.broker.connection_string,
            "SEEN": str(self.seen),
        }
        arguments = ["--app", str(folder), "--abort-seconds", "0.3", "0.5"]
        self.service = Service("local.host", arguments, self.log, self.environment)

    def configure(self, **values: Any) -> None:
        """Write host.json, with these values at its top."""
        (self.seen.parent / "host.json").write_text(json.dumps({**HOST_JSON, **values}))

    async def send(self, *bodies: bytes | str | AmqpAnnotatedMessage) -> None:
        async with (
            ServiceBusClient.from_connection_string(self.broker.connection_string) as client,
            client.get_queue_sender(self.queue) as sender,
        ):
            for body in bodies:
                if isinstance(body, AmqpAnnotatedMessage):
                    await sender.send_messages(body)
                else:
                    await sender.send_messages(ServiceBusMessage(body))

    def events(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.broker.events(self.queue) if each["event"] == event]

    async def ended(self, event: str, count: int) -> list[dict[str, Any]]:
        """Wait for `count` of these events; return them."""
        await until(lambda: len(self.events(event)) >= count)
        return self.events(event)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.03)


@pytest.fixture
async def hosted(tmp_path: Path, own_queue: OwnQueue) -> AsyncIterator[Hosted]:
    started = Hosted(tmp_path, own_queue)
    await started.service.start()
    yield started
    await started.service.stop()


async def test_return_completes(hosted: Hosted) -> None:
    """What the function returns from is completed, after one delivery."""
    await hosted.send("a", "b", "c")
    await hosted.ended("completed", 3)
    assert sorted(hosted.seen.read_text().split()[::3]) == ["a", "b", "c"]


async def test_raise_abandons_until_the_broker_gives_up(hosted: Hosted) -> None:
    """A function that raises gets the message again at once, ten times, and then it is dead."""
    await hosted.send("raise")
    [event] = await hosted.ended("dead_lettered", 1)
    assert event["reason"] == "MaxDeliveryCountExceeded"
    counts = [int(line.split()[1]) for line in hosted.seen.read_text().splitlines()]
    assert counts == list(range(1, 11))


async def test_a_message_id_reaches_the_function_as_text(hosted: Hosted) -> None:
    """A number as the message id, which AMQP allows, is handed over as text."""
    await hosted.send(AmqpAnnotatedMessage(data_body=[b"a"], properties={"message_id": 7}))
    await hosted.ended("completed", 1)
    assert hosted.seen.read_text().split() == ["a", "1", "7"]


async def test_body_without_bytes_never_reaches_the_function(hosted: Hosted) -> None:
    """An AMQP value or sequence cannot be bound: abandoned ten times, while others are handled."""
    await hosted.send(
        AmqpAnnotatedMessage(value_body="a"), AmqpAnnotatedMessage(sequence_body=[[1]])
    )
    await hosted.send("b")
    events = await hosted.ended("dead_lettered", 2)
    assert {event["reason"] for event in events} == {"MaxDeliveryCountExceeded"}
    await hosted.ended("completed", 1)
    assert hosted.seen.read_text().split()[::3] == ["b"]
    assert "Exception binding parameter 'message'" in hosted.log.read_text()


async def test_lost_lock_logs_one_line_and_does_not_abandon(hosted: Hosted) -> None:
    """When the lock is gone at the end, the host logs one error and leaves the message alone."""
    fault = {"operation": "complete", "condition": "com.microsoft:message-lock-lost"}
    hosted.broker.control("POST", "/faults", fault)
    await hosted.send("a")
    await until(lambda: "Message processing error (Action=Complete" in hosted.log.read_text())
    assert hosted.log.read_text().count("Message processing error") == 1
    assert not hosted.events("abandoned")


async def test_sigterm_ends_the_process_at_once(hosted: Hosted) -> None:
    """After SIGTERM nothing in flight is settled; its lock expires, and the broker delivers again."""
    await hosted.send("sleep 5")
    await until(lambda: "sleep" in hosted.seen.read_text())
    async with asyncio.timeout(1):
        assert await hosted.service.stop() == -signal.SIGTERM
    assert not hosted.events("completed")
    assert not hosted.events("abandoned")


async def test_handler_of_the_app_runs_at_sigterm(tmp_path: Path, own_queue: OwnQueue) -> None:
    """What the app does at SIGTERM is up to the app: it is imported in the main thread, in the loop."""
    hosted = Hosted(tmp_path, own_queue)
    (tmp_path / "function_app.py").write_text(textwrap.dedent(APP) + HANDLER)
    await hosted.service.start()
    assert await hosted.service.stop() == -signal.SIGTERM
    assert hosted.seen.read_text() == "flushed in a loop"


async def test_app_runs_on_the_loop_and_in_the_tasks_of_the_worker(
    tmp_path: Path, own_queue: OwnQueue
) -> None:
    """The loop is uvloop's, and tasks that the function starts know its invocation."""
    hosted = Hosted(tmp_path, own_queue)
    (tmp_path / "function_app.py").write_text(textwrap.dedent(APP).replace(*SHOW_TASKS))
    await hosted.service.start()
    await hosted.send("a")
    await hosted.ended("completed", 1)
    loop, own, started = hosted.seen.read_text().split()
    assert loop == "uvloop"
    assert own == started != "None"
    await hosted.service.stop()


async def test_metadata_arrive_in_the_forms_of_the_platform(
    tmp_path: Path, own_queue: OwnQueue
) -> None:
    """Text is text; counts, times and properties are JSON, with bytes as base64."""
    hosted = Hosted(tmp_path, own_queue)
    (tmp_path / "function_app.py").write_text(textwrap.dedent(APP).replace(*SHOW_METADATA))
    await hosted.service.start()
    await hosted.send(
        AmqpAnnotatedMessage(
            data_body=[b"a"],
            properties={"message_id": "m"},
            application_properties={"text": "t", "binary": bytearray(b"\x00\xff"), "number": 7},
        )
    )
    await hosted.ended("completed", 1)
    shown = json.loads(hosted.seen.read_text())
    assert shown["MessageId"] == ["string", "m"]
    assert shown["DeliveryCount"] == ["json", "1"]
    assert shown["SequenceNumber"] == ["json", "1"]
    kind, time = shown["EnqueuedTimeUtc"]
    assert kind == "json"
    assert datetime.fromisoformat(json.loads(time)).tzinfo is None
    kind, properties = shown["ApplicationProperties"]
    assert kind == "json"
    assert json.loads(properties) == {"text": "t", "binary": "AP8=", "number": 7}
    await hosted.service.stop()


async def test_lost_connections_are_reopened(hosted: Hosted) -> None:
    """After the broker has cut every connection, messages are received as before."""
    await hosted.send("a")
    await hosted.ended("completed", 1)
    hosted.broker.control("POST", "/disconnect")
    await hosted.send("b")
    await hosted.ended("completed", 2)


async def test_drained_instance_abandons_what_it_has_in_flight(hosted: Hosted) -> None:
    """After SIGUSR1 an invocation is aborted while its worker goes on, and the delivery counts."""
    await hosted.send("sleep 0.1", "hang", "c")
    await until(lambda: "hang" in hosted.seen.read_text())
    process = hosted.service.process
    assert process is not None
    process.send_signal(signal.SIGUSR1)
    assert await asyncio.wait_for(process.wait(), 5) == 0
    assert len(hosted.events("abandoned")) == 1
    assert "Worker channel is shutting down" in hosted.log.read_text()
    await hosted.service.start()
    await until(lambda: hosted.seen.read_text().count("hang") == 2)
    deliveries = [
        each.split()[1] for each in hosted.seen.read_text().splitlines() if "hang" in each
    ]
    assert deliveries == ["1", "2"]
    await hosted.ended("completed", 2)


async def test_short_invocation_finishes_while_the_instance_drains(hosted: Hosted) -> None:
    """What ends before the abort is completed."""
    await hosted.send("sleep 0.2")
    await until(lambda: "sleep" in hosted.seen.read_text())
    process = hosted.service.process
    assert process is not None
    process.send_signal(signal.SIGUSR1)
    assert await asyncio.wait_for(process.wait(), 5) == 0
    assert len(hosted.events("completed")) == 1
    assert not hosted.events("abandoned")


async def test_function_timeout_fails_all_in_flight_and_restarts(
    tmp_path: Path, own_queue: OwnQueue
) -> None:
    """An invocation that takes too long is abandoned with its neighbour; then the host works on."""
    hosted = Hosted(tmp_path, own_queue)
    hosted.configure(functionTimeout="00:00:03")
    await hosted.service.start()
    await hosted.send("hang", "hang")
    await hosted.ended("completed", 2)  # by the process that came after
    [first, second] = hosted.events("abandoned")
    assert first["message_id"] != second["message_id"]
    log = hosted.log.read_text()
    assert "Timeout value of 3 s exceeded by function 'Functions.work'" in log
    assert "Restarting the worker process" in log
    assert hosted.service.process is not None
    assert hosted.service.process.returncode is None
    await hosted.service.stop()


@pytest.mark.parametrize(
    ("service_bus", "complaint"),
    [
        ({"maxConcurentCalls": 2}, "extensions.serviceBus.maxConcurentCalls: unknown"),
        ({"messageHandlerOptions": {}}, "messageHandlerOptions: unknown"),
        ({"autoCompleteMessages": False}, "autoCompleteMessages: false is not emulated"),
        ({"enableCrossEntityTransactions": True}, "enableCrossEntityTransactions"),
        ({"webProxy": "http://127.0.0.1"}, "webProxy is not emulated"),
        ({"maxConcurrentCalls": "16"}, "maxConcurrentCalls: must be a whole number"),
        ({"maxAutoLockRenewalDuration": 5}, "maxAutoLockRenewalDuration: must be hh:mm:ss"),
        ({"transportType": "http"}, "transportType: must be one of amqpTcp, amqpWebSockets"),
        ({"clientRetryOptions": {"retries": 1}}, "clientRetryOptions.retries: unknown"),
        ({"clientRetryOptions": {"mode": "linear"}}, "mode: must be one of exponential, fixed"),
        ([], "extensions.serviceBus: must be an object"),
    ],
)
def test_unknown_or_wrong_key_of_host_json_is_refused(service_bus: Any, complaint: str) -> None:
    """What host.json says is understood, or the host says where it is not."""
    with pytest.raises(HostError) as caught:
        read_host_json({"version": "2.0", "extensions": {"serviceBus": service_bus}})
    assert complaint in str(caught.value)


def test_host_json_is_read_as_the_platform_reads_it() -> None:
    """Names are not case-sensitive; what is not said has the platform's default."""
    assert read_host_json({}) == HostJson()
    retries = {"mode": "Fixed", "tryTimeout": "00:00:05", "delay": "00:00:00.2", "maxRetries": 0}
    service_bus = {
        "MaxConcurrentCalls": 3,
        "transportType": "AmqpWebSockets",
        "maxAutoLockRenewalDuration": "00:10:00",
        "clientRetryOptions": retries,
    }
    document = {"functionTimeout": "-1", "extensions": {"serviceBus": service_bus}}
    assert read_host_json(document) == HostJson(
        function_timeout=None,
        max_concurrent_calls=3,
        web_sockets=True,
        max_lock_renewal=600,
        retries=Retries(mode="fixed", total=0, delay=0.2, try_timeout=5),
    )
    assert read_host_json({"functionTimeout": "00:10:00"}).function_timeout == 600


async def test_wrong_host_json_ends_the_start(tmp_path: Path, own_queue: OwnQueue) -> None:
    """The host does not start with a misspelt key, which the platform would pass over."""
    hosted = Hosted(tmp_path, own_queue)
    hosted.configure(extensions={"serviceBus": {"prefetch": 1}})
    with pytest.raises(ServiceFailed, match="prefetch: unknown"):
        await hosted.service.start()


async def test_missing_setting_ends_the_start(tmp_path: Path, own_queue: OwnQueue) -> None:
    """A %SETTING% that is not set is named, and the host does not start."""
    hosted = Hosted(tmp_path, own_queue)
    del hosted.environment["QUEUE"]
    with pytest.raises(ServiceFailed, match="%QUEUE%"):
        await hosted.service.start()


async def test_app_that_does_not_load_ends_the_start(tmp_path: Path, own_queue: OwnQueue) -> None:
    """What the import of the app raises is shown."""
    hosted = Hosted(tmp_path, own_queue)
    (tmp_path / "function_app.py").write_text("raise ValueError('wrong settings: X')")
    with pytest.raises(ServiceFailed, match="wrong settings: X"):
        await hosted.service.start()


def test_setting_names_are_resolved() -> None:
    """%NAME% is replaced wherever it stands; one that is not set is named."""
    assert resolve("a-%B%-%C%", {"B": "1", "C": "2"}) == "a-1-2"
    with pytest.raises(HostError, match="%D%"):
        resolve("%D%", {})
