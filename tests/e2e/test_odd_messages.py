"""Only the id and the type of a session matter: from publisher to Face API, by the real runtime."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from local.cloud import Cloud, Options
from local.publisher import Planned, plan
from local.run import FAST_SETTINGS, Run
from local.run_report import as_json

NO_EXPIRY = "9999-12-31T23:59:59.9999999"

# What the platform's host might hand over.
ODD_METADATA: Mapping[str, Mapping[str, object]] = {
    "no-time": {"EnqueuedTimeUtc": None},
    "nonsense": {"EnqueuedTimeUtc": "nonsense", "ExpiresAtUtc": "nonsense"},
    "last-instant": {"EnqueuedTimeUtc": NO_EXPIRY},
    "first-instant": {
        "EnqueuedTimeUtc": "0001-01-01T00:00:00",
        "ExpiresAtUtc": "0001-01-01T00:00:00",
    },
    # Read by none of the library's formats: azure-functions-python-worker issue 897.
    "american": {"ExpiresAtUtc": "10/07/2021 23:31:52"},
    "number": {"EnqueuedTimeUtc": 1767323045},
    "object": {"EnqueuedTimeUtc": {"at": 1}, "LockedUntil": []},
    "never": {"ExpiresAtUtc": NO_EXPIRY},
    "count-of-text": {"DeliveryCount": "many"},
    "count-below": {"DeliveryCount": -1},
    "count-beyond": {"DeliveryCount": 10**40},
    "no-count": {"DeliveryCount": None},
    "number-of-text": {"SequenceNumber": [], "State": "x", "TimeToLive": "long"},
    "no-token": {"LockToken": None},
    "no-user-properties": {"UserProperties": None},
    "no-properties": {"UserProperties": None, "ApplicationProperties": None},
    "properties-of-a-list": {"UserProperties": [1, 2], "ApplicationProperties": 7},
    "properties-of-pairs": {"ApplicationProperties": [[1, 2]]},
    "odd-texts": {"ContentType": {"x": 1}, "CorrelationId": 7, "Subject": [None]},
    "odd-trace": {
        "ApplicationProperties": {"traceparent": [], "Diagnostic-Id": 7, "revoker-copy": "x"}
    },
}


def planned(name: str, number: int) -> Planned:
    """A plain message; every other one meets a Face API that is unavailable at first."""
    fault = {"fault": "status", "status": 503, "count": 2, "retry_after": 1, "method": "DELETE"}
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
        "RETRY_INITIAL_DELAY_SECONDS": "0.1",
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


async def test_neither_host_data_nor_odd_bodies_keep_a_revocation_back() -> None:
    """Whatever the host or the body says besides, the session is deleted, also by way of copies.

    Log lines repeat no value of a body.
    """
    odd = [each for each in plan(60, 5, random_faults=False) if each.kind.startswith("odd: ")]
    assert len(odd) > 8
    messages = odd + [planned(name, number) for number, name in enumerate(ODD_METADATA)]
    result, lines = await run(messages, odd_metadata=ODD_METADATA)
    assert result["ok"], result["wrong_messages"]
    assert result["outcomes"]["deleted"] == len(messages)
    # A stamp that cannot be true is not taken for the time: retries come when they are due.
    delays = [line["delay_seconds"] for line in lines if line.get("outcome") == "retry_scheduled"]
    assert delays
    assert max(delays) < 60
    logged = json.dumps(lines)
    assert "2026-01-02T03:04:05" not in logged
    assert "gel" not in logged
