"""Uploading the record, to a stand-in of the Logs Ingestion API."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from revoker import face, upload
from tests.revoker.conftest import OneQueue, Ran, revoker
from tests.revoker.servers import serving


@dataclass(slots=True)
class Workspace:
    """What a workspace was sent, and how it answers."""

    url: str = ""
    status: int = 204
    silent: bool = False
    calls: list[list[dict[str, Any]]] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path_qs, request.headers["authorization"]))
        entries = await request.json()
        if self.silent:
            await asyncio.sleep(1)
        if self.status == 204:
            self.calls.append(entries)
        return web.Response(status=self.status)

    def run(self, queue: OneQueue, *arguments: str) -> Ran:
        return revoker(queue.environment | {"REVOKER_RECORD_URL": self.url}, *arguments)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [entry["Line"] for entries in self.calls for entry in entries]


PATH = "/dataCollectionRules/dcr-1/streams/Custom-RevokerRecord?api-version=2023-01-01"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the record."""
    return tmp_path / "default-record.jsonl"


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace to which REVOKER_RECORD_URL leads."""

    async def token(scope: str, *_: object) -> str:
        assert scope == "https://monitor.azure.com/.default"
        return "t"

    monkeypatch.setattr(face, "token", token)
    workspace = Workspace()
    with serving(workspace.answer) as address:
        workspace.url = address + PATH
        yield workspace


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_a_command_records_is_uploaded(
    queue: OneQueue, workspace: Workspace, path: Path
) -> None:
    """Only its own lines are sent, word for word, with their time."""
    path.write_text('{"operation": "earlier"}\n')
    assert workspace.run(queue, "publish", "a", "b").code == 0
    assert workspace.requests == [("POST", PATH, "Bearer t")]
    assert workspace.lines == lines(path)[1:]
    [entries] = workspace.calls
    assert [entry["TimeGenerated"] for entry in entries] == [line["at"] for line in workspace.lines]


@pytest.mark.parametrize("fault", [{"status": 403}, {"silent": True}])
def test_a_failed_upload_is_one_line_and_changes_nothing_else(
    fault: dict[str, Any],
    queue: OneQueue,
    workspace: Workspace,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a refusal nor silence stops the action, and the same lines can be uploaded later."""
    monkeypatch.setattr(upload, "SECONDS", 0.2)
    for name, value in fault.items():
        setattr(workspace, name, value)
    ran = workspace.run(queue, "publish", "a")
    assert (ran.code, queue.counts["active"]) == (0, 1)
    [told] = ran.err.splitlines()
    assert told.startswith("The record was not uploaded: ")
    workspace.status, workspace.silent = 204, False
    assert workspace.run(queue, "upload-record").code == 0
    assert workspace.lines == lines(path)


def test_a_line_that_is_uploaded_again_has_the_same_id(
    queue: OneQueue, workspace: Workspace, path: Path
) -> None:
    """Different lines have different ids; a line that cannot be read is left out, and named."""
    lines = ('{"done": "published", "at": "1"}', "[" * 100_000, '{"done": "published", "at": "2"}')
    path.write_text("\n".join((*lines, '{"do')))
    unreadable = ["line 2 of the record", "line 4 of the record"]
    for _ in range(2):
        ran = workspace.run(queue, "upload-record", "--json")
        assert ran.json == {"uploaded": 2, "unreadable": unreadable}
    first, second = ([entry["Id"] for entry in entries] for entries in workspace.calls)
    assert first == second
    assert len(set(first)) == 2


def test_a_long_record_takes_several_calls(
    queue: OneQueue, workspace: Workspace, path: Path
) -> None:
    """No call is larger than the API accepts."""
    path.write_text("".join(json.dumps({"n": n, "x": "x" * 60_000}) + "\n" for n in range(20)))
    assert workspace.run(queue, "upload-record").code == 0
    assert [line["n"] for line in workspace.lines] == list(range(20))
    assert all(len(json.dumps(entries)) < 1_000_000 for entries in workspace.calls)


@pytest.mark.parametrize(
    "url", ["", "https://evil.example/x", "http://a.ingest.monitor.azure.com/x"]
)
def test_a_token_goes_to_the_logs_ingestion_api_alone(
    url: str, queue: OneQueue, workspace: Workspace, path: Path
) -> None:
    """Another address is refused before a token is asked for."""
    path.write_text('{"done": "published"}\n')
    workspace.url = url
    assert workspace.run(queue, "upload-record").code == 2
    assert workspace.requests == []
