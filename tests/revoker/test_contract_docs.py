"""docs/contract.md: the function reads what it shows, and its examples run."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient

from delete_session.contract import MAX_BODY_BYTES, SessionRevoked, parse
from local.broker.configuration import DEFAULT
from revoker.schema import schema
from tests.local.broker_process import BrokerProcess

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
EXAMPLES = ROOT / "docs" / "examples"
QUEUE = DEFAULT.queues[0].name


def test_the_schema_is_that_of_the_code() -> None:
    """The committed JSON Schema is what the code's types say (python -m revoker.schema)."""
    assert (ROOT / "docs" / "session-revoked.schema.json").read_text() == schema()


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_file()))
def test_the_contract_shows_each_example_as_it_is(name: str) -> None:
    """The document shows each tested example file word for word."""
    shown = re.search(
        rf"<!-- example: {re.escape(name)} -->\n```[a-z]+\n(.*?)```\n", CONTRACT, re.DOTALL
    )
    assert shown is not None
    assert shown[1] == (EXAMPLES / name).read_text()


def test_the_json_in_the_contract_is_what_the_function_reads() -> None:
    """Every JSON object of the document is a message, plain or a CloudEvent."""
    objects = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", CONTRACT, re.DOTALL)]
    assert len(objects) == 2
    for each in objects:
        kind = "application/cloudevents+json" if "specversion" in each else "application/json"
        assert isinstance(parse(json.dumps(each).encode(), kind, {}), SessionRevoked)
    assert f"{MAX_BODY_BYTES:,} bytes" in CONTRACT


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
                bodies.append(parse(b"".join(message.body), message.content_type, {}))
        return bodies


def test_the_python_example_runs() -> None:
    """With the unmodified SDK it publishes under the message id that the contract asks for."""
    with BrokerProcess.running() as broker:
        with ServiceBusClient.from_connection_string(broker.connection_string) as client:
            _module(EXAMPLES / "publish.py").revoke(client, "from-python")
        assert [each["message_id"] for each in published(broker)] == ["from-python"]
        assert received(broker, 1) == [SessionRevoked("from-python")]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("publisher_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def typescript() -> Path:
    """The folder with the type-checked, compiled example and the pinned SDK; it is made once."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node.js is missing: the TypeScript example of docs/contract.md is not run")
    folder = ROOT / "build" / "typescript"
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*(Path(__file__).parent / "typescript").iterdir(), EXAMPLES / "publish.ts"]
    made_of = "".join(path.read_text() for path in sorted(sources))
    ready = folder / ".ready"
    if ready.exists() and ready.read_text() == made_of:
        return folder
    for source in sources:
        shutil.copy(source, folder)
    installed = _run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    if installed.returncode:
        pytest.skip(f"npm cannot install the JavaScript SDK: {installed.stderr[-300:]}")
    compiler = [node, "node_modules/typescript/bin/tsc", "--strict", "--skipLibCheck"]
    options = ["--target", "es2022", "--module", "nodenext"]
    compiled = _run([*compiler, *options, "publish.ts", "run.ts"], folder)
    assert compiled.returncode == 0, compiled.stdout
    ready.write_text(made_of)
    return folder


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=140)


@pytest.mark.timeout(300)
def test_the_typescript_example_runs(typescript: Path) -> None:
    """With the unmodified SDK for JavaScript it publishes as the Python example does."""
    with BrokerProcess.running() as broker:
        command = ["node", "run.js", broker.connection_string, "from-ts-1", "from-ts-2"]
        done = _run(command, typescript)
        assert done.returncode == 0, done.stderr
        assert [each["message_id"] for each in published(broker)] == ["from-ts-1", "from-ts-2"]
        assert received(broker, 2) == [SessionRevoked("from-ts-1"), SessionRevoked("from-ts-2")]
