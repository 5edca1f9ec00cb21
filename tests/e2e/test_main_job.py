"""`make run`: the whole job over real sockets and processes, and what it reports."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.cloud import Cloud, Options, ServiceFailed
from local.publisher import Planned, plan
from local.receipts import check
from local.run import FAST_SETTINGS, Run, finished
from local.run_report import Ended, as_json

ROOT = Path(__file__).parents[2]


async def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    result = tmp_path / "result.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.run", "--json", str(result), *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(result.read_text()), output.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--messages", "120", "--seed", "1", "--receipts"),
        ("--messages", "80", "--seed", "2", "--api-version", "v1.2", "--fault-rate", "0.3"),
    ],
)
async def test_every_message_ends_where_it_should(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Of every kind of message, none is lost and none ends in the wrong place or without receipt."""
    page = tmp_path / "report.html"
    code, result, output = await run(tmp_path, *arguments, "--html", str(page))
    assert code == 0, output
    assert result["ok"]
    assert result["lost"] == result["wrong"] == 0
    assert sum(result["outcomes"].values()) == result["published"] == int(arguments[1])
    assert result["outcomes"]["pending"] == 0
    assert sum(result["dead_letter_reasons"].values()) == result["outcomes"]["dead_lettered"]
    assert {"MalformedMessage", "BadArgument"} <= set(result["dead_letter_reasons"])
    assert "every message ended where it should" in output
    # Where the time went is in all outputs.
    took, parts = result["milliseconds"], result["mean_milliseconds"]["one call was enough"]
    assert 0 < took["p50"] <= took["p95"] <= took["most"]
    assert 0 < parts["calling"] < took["most"]
    html = page.read_text()
    assert "in calls to the Face API" in output
    assert "in calls to the Face API" in html
    assert html.count("<svg") == 2
    assert "make run ARGS=" in html
    if "--receipts" in arguments:
        assert result["receipts"] == {"sent": 120, "missing": 0, "wrong": 0}
        assert "120 receipts, missing 0, wrong 0: each revocation that ended has its own" in output


def receipt(of: Planned, ending: str, **data: str) -> dict[str, Any]:
    return {"type": f"x.{ending}", "data": {"rootMessageId": of.message_id, **data}}


