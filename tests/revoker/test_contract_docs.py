"""docs/contract.md: the function reads what it shows, and its examples run."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from azure.servicebus import ServiceBusClient

from delete_session.contract import MAX_BODY_BYTES, SessionRevoked, parse
from delete_session.receipt import COMPLETED, FAILED, Data
from local.broker.configuration import DEFAULT
from revoker.schema import NAMES, schema
from tests.local.broker_process import BrokerProcess
from tests.node import installed, run

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
EXAMPLES = ROOT / "docs" / "examples"
QUEUE = DEFAULT.queues[0].name
RECEIPTS = "run-receipts.ts"
"""Runs the example of receipts: tests/e2e/test_receipts.py."""


@pytest.mark.parametrize("title", NAMES)
def test_the_schema_is_that_of_the_code(title: str) -> None:
    """The committed JSON Schema is what the code's types say (python -m revoker.schema)."""
    assert (ROOT / "docs" / f"{title}.schema.json").read_text() == schema(title)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_file()))
def test_the_contract_shows_each_example_as_it_is(name: str) -> None:
    """The document links to each tested example file, or shows it word for word."""
    shown = re.search(
        rf"<!-- example: {re.escape(name)} -->\n```[a-z]+\n(.*?)```\n", CONTRACT, re.DOTALL
    )
    if shown is None:
        assert f"](examples/{name})" in CONTRACT
    else:
        assert shown[1] == (EXAMPLES / name).read_text()


def test_the_json_in_the_contract_is_what_the_function_reads() -> None:
    """Every JSON object of the document is a message, plain or a CloudEvent."""
    objects = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", CONTRACT, re.DOTALL)]
    assert len(objects) == 3
    receipt = objects.pop()
    data = msgspec.convert(receipt["data"], Data)
    assert (receipt["type"], receipt["subject"]) == (COMPLETED, data.session_id)
    assert receipt["id"].startswith(f"{data.root_message_id}:")
    for each in objects:
        kind = "application/cloudevents+json" if "specversion" in each else "application/json"
        assert isinstance(parse(json.dumps(each).encode(), kind), SessionRevoked)
    assert f"{MAX_BODY_BYTES:,} bytes" in CONTRACT


def test_the_contract_explains_every_member_of_a_receipt() -> None:
    """The table of receipts has a row for each member of the data, and names both types."""
    for field in msgspec.structs.fields(Data):
        assert re.search(rf"\n\| `[^|]*\b{field.encode_name}`[^|]*\|", CONTRACT), field.encode_name
    assert COMPLETED in CONTRACT
    assert FAILED in CONTRACT


def published(broker: BrokerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = broker.control("GET", f"/messages?queue={QUEUE}")
    for each in found:
        assert each["properties"]["subject"] == "session-revoked"
        assert each["properties"]["content-type"] == "application/json"
    return found


def received(broker: BrokerProcess, count: int) -> list[object]:
    """Return what the function's parser makes of the messages."""
    with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        bodies: list[object] = []
        while len(bodies) < count:
            for message in receiver.receive_messages(count, max_wait_time=10):
                bodies.append(parse(b"".join(message.body), message.content_type))
        return bodies


def test_the_python_example_runs() -> None:
    """The unmodified SDK publishes with it: a new publication arrives, a repeated send does not."""
    with BrokerProcess.running() as broker:
        with (
            ServiceBusClient.from_connection_string(broker.connection_string) as client,
            client.get_queue_sender(QUEUE) as sender,
        ):
            revoke = _module(EXAMPLES / "publish.py").revoke
            revoke(sender, "from-python", "event-1")
            revoke(sender, "from-python", "event-2")
            revoke(sender, "from-python", "event-2")
        assert [each["message_id"] for each in published(broker)] == ["event-1", "event-2"]
        assert received(broker, 2) == [SessionRevoked("from-python")] * 2


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("publisher_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def typescript() -> Path:
    """The example, compiled and type-checked, beside the pinned unmodified SDK; made once."""
    options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    return installed(
        "typescript",
        [
            *(
                own
                for own in (Path(__file__).parent / "typescript").iterdir()
                if own.name != RECEIPTS
            ),
            EXAMPLES / "publish.ts",
        ],
        ["node_modules/typescript/bin/tsc", *options, "publish.ts", "run.ts"],
    )


@pytest.mark.timeout(300)
def test_the_typescript_example_runs(typescript: Path) -> None:
    """With the unmodified SDK for JavaScript it publishes as the Python example does."""
    with BrokerProcess.running() as broker:
        sessions = ["from-ts-1:event-1", "from-ts-2:event-2", "from-ts-2:event-2"]
        command = ["node", "run.js", broker.connection_string, *sessions]
        done = run(command, typescript)
        assert done.returncode == 0, done.stderr
        assert [each["message_id"] for each in published(broker)] == ["event-1", "event-2"]
        assert received(broker, 2) == [SessionRevoked("from-ts-1"), SessionRevoked("from-ts-2")]
