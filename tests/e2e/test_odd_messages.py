"""What is only for information vetoes no deletion: from publisher to Face API, by the real runtime."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from local.cloud import Cloud, Options
from local.publisher import Planned, plan
from local.run import FAST_SETTINGS, Run
from local.run_report import as_json

TIME = "missing, unreadable or impossible"
NO_EXPIRY = "9999-12-31T23:59:59.9999999"

# What the platform's host might hand over, and what the log line then says of it.
ODD_METADATA: Mapping[str, tuple[Mapping[str, object], list[str]]] = {
    "no-time": ({"EnqueuedTimeUtc": None}, [f"EnqueuedTimeUtc: {TIME}"]),
    "nonsense": (
        {"EnqueuedTimeUtc": "nonsense", "ExpiresAtUtc": "nonsense"},
        [f"EnqueuedTimeUtc: {TIME}", f"ExpiresAtUtc: {TIME}"],
    ),
    "last-instant": ({"EnqueuedTimeUtc": NO_EXPIRY}, [f"EnqueuedTimeUtc: {TIME}"]),
    "first-instant": (
        {"EnqueuedTimeUtc": "0001-01-01T00:00:00", "ExpiresAtUtc": "0001-01-01T00:00:00"},
        [f"EnqueuedTimeUtc: {TIME}", f"ExpiresAtUtc: {TIME}"],
    ),
    # Read by none of the library's formats: azure-functions-python-worker issue 897.
    "american": ({"ExpiresAtUtc": "10/07/2021 23:31:52"}, [f"ExpiresAtUtc: {TIME}"]),
    "number": ({"EnqueuedTimeUtc": 1767323045}, [f"EnqueuedTimeUtc: {TIME}"]),
    "object": ({"EnqueuedTimeUtc": {"at": 1}, "LockedUntil": []}, [f"EnqueuedTimeUtc: {TIME}"]),
    "never": ({"ExpiresAtUtc": NO_EXPIRY}, []),
    "count-of-text": ({"DeliveryCount": "many"}, [f"DeliveryCount: {TIME}"]),
    "count-below": ({"DeliveryCount": -1}, [f"DeliveryCount: {TIME}"]),
    "count-beyond": ({"DeliveryCount": 10**40}, [f"DeliveryCount: {TIME}"]),
    "no-count": ({"DeliveryCount": None}, [f"DeliveryCount: {TIME}"]),
    "number-of-text": ({"SequenceNumber": [], "State": "x", "TimeToLive": "long"}, []),
    "no-token": ({"LockToken": None}, ["LockToken: missing or unreadable"]),
    "no-user-properties": ({"UserProperties": None}, []),
    "no-properties": (
        {"UserProperties": None, "ApplicationProperties": None},
        ["ApplicationProperties: missing or unreadable"],
    ),
    "properties-of-a-list": (
        {"UserProperties": [1, 2], "ApplicationProperties": 7},
        ["ApplicationProperties: missing or unreadable"],
    ),
    "properties-of-pairs": ({"ApplicationProperties": [[1, 2]]}, []),
    "odd-texts": ({"ContentType": {"x": 1}, "CorrelationId": 7, "Subject": [None]}, []),
    "odd-trace": (
        {"ApplicationProperties": {"traceparent": [], "Diagnostic-Id": 7, "revoker-copy": "x"}},
        [],
    ),
}


def planned(name: str, number: int) -> Planned:
    """A plain message; every other one meets a Face API that is unavailable at first."""
    fault = {"fault": "status", "status": 503, "count": 2, "method": "DELETE"}
    session_id = f"session-{name}"
    return Planned(
        kind=name,
        message_id=name,
        session_id=session_id,
        body=json.dumps({"sessionId": session_id}).encode(),
        faults=[fault] if number % 2 else [],
    )


async def run(messages: list[Planned], **options: Any) -> tuple[dict[str, Any], list[Any]]:
    """Publish and wait; return the report, and the function's log lines. No session is left."""
    settings = {
        **FAST_SETTINGS,
        "FACE_MAX_CALLS_PER_SECOND": "1000",
        "RETRY_INITIAL_DELAY_SECONDS": "2",
    }
    async with Cloud(Options(settings=settings, **options)) as cloud:
        checked = Run(cloud, messages, 0)
        await checked.prepare()
        await checked.publish()
        async with asyncio.timeout(40):
            while not await checked.settled():
                await asyncio.sleep(0.1)
        assert not await cloud.ask(cloud.face, "GET", "/_local/sessions")
        return as_json(messages, await checked.check(), 1), cloud.log_lines()


async def test_host_data_keep_no_revocation_back() -> None:
    """Whatever the host tells of a message, its session is deleted, also by way of retry copies."""
    messages = [planned(name, number) for number, name in enumerate(ODD_METADATA)]
    told = {name: metadata for name, (metadata, _) in ODD_METADATA.items()}
    result, lines = await run(messages, odd_metadata=told)
    assert result["outcomes"]["deleted"] == len(messages)
    for name, (_, oddities) in ODD_METADATA.items():
        of_this = [line for line in lines if line.get("root_id", "").partition(":")[0] == name]
        assert of_this, name
        assert all(line.get("warnings", []) == oddities for line in of_this), of_this
    # A stamp that cannot be true is not taken for the time: retries come when they are due.
    delays = [line["delay_seconds"] for line in lines if line.get("outcome") == "retry_scheduled"]
    assert delays
    assert max(delays) < 60


async def test_odd_documents_are_deleted_and_what_is_odd_is_logged() -> None:
    """Each odd row of the run's mix is deleted; its log line names the oddity, and no value."""
    messages = [each for each in plan(60, 5, random_faults=False) if each.kind.startswith("odd: ")]
    assert len(messages) > 8
    result, lines = await run(messages)
    assert result["ok"], result["wrong_messages"]
    assert result["outcomes"]["deleted"] == len(messages)
    by_id = {line["message_id"]: line for line in lines if line.get("outcome") == "deleted"}
    for each in messages:
        assert by_id[each.message_id]["warnings"], each.kind
    logged = json.dumps(lines)
    assert "2026-01-02T03:04:05" not in logged
    assert "gel" not in logged