def test_checker_of_receipts_finds_what_is_wrong() -> None:
    """A missing, untrue, duplicate or unexpected receipt is counted, and named if possible."""
    planned = [
        Planned(kind="plain", message_id=f"m-{n}", body=b"", session_id=f"s-{n}") for n in range(3)
    ]
    done = [
        receipt(x, "completed", outcome="deleted", sessionId=x.session_id or "") for x in planned
    ]
    given_up = receipt(planned[2], "failed", outcome="dead_lettered", reason="BadArgument")

    def told(*receipts: dict[str, Any]) -> tuple[int, int, int]:
        ended = {x.message_id: Ended(outcome="deleted") for x in planned[:2]}
        ended["m-2"] = Ended(outcome="dead_lettered", reason="BadArgument")
        found = check(receipts, planned, ended)
        named = sum(bool(x.problems) for x in ended.values())
        assert named <= found.missing + found.wrong
        result = as_json(planned, ended, 1, found)
        assert result["ok"] == found.ok == (not found.missing and not found.wrong)
        return found.missing, found.wrong, named

    assert told(done[0], done[1], given_up) == (0, 0, 0)
    assert told(done[0], given_up) == (1, 0, 1)
    assert told(done[0], done[0], done[1], given_up) == (0, 1, 1)
    assert told(done[0], done[1], done[2]) == (1, 1, 1)
    assert told(done[0], done[1], given_up, done[2]) == (0, 1, 1)
    other = receipt(planned[1], "completed", outcome="deleted", sessionId="s-0")
    assert told(done[0], other, given_up) == (1, 1, 1)
    stranger = receipt(replace(planned[0], message_id="x"), "completed", outcome="deleted")
    assert told(done[0], done[1], given_up, stranger) == (0, 1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--messages", "-1"), ("--fault-rate", "1"), ("--x",)),
        *(("--json", "/no/such/x.json"), ("--html", "/no/such/x.html")),
    ],
)
async def test_wrong_option_is_told(arguments: tuple[str, ...]) -> None:
    """An option that makes no sense, or a file that cannot be written, ends with code 2 at once."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.run", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await process.communicate()
    assert process.returncode == 2
    assert output == b""
    assert b"usage: make run" in error
    assert arguments[0].encode() in error


async def test_checker_finds_what_is_wrong() -> None:
    """A message that ends elsewhere, or not at all, is reported, and the run is not ok."""
    planned = plan(60, 1, random_faults=False)
    settings = {**FAST_SETTINGS, "FACE_MAX_CALLS_PER_SECOND": "1000"}
    async with Cloud(Options(settings=settings, hosts=0)) as cloud:
        checked = Run(cloud, planned, 0)
        await checked.prepare()
        await checked.publish()
        ended = await checked.check()
        assert not as_json(planned, ended, 1)["ok"]
        assert as_json(planned, ended, 1)["lost"] == 60
        # Somebody completes everything without a deletion.
        with (
            ServiceBusClient.from_connection_string(cloud.connection_string) as client,
            client.get_queue_receiver("session-revoked") as receiver,
        ):
            for message in receiver.receive_messages(max_message_count=60, max_wait_time=3):
                receiver.complete_message(message)
        result = as_json(planned, await checked.check(), 1)
        assert not result["ok"]
        assert result["wrong"] == 60


async def test_run_that_is_cut_off_says_what_it_waits_for() -> None:
    """Where nothing takes the messages, the run ends at its limit and says where they are."""
    async with Cloud(Options(hosts=0)) as cloud:
        cut_off = Run(cloud, plan(20, 1, random_faults=False), 0)
        assert not await finished(cut_off, cloud, 2)
        assert str(cut_off) == "0 of 20 messages done; 20 in the queue"


async def test_run_ends_when_a_part_of_the_cloud_does() -> None:
    """When the Face API dies, the run ends at once, with its address and the way it ended."""
    async with Cloud(Options(hosts=0)) as cloud:
        run = Run(cloud, plan(20, 1, random_faults=False), 0)
        waiting = asyncio.create_task(finished(run, cloud, 30))
        port = cloud.face.facts["port"]
        await cloud.face.kill()
        with pytest.raises(
            ServiceFailed, match=rf"^local\.face on 127\.0\.0\.1:{port} ended with code -9"
        ):
            await waiting
        with pytest.raises(ServiceFailed, match=f"http://127.0.0.1:{port}/_local/calls"):
            await cloud.ask(cloud.face, "GET", "/_local/calls")


async def test_serve_takes_messages_of_ones_own_and_stops_on_ctrl_c(
    request: pytest.FixtureRequest,
) -> None:
    """With --serve it is like a deployment: what it prints is enough to publish. Ctrl-C stops all."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.run", "--messages", "0", "--serve"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "300"},
    )

    def stop_what_a_failure_left() -> None:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGINT)

    request.addfinalizer(stop_what_a_failure_left)
    assert process.stdout is not None
    environment: dict[str, str] = {}
    logs = Path()
    async with asyncio.timeout(40):
        while not logs.name:
            line = (await process.stdout.readline()).decode().strip()
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                environment[name] = value.strip("'")
            if line.startswith("The logs: "):
                logs = Path(line.removeprefix("The logs: "))
        desk = (await process.stdout.readline()).decode().strip().removeprefix("The desk: ")
    # As deployed: eight calls a second of ten, and the default timeouts.
    assert environment["FACE_MAX_CALLS_PER_SECOND"] == "8"
    assert "CALL_TIMEOUT_SECONDS" not in environment
    # A browser resolves every name under localhost to this machine; not every resolver does.
    address = httpx.URL(desk).copy_with(host="127.0.0.1")
    host = {"Host": httpx.URL(desk).netloc.decode()}
    async with httpx.AsyncClient(headers=host, follow_redirects=True, timeout=20) as browser:
        assert (await browser.get(address)).status_code == 200
        flow = await browser.get(address.copy_with(path="/flow", query=None))
        assert "In Azure, the workbook shows the flow" not in flow.text
    with (
        ServiceBusClient.from_connection_string(environment["ServiceBusConnection"]) as client,
        client.get_queue_sender(environment["SESSION_REVOKED_QUEUE"]) as sender,
    ):
        sender.send_messages(ServiceBusMessage('{"sessionId": "mine"}', message_id="m-1"))
    async with asyncio.timeout(20):
        while '"already_gone","session_id":"mine"' not in (logs / "host-0.log").read_text():
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert not logs.exists()
    async with httpx.AsyncClient() as browser:
        with pytest.raises(httpx.ConnectError):
            await browser.get(address)
